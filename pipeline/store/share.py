"""``push`` and ``pull``: parts of a store to a remote place, a card beside them, and parts of a remote store here."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError, StoreCorrupt, StoreError, StoreIncomplete
from ..manifest import DatasetManifest
from ..place import Place, StoreUrl
from .card import MARK, describe_features, describe_rows, write_card
from .folder import FolderRemote
from .layout import Layout
from .listing import readable_bytes
from .mirror import Mirror
from .names import Kind, parse_name
from .receipt import read_receipt
from .remote import Remote
from .remotes import open_remote
from .selection import Parcel, Selection, select
from .store import FeatureStore
from .transfer import CARD, Copied, copy_parts, plan_copy

MAX_CARD_BYTES = 1 << 22

Say = Callable[[str], None]


def push(
    place: Place,
    url: StoreUrl,
    selection: Selection,
    *,
    manifest: DatasetManifest | None = None,
    dry_run: bool = False,
    private: bool = False,
    say: Say | None = None,
    remote: Remote | None = None,
) -> Copied:
    """Copy the finished parts that hold a selected row to ``url``; in a repository of the Hub, write its card.

    Nothing is sealed and no snapshot moves: a sealed list is of the store it was made in.

    Args:
        place: the store.
        url: where to.
        selection: which rows.
        manifest: for the card.
        dry_run: only say what would be copied; no network is used.
        private: for a repository that is made by this call.
        say: is told how far it is.
        remote: what stands behind ``url``; None opens it.

    Raises:
        ConfigError, StoreError, MachineError: as :func:`.selection.select` and :func:`.transfer.copy_parts`.
    """
    store = FeatureStore.open(place)
    parcels = select(store, selection)
    card = _card(url, store, parcels, manifest)
    if dry_run:
        return replace(plan_copy(parcels, str(place), str(url)), card=card)
    remote = remote or open_remote(url)
    remote.create(private=private)
    before = remote.files()
    done = copy_parts(parcels, str(place), remote, tick=_ticker(parcels, say))
    if card is None:
        return done
    if _others(before, parcels):  # the card is of all that is there
        copy = FeatureStore.open(Layout(url.folder, Mirror(url, url.folder, remote)))
        card = _card(url, copy, select(copy, Selection()), manifest)
    return replace(done, card=card, card_written=card is not None and _write(remote, before, card))


def pull(url: StoreUrl, folder: Path, selection: Selection, *, dry_run: bool = False, say: Say | None = None) -> Copied:
    """Copy the finished parts of a remote store that hold a selected row into a folder.

    Raises:
        ConfigError, StoreError, MachineError: as :func:`push`.
    """
    parcels = select(FeatureStore.open(url), selection)
    if dry_run:
        return plan_copy(parcels, str(url), str(folder))
    FeatureStore.create(folder)
    return copy_parts(parcels, str(url), FolderRemote(folder), tick=_ticker(parcels, say))


def fetch_all(url: StoreUrl) -> tuple[Path, tuple[StoreError, ...]]:
    """Bring every part of a remote store into its local copy, to look at it as a folder.

    Returns:
        The copy's folder, and what kept a part from coming: it is missing there, or not what its receipt says.

    Raises:
        StoreCorrupt: a small file at the place is damaged. MachineError: the place does not answer.
    """
    store = FeatureStore.open(url)
    problems: list[StoreError] = []
    for array in store.arrays():
        for part in array.finished_parts():
            receipt = read_receipt(store.path, array.receipt_path(part))
            try:
                if array.layout.remote is not None:
                    array.layout.remote.provide(array.part_path(part), receipt.bytes, receipt.sha256)
            except (StoreIncomplete, StoreCorrupt) as error:
                problems.append(error)
    return store.path, tuple(problems)


def _card(url: StoreUrl, store: FeatureStore, parcels: list[Parcel], manifest: DatasetManifest | None) -> str | None:
    if url.scheme != "hf":
        return None
    rows = describe_rows(store, parcels)
    datasets = sorted({of.repo_id for of in rows})
    if manifest is not None and manifest.repo_id not in datasets:
        raise ConfigError("the manifest is of another dataset", found=manifest.repo_id, expected=datasets)
    return write_card(url, describe_features(parcels), rows, manifest)


def _others(before: Iterable[str], parcels: list[Parcel]) -> bool:
    """Whether the place had parts that this push is not about."""
    ours = {(parcel.array.index_id, parcel.array.key, part) for parcel in parcels for part in parcel.receipts}
    found = [parsed for name in before if (parsed := parse_name(name)) and parsed.kind is Kind.RECEIPT]
    return any((name.index_id, name.key, name.part) not in ours for name in found)


def _write(remote: Remote, before: Iterable[str], card: str) -> bool:
    """Write the card unless somebody wrote one of their own."""
    if CARD in before:
        text = remote.get(CARD, limit=MAX_CARD_BYTES).decode(errors="replace")
        if text == card or MARK not in text:
            return False
    remote.replace(CARD, card.encode())
    return True


def _ticker(parcels: list[Parcel], say: Say | None) -> Callable[[int], None]:
    total, done = sum(parcel.bytes for parcel in parcels), 0

    def tick(size: int) -> None:
        nonlocal done
        done += size
        if say is not None:
            say(f"{readable_bytes(done)} of {readable_bytes(total)}")

    return tick
