"""What it takes to judge a run again: where its parts lie, its whole config, and the code of both sides."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ...pipeline.record import RunRecord
from ...train.config import RECIPES
from ..made import Made
from ..report import RunReport
from .content import Details, Fact, Table

ABSENT = "–"
TRAINING = ("train", "sweep")


def config_of(record: RunRecord) -> Details:
    """The run's config, defaults included, as JSON to be unfolded."""
    text = json.dumps(record.config, indent=1, sort_keys=True, ensure_ascii=False, default=str)
    return Details("The run's config", "Every field, defaults included", text)


def versions_of(run: RunReport, record: RunRecord, made: Made) -> Table:
    """The code and machine that trained beside those that judged."""
    rows = [("date", ABSENT, made.date), ("device", record.device, run.device or ABSENT)]
    rows += [("precision", str(record.config.get("precision", ABSENT)), run.precision or ABSENT)]
    rows += [("source commit", record.commit or ABSENT, made.commit or ABSENT)]
    names = dict.fromkeys([*record.versions, *made.versions])
    rows += [(name, record.versions.get(name, ABSENT), made.versions.get(name, ABSENT)) for name in names]
    notes = (f"{ABSENT}: not recorded, not installed, or, of a commit, run outside a git repository.",)
    return Table("Versions", ("", "training", "this evaluation"), rows, notes=notes)


def recipe_facts(run: RunReport, record: RunRecord) -> Iterator[Fact]:
    """The fingerprint of the recipe as it was used, and of its file as far as one can be found."""
    if run.recipe:
        yield Fact("recipe as used, but for the seed, sha256", run.recipe, exact=True)
    file = recipe_file(record)
    if file is not None:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        yield Fact("recipe file", str(file), exact=True)
        yield Fact("recipe file as it is now, sha256", digest, exact=True)


def recipe_file(record: RunRecord) -> Path | None:
    """The recipe that the recorded command names, if it is one of ours or an absolute path that is still there.

    A relative path is not looked for: nobody knows the folder in which training was started.
    """
    words = record.command[1:3]
    if len(words) < 2 or words[0] not in TRAINING:
        return None
    named = Path(words[1])
    found = named if named.is_absolute() else RECIPES / f"{named.name}.yaml"
    ours = named.is_absolute() or named.name == words[1]
    return found if ours and found.is_file() else None


def manifest_place(record: RunRecord, given: str | None) -> str:
    """Where the manifest lies, as an absolute path; a shipped one is its name.

    Args:
        record: the run's.
        given: the manifest that the evaluation was told; None is the run's own.
    """
    name = given or str(record.config.get("manifest", ""))
    if given and Path(given).is_file():
        return str(Path(given).resolve())
    beside = [Path(str(place)).parent for key in ("labels", "root") if (place := record.manifest.get(key))]
    found = (place / Path(name).name for place in beside)
    return next((str(path.resolve()) for path in found if path.is_file()), name)
