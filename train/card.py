"""The model card of a run (``README.md``): what was trained, on what, how good it is, how to load it.

Everything in it is read from the run folder, so it can be written again at any time.
"""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from ..pipeline import registry
from ..pipeline.errors import VisualThoughtError
from ..pipeline.markdown import code, licence_fields, plain
from ..pipeline.record import RunRecord, read_record
from ..pipeline.words import counted
from .checkpoint import HEAD
from .features import hub_checkpoints
from .folder import replace
from .outcome import Outcome, best_steps, read_outcome
from .privacy import without_folders

FILE = "README.md"
MARK = "<!-- written by vtt train; remove this line to keep your own changes -->"
PLACES = ("store", "manifest", "out", "resume", "progress", "device")
"""Keys of a config that say where and not what."""


def update_card(run_dir: Path) -> bool:
    """Write a run's card if it has a best checkpoint and nobody wrote a card of their own; says whether it did.

    Raises:
        ConfigError: no run.
        MachineError: it cannot be written.
    """
    record = read_record(run_dir / "run.json")
    steps = best_steps(run_dir, contenders_of(record))
    if HEAD not in steps or not is_ours(run_dir / FILE):
        return False
    text = write_card(record, read_outcome(run_dir, steps), name=run_dir.resolve().name, source=None)
    replace(run_dir / FILE, text.encode())
    return True


@contextmanager
def carded(run_dir: Path) -> Iterator[None]:
    """Write the card when the steps are over, however they ended; a card that cannot be written hides no error."""
    try:
        yield
    except BaseException:
        with suppress(VisualThoughtError, OSError):
            update_card(run_dir)
        raise
    update_card(run_dir)


def contenders_of(record: RunRecord) -> tuple[str, ...]:
    """The head and the controls of a run."""
    return (HEAD, *record.config["controls"])


