"""The local copy of a remote store: a part of it, laid out as the store is, made of files that have proven themselves.

Everything in a store is created once and never changed, so the copy can only lack files, or hold some that were taken
away from the store since. Opening lists the remote place and mends both for the small files; a part's file comes when
it is first read. Nothing gets its name in the copy before its bytes are what the receipt says, and what lies in the
copy is proven once more by every process that opens it: whoever damages the copy costs time, never numbers.
"""

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import StoreCorrupt, StoreError, StoreIncomplete
from ..place import StoreUrl
from .commit import commit_file, make_folders, make_root
from .files import read_file
from .names import LIMITS, Kind, parse_name
from .proof import prove
from .receipt import Receipt, parse_receipt
from .remote import Listed, Remote
from .system import Calls
from .tags import read_tags, write_tags

THREADS = 16
TAGS = ".tags.json"
_UNSYNCED = Calls(fsync=lambda _: None)  # what a crash damages here is found and fetched again


class Mirror:
    """What stands behind the layout of a local copy (:class:`~.layout.Backing`). Threads may share it.

    Args:
        url: the store's.
        root: the copy's folder; any number of processes may share it.
        remote: the place itself.
    """

    def __init__(self, url: StoreUrl, root: Path, remote: Remote) -> None:
        self.url, self.root, self.remote = url, root, remote
        self._there: dict[str, Listed] = {}
        self._tags: dict[str, str] = {}
        self._proven: set[tuple[str, str]] = set()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def prepare(self) -> list[str]:
        """Make the repository if it can be made; returns what lies at the top of the place, its card not counted."""
        self.remote.create(private=True)
        return sorted({name.partition("/")[0] for name in self.remote.files()} - {"README.md"})

    def refresh(self) -> None:
        """List the place, fetch the small files that the copy lacks, remove from it what is gone.

        Raises:
            StoreCorrupt: a small file is not what its name, its checksum or its receipt says.
            MachineError: the place does not answer, or does not let us in.
        """
        self._there = {name: file for name, file in self.remote.files().items() if parse_name(name) is not None}
        self._remove_gone()
        if not self._there:
            return
        make_root(self.root)
        self._tags = read_tags(self.root / TAGS)
        found = sorted((parsed.kind, name) for name in self._there if (parsed := parse_name(name)))
        for kind in Kind:
            if kind not in (Kind.PART, Kind.FRAMES):  # parts come when they are read, frames with their receipts
                self._each(name for of, name in found if of is kind)
        self._tags = {name: self._tag(name) for kind, name in found if kind is not Kind.PART}
        write_tags(self.root / TAGS, self._tags)

    def commit(self, path: Path, data: bytes) -> bytes:
        """Create a file at the place unless it is there, then in the copy; returns the bytes that are there."""
        name = self._name(path)
        found = self.remote.put([(name, data)]).get(name, data)
        self._there[name] = Listed(len(found), "")
        if commit_file(path, found) != found:  # left over from a part that was taken away and made again
            path.unlink(missing_ok=True)
            commit_file(path, found)
        return found

    def exists(self, path: Path) -> bool:
        """Whether the place has this receipt by now; then it is in the copy."""
        name = self._name(path)
        if not self.remote.has(name):
            return False
        self._bring(name)
        return os.path.lexists(path)

    def expect(self, path: Path, size: int) -> None:
        """StoreIncomplete or StoreCorrupt unless the place has this part, of this size."""
        name = self._name(path)
        if name not in self._there and not self.remote.has(name):
            raise StoreIncomplete(f"{self.url}/{name} is missing though it has a receipt", remedy="repair the store")
        found = self._there.get(name, Listed(size, "")).size
        if found != size:
            raise StoreCorrupt(
                f"{self.url}/{name} has another size than its receipt says",
                found=f"{found} bytes",
                expected=f"{size} bytes",
                remedy="repair the store",
            )

    def provide(self, path: Path, size: int, sha256: str) -> None:
        """See to it that a part's file is in the copy, whole; fetches it if it is not.

        Raises:
            StoreIncomplete, StoreCorrupt: the place lacks it, or has other bytes than the receipt says.
        """
        name = self._name(path)
        with self._locks[name]:
            if (name, sha256) in self._proven and os.path.lexists(path):
                return
            if not _holds(path, size, sha256):
                self._put_here(path, self.fetch(path, size, sha256))
            self._proven.add((name, sha256))

    def fetch(self, path: Path, size: int, sha256: str) -> bytes:
        """The proven bytes of a part, from the place; raises as :meth:`provide`. The copy stays as it is."""
        name = self._name(path)
        try:
            data = self.remote.get(name, limit=size)
        except FileNotFoundError as error:
            raise StoreIncomplete(f"{self.url}/{name} is missing", remedy="repair the store") from error
        found = (len(data), hashlib.sha256(data).hexdigest())
        if found != (size, sha256):
            raise StoreCorrupt(
                f"{self.url}/{name} is not what its receipt says",
                found=f"{found[0]} bytes, sha256 {found[1]}",
                expected=f"{size} bytes, sha256 {sha256}",
                remedy="repair the store",
            )
        return data

    def _each(self, names: Iterable[str]) -> None:
        """Bring several small files; an interrupted download leaves the others whole."""
        done = {name for name, tag in self._proven if tag == self._tag(name) and os.path.lexists(self.root / name)}
        todo = [name for name in names if name not in done]
        if todo:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(self._bring, todo))

    def _bring(self, name: str) -> None:
        """See to it that the copy has this small file, proven; a receipt after its frames.

        One that the place may have made again since it was fetched is fetched again.
        """
        data = self._here(name) if self._tags.get(name) == self._tag(name) else None
        fresh = data is None
        if data is None:
            try:
                data = self.remote.get(name, limit=LIMITS[_kind(name)])
            except FileNotFoundError:  # taken away since it was listed
                return
            prove(f"{self.url}/{name}", name, data)
        if _kind(name) is Kind.RECEIPT:
            self._bring_frames(name, parse_receipt(name, data))
        if fresh:
            self._put_here(self.root / name, data)
        self._proven.add((name, self._tag(name)))

    def _here(self, name: str) -> bytes | None:
        """The copy's own bytes of a small file if they prove themselves; what does not is removed."""
        path = self.root / name
        try:
            data = read_file(self.root, path, limit=LIMITS[_kind(name)])
            prove(name, name, data)
        except StoreIncomplete:
            return None
        except StoreError:  # damaged, or a link
            path.unlink(missing_ok=True)
            return None
        return data

    def _bring_frames(self, receipt_name: str, receipt: Receipt) -> None:
        name = receipt_name.removesuffix(".json") + ".parquet"
        path, expected = self.root / name, receipt.frames_sha256
        if expected is None or _holds(path, None, expected):
            return
        try:
            data = self.remote.get(name, limit=LIMITS[Kind.FRAMES])
        except FileNotFoundError:
            return
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise StoreCorrupt(f"{self.url}/{name} is not the table its receipt names", found=found, expected=expected)
        self._put_here(path, data)

    def _put_here(self, path: Path, data: bytes) -> None:
        make_folders(self.root, path.parent)
        if commit_file(path, data, calls=_UNSYNCED) != data:
            path.unlink(missing_ok=True)
            commit_file(path, data, calls=_UNSYNCED)

    def _remove_gone(self) -> None:
        """Take out of the copy what the place no longer has, receipts first.

        A file is listed here after the place was listed, and looked for there once more, so that one which somebody
        is creating at this moment stays.
        """
        here = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if not path.is_dir()]
        gone = [name for name in here if parse_name(name) is not None and name not in self._there]
        for name in sorted(gone, key=_kind, reverse=True):
            if not self.remote.has(name):
                (self.root / name).unlink(missing_ok=True)

    def _tag(self, name: str) -> str:
        return self._there[name].tag if name in self._there else ""

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _kind(name: str) -> Kind:
    parsed = parse_name(name)
    if parsed is None:
        raise ValueError(f"{name!r} is no file of a store")
    return parsed.kind


def _holds(path: Path, size: int | None, sha256: str) -> bool:
    """Whether a file is whole (``size`` None: whatever its size); one that is not is removed."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            intact = size is None or os.fstat(file.fileno()).st_size == size
            intact = intact and hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False
    except OSError:  # a link, or nothing that can be read
        intact = False
    if not intact:
        path.unlink(missing_ok=True)
    return intact
