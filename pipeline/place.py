"""Where a feature store is: a folder of this machine, or a URL. Light, so that a command line can be read with it.

s3://bucket/prefix   gs://bucket/prefix              object stores
hf://datasets/user/name[@revision][/prefix]          a dataset repository on the Hugging Face Hub
file:///folder   memory://name                       a mounted folder as a remote place; this process, for tests
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .errors import ConfigError

SCHEMES = ("s3", "gs", "hf", "file", "memory")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_MANGLED = re.compile(rf"({'|'.join(SCHEMES)}):/[^/]")
_REST = re.compile(r"[A-Za-z0-9._@/~+=-]+")
_HUB = re.compile(r"datasets/([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.+))?")


@dataclass(frozen=True)
class StoreUrl:
    """The URL of a remote store. It never holds a credential: those are found where each service's tools keep them.

    Args:
        text: the URL.
        cache: the folder of local copies, one folder a URL; None is ``~/.cache/visual-thought/stores``.

    Raises:
        ConfigError: a scheme that is not one of :data:`SCHEMES`, or a URL with credentials, a query or "..".
    """

    text: str
    cache: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.rstrip("/"))
        scheme, rest = _split(self.text)
        if scheme not in SCHEMES:
            raise ConfigError(f"stores are at no {scheme}:// URL", expected=[f"{name}://" for name in SCHEMES])
        if "?" in rest or "#" in rest or "@" in rest.split("/")[0]:
            raise ConfigError(
                f"{without_secrets(self.text)} has more than a place in it",
                expected="no user, password, query or fragment",
                remedy="give credentials in the environment or in the service's own configuration",
            )
        if not _REST.fullmatch(rest) or {"..", "."} & set(rest.split("/")) or "//" in rest.lstrip("/"):
            raise ConfigError(f"{self.text!r} is no URL of a store", expected="letters, digits and . _ - / ~ + =")
        if scheme == "hf" and not _HUB.fullmatch(rest):
            raise ConfigError(
                f"{self.text} is no URL of the Hub", expected="hf://datasets/user/name[@revision][/prefix]"
            )
        if scheme == "file" and not rest.startswith("/"):
            raise ConfigError(f"{self.text} names a host", expected="file:///folder")

    def __str__(self) -> str:
        return self.text

    @property
    def scheme(self) -> str:
        """``s3``, ``gs``, ``hf``, ``file`` or ``memory``."""
        return _split(self.text)[0]

    @property
    def rest(self) -> str:
        """What follows ``scheme://``."""
        return _split(self.text)[1]

    @property
    def hub(self) -> tuple[str, str | None, str]:
        """Of an ``hf://`` URL: the repository, the revision, the prefix ("" if none)."""
        match = _HUB.fullmatch(self.rest)
        if match is None:
            raise ConfigError(f"{self.text} is no URL of the Hub")
        return match[1], match[2], match[3] or ""

    @property
    def folder(self) -> Path:
        """The folder of its local copy."""
        cache = self.cache or Path.home() / ".cache" / "visual-thought" / "stores"
        return cache / hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def absolute(self) -> Self:
        """Itself: a URL is absolute."""
        return self


Place = StoreUrl | Path
"""Where a store is."""


def parse_place(text: str | Place, *, cache: Path | None = None) -> Place:
    """A folder, or a URL if the text has ``://`` in it; ConfigError for a URL that cannot be a store's."""
    if isinstance(text, StoreUrl):
        return text
    if isinstance(text, str) and _URL.fullmatch(text):
        return StoreUrl(text, cache)
    if _MANGLED.match(str(text)):
        raise ConfigError(f"{str(text)!r} was a URL before it became a path", remedy="pass the URL as a string")
    return Path(text)


def folder_of(place: Place) -> Path:
    """The folder of this machine that a store's files are read from: its own, or that of its local copy."""
    return place.folder if isinstance(place, StoreUrl) else place


def without_secrets(text: str) -> str:
    """The text without the user part, query and fragment of any URL in it."""
    text = re.sub(r"(?<=://)[^/\s\"'@]*@", "", text)
    return re.sub(r"(://[^\s\"'?#<>]*)[?#][^\s\"'<>]*", r"\1", text)


def _split(text: str) -> tuple[str, str]:
    match = _URL.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is no URL", expected="scheme://place")
    return match[1], match[2]