def is_ours(path: Path) -> bool:
    """Whether a card may be written over: there is none, or it is one of ours that nobody took over."""
    return not path.is_symlink() and (not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"))


def write_card(record: RunRecord, outcome: Outcome, *, name: str, source: str | None) -> str:
    """The text of the card, with the Hub's own header and without a path of this machine.

    Args:
        record: the run's.
        outcome: the checkpoint the card is for.
        name: the run's name.
        source: ``owner/name`` on the Hub; None for a card that stays in the run folder.
    """
    shared: RunRecord = RunRecord.from_json(without_folders(record.to_json()))
    header = yaml.safe_dump(_header(shared, outcome, name), sort_keys=False, allow_unicode=True)
    sections = {
        "Trained on": _data(shared),
        "Features": _features(shared),
        "Metrics of the best checkpoint": _metrics(shared, outcome),
        "How to load it": _loading(name, source),
        "Recipe": ["```yaml", yaml.safe_dump(_recipe(shared), sort_keys=False).rstrip(), "```"],
        "Made by": _making(shared),
        "Licence": [_licence(shared)],
    }
    body = [line for title, lines in sections.items() for line in ("", f"## {title}", "", *lines)]
    return "\n".join(
        ["---", header.rstrip(), "---", "", MARK, "", f"# {plain(name)}", "", *_opening(shared), *body, ""]
    )


def best_metric(record: RunRecord) -> str:
    """The metric that chose the best checkpoint; the loss if the task is not known here."""
    try:
        return str(getattr(registry.load("task", record.task), "best_by", "loss"))
    except VisualThoughtError:
        return "loss"


def _header(record: RunRecord, outcome: Outcome, name: str) -> dict[str, Any]:
    manifest, simulated = record.manifest, bool(record.manifest["simulated"])
    tags = ["robotics", "visual-thought", "vision-language-action", record.task]
    tags += ["simulation"] if simulated else []
    said: dict[str, Any] = {"library_name": "visual-thought", "pipeline_tag": "robotics", "tags": tags}
    said |= licence_fields(str(manifest["licence"]))
    if manifest["revision"] is not None:  # on the Hub; any other dataset would be a link to nothing
        said["datasets"] = [manifest["repo_id"]]
    if bases := sorted({checkpoint for checkpoint, _ in hub_checkpoints(record.made_by.values())}):
        said["base_model"] = bases
    metrics = [{"type": key, "name": key, "value": value} for key, value in outcome.metrics.get(HEAD, {}).items()]
    if metrics:
        said["model-index"] = [{"name": name, "results": [_result(record, metrics)]}]
    return said


def _result(record: RunRecord, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    manifest = record.manifest
    dataset = {"name": manifest["name"], "type": manifest["repo_id"], "split": "val"}
    if manifest["revision"] is not None:
        dataset["revision"] = manifest["revision"]
    name = f"{record.task}{' (SIMULATED)' if manifest['simulated'] else ''}"
    return {"task": {"type": "robotics", "name": name}, "dataset": dataset, "metrics": metrics}


def _opening(record: RunRecord) -> list[str]:
    lines = [
        f"A small head for the task {code(record.task)} on features of a frozen vision-language-action model, trained "
        "by `vtt` from a cache of them."
    ]
    if record.manifest["simulated"]:
        simulated = "**The frames are SIMULATED: no real robot recorded them. Numbers from them are of a simulation.**"
        lines += ["", simulated]
    return lines


def _data(record: RunRecord) -> list[str]:
    manifest = record.manifest
    revision = f" at {code(manifest['revision'])}" if manifest["revision"] is not None else ", kept on a disk"
    cameras = ", ".join(map(code, manifest["cameras"]))
    lines = [f"- dataset {code(manifest['repo_id'])}{revision}, cameras {cameras}"]
    lines += [f"- {split}: {_size(record, split)}" for split in ("train", "val", "test") if split in record.splits]
    for checkpoint, commit in hub_checkpoints(record.made_by.values()):
        lines.append(f"- backbone {code(checkpoint)}" + (f" at {code(commit)}" if commit else ""))
    return lines


def _size(record: RunRecord, split: str) -> str:
    said = record.splits[split]
    return f"{counted(len(said['episodes']), 'episode')}, {counted(said['examples'], 'example')}"


def _features(record: RunRecord) -> list[str]:
    lines = ["| name | feature | per | shape | tier | fingerprint |", "|---|---|---|---|---|---|"]
    specs = {name: record.spec(name) for name in record.features}
    for name, spec in specs.items():
        shape = " x ".join(map(str, spec.shape))
        cells = [code(name), code(spec.key), spec.per, shape, spec.tier, code(spec.fingerprint)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Features with another fingerprint are refused. What made these:", ""]
    for name, spec in specs.items():
        weights = spec.compute.get("weights", {})
        hashes = "".join(f", {code(file)} {code(digest)}" for file, digest in sorted(_mapping(weights).items()))
        lines.append(f"- {code(name)}: {code(spec.compute.get('backbone', 'unknown'))}{hashes}")
    return lines


def _metrics(record: RunRecord, outcome: Outcome) -> list[str]:
    first = best_metric(record)
    known = {key for values in outcome.metrics.values() for key in values}
    names = sorted(known - {"tp", "fp", "fn"}, key=lambda name: (name != first, name))
    if not names:
        return ["The log of this run does not say what this checkpoint scored."]
    simulated = " of SIMULATED frames" if record.manifest["simulated"] else ""
    lines = [f"Validation split: {_size(record, 'val')}{simulated}. Every row is its own best checkpoint by `{first}`."]
    lines += ["", f"| | step | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for contender, values in outcome.metrics.items():
        label = "**head**" if contender == HEAD else f"control {code(contender)}"
        cells = [f"{values[name]:.4g}" if name in values else "" for name in names]
        lines.append(f"| {label} | {outcome.steps[contender]} | {' | '.join(cells)} |")
    if len(outcome.metrics) == 1:
        lines += ["", "No control was trained beside it, so nothing here says what the features contribute."]
    return lines


def _loading(name: str, source: str | None) -> list[str]:
    place = f'snapshot_download("{source}")' if source else repr(f"runs/{name}")
    first = ["from huggingface_hub import snapshot_download"] if source else []
    lines = [*first, "import visual_thought", f"run = visual_thought.load_run({place})  # run.model, run.record"]
    return ["```python", *lines, "```"]


def _recipe(record: RunRecord) -> Mapping[str, Any]:
    return {key: value for key, value in record.config.items() if key not in (*PLACES, "loader")}


def _making(record: RunRecord) -> list[str]:
    command = " ".join(shlex.join(record.command).replace("`", "").split())
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in record.versions.items())
    lines = ["```bash", command, "```", "", f"- seed {record.seed}, on {plain(record.device)}"]
    lines += [f"- {versions}"] + ([f"- source commit {code(record.commit)}"] if record.commit else [])
    return [*lines, *(f"- features extracted by {code(made)}" for made in dict.fromkeys(record.made_by.values()))]


def _licence(record: RunRecord) -> str:
    manifest = record.manifest
    return (
        f"The dataset {code(manifest['repo_id'])}: {plain(manifest['licence'])}. "
        "The licence of the backbone's weights holds as well."
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
