"""Stores in dataset repositories of the Hugging Face Hub.

The Hub knows no conditional put of a file, but a commit that names its parent is refused if somebody else was faster.
So: look which files are there, commit the others on top of what was looked at, and look again if that was refused or
no reply came. Every file has a git hash or a sha256 there, by which our own bytes are known without a download.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MachineError, MissingDependency, StoreCorrupt, StoreError
from ..place import StoreUrl
from .remote import Listed, Patience, said

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoFile

_CHUNK = 500
_LOG_IN = "log in with `hf auth login`, or check the repository's name"


class HubRemote:
    """A dataset repository behind :class:`~.remote.Remote`. A commit is dear there, so parts are put many at once.

    Args:
        url: an ``hf://`` URL.
        patience: how often it is asked again.
        api: the client; None is one for the Hub of the environment, with the token that the user is logged in with.
    """

    batch = 64

    def __init__(self, url: StoreUrl, *, patience: Patience, api: "HfApi | None" = None) -> None:
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            raise MissingDependency(f"{url} needs huggingface_hub", remedy="pip install huggingface-hub") from error
        self.url = str(url)
        repository, self._revision, prefix = url.hub
        self._prefix = prefix + "/" if prefix else ""
        self._repo: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset"}
        self._api, self._patience = api or HfApi(), patience

    def create(self, *, private: bool) -> None:
        """Make the repository unless it is there."""
        self._ask(lambda: self._api.create_repo(**self._repo, private=private, exist_ok=True))

    def files(self) -> dict[str, Listed]:
        """Every file below the prefix."""
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        def listed() -> dict[str, Listed]:
            folder = self._prefix.rstrip("/") or None
            tree = self._api.list_repo_tree(**self._repo, path_in_repo=folder, recursive=True, revision=self._revision)
            return {entry.path: Listed(entry.size, entry.blob_id) for entry in tree if isinstance(entry, RepoFile)}

        try:
            found = self._ask(listed)
        except EntryNotFoundError:
            return {}
        return {path.removeprefix(self._prefix): file for path, file in found.items()}

    def has(self, name: str) -> bool:
        """Whether the branch has this file now."""
        return bool(self._ask(lambda: self._infos([self._prefix + name], self._revision)))

    def get(self, name: str, *, limit: int) -> bytes:
        """A whole file; FileNotFoundError if there is none, StoreCorrupt above ``limit`` bytes."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return self._ask(lambda: self._download(name, limit))
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"{self.url}/{name}") from error

    def put(self, files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Create the files that are not there, in one commit; returns the others' bytes where they differ from ours."""
        from huggingface_hub import CommitOperationAdd

        ours: dict[str, CommitOperationAdd] = {}
        hashes: dict[str, frozenset[str]] = {}
        for name, data in files:
            addition = ours[self._prefix + name] = CommitOperationAdd(self._prefix + name, data)
            hashes[self._prefix + name] = _hashes(data)
            # large files leave our memory here, before the commit that names them
            self._ask(
                partial(self._api.preupload_lfs_files, **self._repo, additions=[addition], revision=self._revision)
            )
        there = self._ask(lambda: self._commit(ours))
        others = [path for path, info in there.items() if not hashes[path] & {info.blob_id, _sha256(info)}]
        names = [path.removeprefix(self._prefix) for path in others]
        return {name: self.get(name, limit=there[self._prefix + name].size) for name in names}

    def replace(self, name: str, data: bytes) -> None:
        """Write a file over what is there."""
        from huggingface_hub import CommitOperationAdd

        def commit() -> None:
            addition = CommitOperationAdd(self._prefix + name, data)
            self._api.create_commit(
                **self._repo, operations=[addition], commit_message=f"Write {name}", revision=self._revision
            )

        self._ask(commit)

    def _commit(self, ours: dict[str, "CommitOperationAdd"]) -> dict[str, "RepoFile"]:
        """Commit what is not there on top of the branch as it is now; returns the files that are there already."""
        head = self._api.repo_info(**self._repo, revision=self._revision).sha
        there = {info.path: info for info in self._infos(list(ours), head)}
        missing = [addition for path, addition in ours.items() if path not in there]
        if missing:
            self._api.create_commit(
                **self._repo,
                operations=missing,
                commit_message=f"Add {len(missing)} files",
                revision=self._revision,
                parent_commit=head,
            )
        return there

    def _infos(self, paths: list[str], revision: str | None) -> list["RepoFile"]:
        from huggingface_hub.hf_api import RepoFile

        chunks = [paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK)]
        found = [
            info for chunk in chunks for info in self._api.get_paths_info(**self._repo, paths=chunk, revision=revision)
        ]
        return [info for info in found if isinstance(info, RepoFile)]

    def _download(self, name: str, limit: int) -> bytes:
        with tempfile.TemporaryDirectory(prefix="visual-thought-") as folder:
            path = self._api.hf_hub_download(
                **self._repo, filename=self._prefix + name, revision=self._revision, cache_dir=folder
            )
            size = Path(path).stat().st_size
            if size > limit:
                raise StoreCorrupt(f"{self.url}/{name} is too large", found=f"{size} bytes", expected=limit)
            return Path(path).read_bytes()

    def _ask[T](self, call: Callable[[], T]) -> T:
        return ask_hub(call, url=self.url, patience=self._patience)


def ask_hub[T](call: Callable[[], T], *, url: str, patience: Patience) -> T:
    """What a call of the Hub's client returns, asked again while an error may pass.

    Raises:
        StoreError: there is no such repository, or it refuses.
        MachineError: the Hub does not answer, does not let us in, or the machine is offline.
        EntryNotFoundError: the client's own, for a file that is not there.
    """
    from huggingface_hub import errors

    try:
        return patience.run(call, url=url, transient=_transient)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise StoreError(f"{url} is not there, or not for us", found=said(error), remedy=_LOG_IN) from None
    except errors.EntryNotFoundError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise MachineError(f"{url} cannot be reached offline", found=said(error)) from None
    except errors.HfHubHTTPError as error:
        kind = MachineError if error.response.status_code in (401, 403) else StoreError
        raise kind(f"{url} refuses", found=said(error), remedy=_LOG_IN) from None


def _transient(error: Exception) -> bool:
    """Whether to ask again: no reply, an overloaded server, or a commit that somebody else was faster than."""
    import httpx
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return False
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 409, 412, 429)
    no_reply = (httpx.TransportError, ConnectionError, errors.LocalEntryNotFoundError)
    return isinstance(error, no_reply)


def _hashes(data: bytes) -> frozenset[str]:
    """What the Hub may call these bytes: git's hash of a small file, the sha256 of a large one."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return frozenset({blob, hashlib.sha256(data).hexdigest()})


def _sha256(info: "RepoFile") -> str | None:
    return info.lfs.sha256 if info.lfs else None
