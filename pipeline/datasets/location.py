"""Where a dataset lies on this disk, and which revision of it that is."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import DatasetError
from ..manifest import DatasetManifest
from .info import INFO, MAX_EPISODES
from .parquet import ANY, open_parquet, read_columns

EPISODES = Path("meta/episodes")
_PLACE = re.compile(r"episode_index|length|data/(chunk|file)_index|videos/.+/(chunk_index|file_index|from_timestamp)")


class Location(NamedTuple):
    """A dataset's folder and revision: a commit sha of the Hub, or ``local-<hash of its files>``."""

    root: Path
    revision: str


def locate(manifest: DatasetManifest, lerobot_home: Path | None = None, hash_cache: Path | None = None) -> Location:
    """Find a manifest's dataset: its ``root``, else LeRobot's home, else the Hub (downloaded once, then cached).

    Args:
        manifest: names the dataset.
        lerobot_home: the folder that holds ``owner/name`` folders and LeRobot's own Hub cache ``hub/``.
        hash_cache: JSON file that remembers the hashes of unchanged files of local datasets; None = hash every time.

    Raises:
        DatasetError: nothing there, with what was found and what to do.
    """
    if manifest.root is not None:
        return _local(_checked(manifest.root), hash_cache)
    at_home = lerobot_home and lerobot_home / manifest.repo_id
    if at_home and (at_home / INFO).is_file():
        return _local(at_home, hash_cache)
    if manifest.revision is None:
        raise DatasetError(
            f"the dataset {manifest.repo_id} is not on this disk",
            found=f"nothing at {at_home}" if at_home else "no `root` and no LeRobot home to look in",
            expected=f"a folder with {INFO}; the manifest has no `revision`, so that the Hub is not asked",
            remedy="set `root` in the manifest to the dataset's folder (`vtt world` writes simulated sets with one)",
        )
    return _from_hub(manifest, lerobot_home)


def local_revision(root: Path, hash_cache: Path | None = None) -> str:
    """``local-`` and the first 16 hex digits of the hash over info.json, the data parquet and the video files, and
    over where each episode lies in them.

    Not over stats.json, whose key order varies between two equal recordings.

    Raises:
        DatasetError: a file of ``meta/episodes`` cannot be read.
    """
    known, places = _read_cache(hash_cache), root / EPISODES
    hashes: dict[str, str] = {}
    digest = hashlib.sha256()
    for path in _identity_files(root):
        stat = path.stat()
        key = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
        hashes[key] = known.get(key) or (_places_sha256(path) if path.parent.parent == places else _sha256(path))
        digest.update(f"{path.relative_to(root).as_posix()}\0{hashes[key]}\n".encode())
    if hash_cache is not None and not hashes.keys() <= known.keys():
        _write_cache(hash_cache, known | hashes)
    return f"local-{digest.hexdigest()[:16]}"


def _local(root: Path, hash_cache: Path | None) -> Location:
    commit = re.search(r"/snapshots/([0-9a-f]{40})$", root.absolute().as_posix())
    return Location(root, commit[1] if commit else local_revision(root, hash_cache))


def _checked(root: Path) -> Path:
    if not (root / INFO).is_file():
        there = sorted(path.name for path in root.iterdir()) if root.is_dir() else "no such folder"
        raise DatasetError(
            f"no LeRobot dataset at {root}",
            found=there,
            expected=f"a folder with {INFO}",
            remedy="correct `root` in the manifest",
        )
    return root


def _from_hub(manifest: DatasetManifest, lerobot_home: Path | None) -> Location:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["meta/*", "data/*", *(f"videos/*{camera}/*" for camera in manifest.cameras)]
    cache = lerobot_home and lerobot_home / "hub"
    try:
        folder = snapshot_download(
            manifest.repo_id,
            repo_type="dataset",
            revision=manifest.revision,
            cache_dir=cache,
            allow_patterns=wanted,
        )
    except (OSError, httpx.HTTPError, HfHubHTTPError, HFValidationError) as error:
        raise DatasetError(
            f"the dataset {manifest.repo_id} at revision {manifest.revision} could not be fetched",
            found=str(error).partition("\n")[0] or type(error).__name__,
            expected=f"the Hub, or a copy in its cache{f' {cache}' if cache else ''}",
            remedy="go online (and `hf auth login` for a private set), or set `root` in the manifest to a copy",
        ) from error
    return Location(_checked(Path(folder)), Path(folder).name)


def _identity_files(root: Path) -> Iterator[Path]:
    yield root / INFO
    yield from sorted((root / EPISODES).glob("*/*.parquet"))
    yield from sorted((root / "data").rglob("*.parquet"))
    yield from sorted(path for path in (root / "videos").rglob("*") if path.is_file())


def _places_sha256(path: Path) -> str:
    """Over the columns that say where an episode's rows and clips begin; the rest of the table is statistics."""
    with open_parquet(path) as file:
        names = sorted(name for name in file.schema_arrow.names if _PLACE.fullmatch(name))
    rows = read_columns(path, dict.fromkeys(names, ANY), max_rows=MAX_EPISODES).to_pylist()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_cache(path: Path | None) -> dict[str, str]:
    try:
        data = json.loads(path.read_text()) if path else {}
    except (OSError, ValueError):  # absent, or torn: every file is hashed again
        return {}
    return data if isinstance(data, dict) else {}


def _write_cache(path: Path, hashes: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(hashes, indent=0, sort_keys=True))
    temporary.replace(path)
