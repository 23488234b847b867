"""A run as others get it: what is needed to load it and to judge it, and nothing of the machine it was made on.

README.md            the card
config.json          the run's record, without folders; ``run.json`` is the same text
model.safetensors    the head
controls/<name>.safetensors    each control, as it was at its own best validation
steps.json           after how many steps each was taken
files.json           size and sha256 of the four above
metrics.jsonl        the log, without folders
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ..pipeline.errors import ConfigError, WeightsError
from .bounds import LIST, describe
from .card import FILE, MARK, is_ours, write_card
from .checkpoint import STEPS, json_bytes, model_file
from .journal import FILE as LOG
from .journal import read_journal
from .loaded import LoadedRun, load_run
from .outcome import read_outcome
from .privacy import without_folders


def export(run_dir: Path, checkpoint: str = "best", *, name: str) -> dict[str, bytes]:
    """The files of one checkpoint of a run, by name; :func:`~.loaded.load_run` reloads a folder of them.

    A card that somebody wrote into the run folder stays as it is.

    Args:
        run_dir: the run folder, or one checkpoint.
        checkpoint: ``best``, ``last`` or a step.
        name: ``owner/name`` on the Hub, for the card.

    Raises:
        ConfigError: no run, no such checkpoint, or a file that is a link.
        WeightsError, StoreMismatch: as :func:`~.loaded.load_run`.
    """
    loaded = load_run(run_dir, checkpoint)
    for linked in (LOG, FILE):
        if (run_dir / linked).is_symlink():
            raise ConfigError(
                f"{run_dir / linked} is a link", expected="the file itself: what it leads to may be private"
            )
    files = dict(_checkpoint_files(loaded))
    files[LIST] = json_bytes({file: describe(data) for file, data in files.items()})
    files["run.json"] = files["config.json"]
    files[LOG] = _log(run_dir)
    files[FILE] = _card(loaded, run_dir, name)
    return files


def _checkpoint_files(loaded: LoadedRun) -> Iterator[tuple[str, bytes]]:
    for name, one in loaded.contenders.items():
        try:
            yield model_file(name), (one.path / model_file(name)).read_bytes()
        except OSError as error:
            raise WeightsError(f"{one.path / model_file(name)} cannot be read", found=error) from None
    yield "config.json", json_bytes(without_folders(loaded.record.to_json()))
    yield STEPS, json_bytes({name: one.step for name, one in loaded.contenders.items()})


def _log(run_dir: Path) -> bytes:
    return "".join(json.dumps(without_folders(line)) + "\n" for line in read_journal(run_dir)).encode()


def _card(loaded: LoadedRun, run_dir: Path, name: str) -> bytes:
    own = run_dir / FILE
    if not is_ours(own):
        return own.read_bytes()
    outcome = read_outcome(run_dir, {contender: one.step for contender, one in loaded.contenders.items()})
    return write_card(loaded.record, outcome, name=name.rpartition("/")[2], source=name).encode()


def is_own_card(data: bytes) -> bool:
    """Whether a card was written by us and by nobody since."""
    return MARK.encode() in data
