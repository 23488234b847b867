"""Object stores: S3 and what speaks like it, Google Cloud Storage, a mounted folder, the memory of this process.

Creating only what is not there is a conditional put: ``If-None-Match: *`` on S3, generation 0 on Google's, a hard link
in a folder. Retries are ours, not the library's, so that a put whose reply was lost is told from one that lost a race.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import TYPE_CHECKING

from ..errors import MachineError, MissingDependency, StoreCorrupt, StoreError
from ..place import StoreUrl
from .remote import Listed, Patience, said

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, S3Config

_PASSING = re.compile(r"HTTP error: (?!builder)|status code: (?:5\d\d|408|409|429)|timed? ?out", re.IGNORECASE)
_REFUSED = re.compile(r"status code: 40[13]")
_LOG_IN = "give credentials in the environment (AWS_…, GOOGLE_…) or in the service's own configuration"


class ObjectRemote:
    """An object store behind :class:`~.remote.Remote`.

    Args:
        url: of ``s3://``, ``gs://``, ``file://`` or ``memory://``.
        patience: how often it is asked again.
        endpoint: an S3-compatible server that is not the one of the environment.
    """

    batch = 1

    def __init__(self, url: StoreUrl, *, patience: Patience, endpoint: str | None = None) -> None:
        try:
            import obstore
        except ImportError as error:
            raise MissingDependency(f"{url} needs obstore", remedy="pip install obstore") from error
        self.url = str(url)
        self._obstore = obstore
        self._patience = patience
        self._prefix = url.rest.strip("/") + "/" if url.scheme == "file" else ""
        self._store = _open(url, endpoint)

    def create(self, *, private: bool) -> None:
        """Nothing: a bucket is made by its owner, a prefix by the first file."""

    def files(self) -> dict[str, Listed]:
        """Every file below the prefix."""
        pages = self._ask(lambda: [*self._obstore.list(self._store, self._prefix or None)])
        found = [entry for page in pages for entry in page]
        return {
            entry["path"].removeprefix(self._prefix): Listed(entry["size"], entry["e_tag"] or "") for entry in found
        }

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            self._ask(lambda: self._obstore.head(self._store, self._prefix + name))
        except FileNotFoundError:
            return False
        return True

    def get(self, name: str, *, limit: int) -> bytes:
        """A whole object; FileNotFoundError if there is none, StoreCorrupt above ``limit`` bytes."""
        return self._ask(lambda: self._read(name, limit))

    def put(self, files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Create objects that are not there, in order; returns the others' bytes where they differ from ours."""
        others = {}
        for name, data in files:
            found = self._ask(partial(self._create, name, data))
            if found != data:
                others[name] = found
        return others

    def replace(self, name: str, data: bytes) -> None:
        """Write an object over what is there."""
        self._ask(lambda: self._obstore.put(self._store, self._prefix + name, data))

    def _create(self, name: str, data: bytes) -> bytes:
        """The bytes under the name: ours, or those of whoever was first. After a lost reply the latter are ours too."""
        try:
            self._obstore.put(self._store, self._prefix + name, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return self._read(name, None)
        except FileNotFoundError:
            raise StoreError(f"{self.url} cannot be written: there is no such bucket") from None
        return data

    def _read(self, name: str, limit: int | None) -> bytes:
        result = self._obstore.get(self._store, self._prefix + name)
        size = result.meta["size"]
        if limit is not None and size > limit:
            raise StoreCorrupt(f"{self.url}/{name} is too large", found=f"{size} bytes", expected=f"at most {limit}")
        return bytes(result.bytes())

    def _ask[T](self, call: Callable[[], T]) -> T:
        failures = self._obstore.exceptions
        try:
            return self._patience.run(call, url=self.url, transient=self._transient)
        except (failures.PermissionDeniedError, failures.UnauthenticatedError) as error:
            raise MachineError(f"{self.url} does not let us in", found=said(error), remedy=_LOG_IN) from None
        except failures.BaseError as error:
            if _REFUSED.search(_first_line(error)):
                raise MachineError(f"{self.url} does not let us in", found=said(error), remedy=_LOG_IN) from None
            raise StoreError(f"{self.url} cannot be used", found=said(error)) from None

    def _transient(self, error: Exception) -> bool:
        generic = isinstance(error, self._obstore.exceptions.GenericError)
        return generic and _PASSING.search(_first_line(error)) is not None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _open(url: StoreUrl, endpoint: str | None) -> "ObjectStore":
    from obstore.store import GCSStore, LocalStore, S3Store

    if url.scheme == "memory":
        return _memory(url.rest)
    if url.scheme == "file":
        return LocalStore()
    # plain HTTP is allowed because only an endpoint that a person named has it: a laboratory's own server
    options: ClientConfig = {"allow_http": True, "connect_timeout": "10s", "read_timeout": "60s", "timeout": "15m"}
    if url.scheme == "gs":
        return GCSStore.from_url(url.text, client_options=options, retry_config={"max_retries": 0})
    config: S3Config = {"endpoint": endpoint} if endpoint else {}
    return S3Store.from_url(url.text, config=config, client_options=options, retry_config={"max_retries": 0})


@cache
def _memory(name: str) -> "ObjectStore":  # noqa: ARG001 - the cache is by name
    """One store a name in this process."""
    from obstore.store import MemoryStore

    return MemoryStore()
