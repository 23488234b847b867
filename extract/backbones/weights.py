"""Where a checkpoint's files are, and what they are: a local directory or a Hub repository, and sha256 hashes.

Hashing never reads a file twice: a local file's hash is remembered by (inode, size, mtime), and a blob of the Hub's
cache is named after its hash. Nothing here loads a weight.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...pipeline.errors import WeightsError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
)
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_PATHS_IN_TOKENIZER_CONFIG = ("name_or_path", "tokenizer_file", "special_tokens_map_file")


def find_file(checkpoint: str, name: str, *, revision: str | None = None, hub_cache: Path | None = None) -> Path:
    """The local path of one small file of a checkpoint; a Hub file is downloaded, or found in the Hub's cache.

    Raises:
        WeightsError: the directory or repository has no such file, or cannot be reached.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise WeightsError(
                f"{name} is missing from the checkpoint {checkpoint}",
                found=sorted(path.name for path in folder.iterdir()),
                expected=f"a file {name}",
                remedy="give the complete folder that save_pretrained wrote (a policy's with its preprocessor)",
            )
        return folder / name
    require_hub_id(checkpoint)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(checkpoint, name, revision=revision, cache_dir=hub_cache))
    except _hub_errors() as error:
        raise WeightsError(
            f"cannot get {name} of {checkpoint} from the Hub",
            found=_first_line(error),
            expected=f"a repository with {name}, or a local directory",
            remedy="check the name, the network, HF_TOKEN for private repositories, and HF_HUB_OFFLINE",
        ) from error


def read_json(checkpoint: str, name: str, *, revision: str | None = None, hub_cache: Path | None = None) -> Any:
    """One JSON file of a checkpoint, parsed; raises WeightsError if it is absent or no JSON."""
    path = find_file(checkpoint, name, revision=revision, hub_cache=hub_cache)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON", found=str(error), remedy="restore the file") from error


def weights_sha256(
    checkpoint: str,
    name: str,
    *,
    revision: str | None = None,
    hash_cache: Path | None = None,
    hub_cache: Path | None = None,
) -> str:
    """The sha256 of a weight file; for a Hub repository without downloading it."""
    if not Path(checkpoint).is_dir():
        require_hub_id(checkpoint)
        from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

        cached = try_to_load_from_cache(checkpoint, name, revision=revision, cache_dir=hub_cache)
        if isinstance(cached, str):
            return file_sha256(Path(cached), hash_cache)
        try:
            etag = get_hf_file_metadata(hf_hub_url(checkpoint, name, revision=revision)).etag
        except _hub_errors():
            etag = None  # find_file below says what is wrong
        if etag and _SHA256.fullmatch(etag):
            return etag
    return file_sha256(find_file(checkpoint, name, revision=revision, hub_cache=hub_cache), hash_cache)


def file_sha256(path: Path, cache: Path | None = None) -> str:
    """The sha256 of a file, remembered under ``cache`` by (inode, size, mtime in ns)."""
    blob = path.resolve()
    if path.is_symlink() and blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        return blob.name
    if cache is None:
        return _sha256(path)
    stat = path.stat()
    note = cache / f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}.sha256"
    if note.is_file() and _SHA256.fullmatch(known := note.read_text(encoding="ascii")):
        return known
    digest = _sha256(path)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = note.with_name(f"{note.name}.{os.getpid()}")
    temporary.write_text(digest, encoding="ascii")
    temporary.replace(note)
    return digest


def find_tokenizer(
    name: str | None, checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None
) -> Path:
    """The folder of the tokenizer a checkpoint names.

    In this order: a local directory of that name; a Hub repository of that name; the checkpoint's own folder (a
    checkpoint saved with an absolute tokenizer path and moved since).

    Raises:
        WeightsError: none of them holds tokenizer files.
    """
    if name is not None and Path(name).is_dir() and has_tokenizer(Path(name)):
        return Path(name)
    if name is not None and not Path(name).is_absolute() and _HUB_ID.fullmatch(name):
        folder = _hub_folder(name, (*TOKENIZER_FILES, "config.json"), revision=None, hub_cache=hub_cache)
        if folder is not None and has_tokenizer(folder):
            return folder
    own: Path | None = Path(checkpoint)
    if not Path(checkpoint).is_dir():
        own = _hub_folder(checkpoint, TOKENIZER_FILES, revision=revision, hub_cache=hub_cache)
    if own is not None and has_tokenizer(own):
        return own
    raise WeightsError(
        f"the checkpoint {checkpoint} has no tokenizer",
        found=f"none in {name} (named by policy_preprocessor.json), none in {checkpoint}",
        expected=f"one of {', '.join(VOCABULARIES)}",
        remedy="save the tokenizer into the checkpoint's folder, or correct tokenizer_name in its preprocessor",
    )


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a vocabulary."""
    return any((folder / name).is_file() for name in VOCABULARIES)


def tokenizer_sha256(folder: Path) -> dict[str, str]:
    """File name -> sha256 of every tokenizer file in a folder; paths written into its config are left out."""
    hashes = {}
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            hashes[name] = hashlib.sha256(_without_paths(folder / name)).hexdigest()
    return hashes


def require_hub_id(checkpoint: str) -> None:
    """Raise WeightsError unless a name that is no directory can be a Hub repository."""
    if not _HUB_ID.fullmatch(checkpoint) or ".." in checkpoint:
        raise WeightsError(
            f"there is no checkpoint directory {checkpoint}",
            expected="a directory, or a Hub id such as lerobot/xvla-base",
            remedy="check the path",
        )


def _hub_folder(repo_id: str, names: Sequence[str], *, revision: str | None, hub_cache: Path | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, revision=revision, cache_dir=hub_cache, allow_patterns=list(names)))
    except _hub_errors():
        return None


def _hub_errors() -> tuple[type[Exception], ...]:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return (OSError, httpx.HTTPError, HfHubHTTPError, HFValidationError)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_paths(path: Path) -> bytes:
    if path.name != "tokenizer_config.json":
        return path.read_bytes()
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in _PATHS_IN_TOKENIZER_CONFIG}
    return json.dumps(kept, sort_keys=True).encode()
