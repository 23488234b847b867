"""Where a run's numbers come from, and the commands that make them again, from ``run.json`` and the report."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...pipeline.record import RunRecord
from ...train.features import hub_checkpoints
from ..made import Made
from ..report import RunReport
from .content import Command, Commands, Fact, Facts, Item, Table
from .origins import config_of, recipe_facts, versions_of


def provenance_of(
    run: RunReport, record: RunRecord, evaluation: Sequence[str], made: Made | None = None
) -> tuple[Item, ...]:
    """What a run was made from: itself, its data, its features, their backbones, versions, config, commands.

    Args:
        run: what was judged.
        record: its ``run.json``.
        evaluation: the words of the command that evaluates; empty if nobody knows it.
        made: what judged it; None is this process.
    """
    facts = (_run(run, record), _data(run, record), _splits(record), _features(record))
    versions = versions_of(run, record, made or Made.now())
    return (*facts, versions, config_of(record), commands_of(record, evaluation))


def commands_of(record: RunRecord, evaluation: Sequence[str]) -> Commands:
    """Extract, train, evaluate: each command once, in this order."""
    made = [Command("Extract the features", line) for line in dict.fromkeys(record.made_by.values())]
    unknown = [name for name in record.features if name not in record.made_by]
    notes = [f"The store's receipts do not say what extracted {', '.join(unknown)}."] if unknown else []
    trained = Command("Train the head and its controls", command_line(record.command))
    if record.command and Path(record.command[0]).name != "vtt":
        notes.append("Training was started by another program than vtt; the recipe is in run.json.")
    judged = [Command("Evaluate", command_line(evaluation))] if evaluation else []
    return Commands("How to make it again", (*made, trained, *judged), notes)


def command_line(words: Sequence[str]) -> str:
    """A recorded command as it is typed: the console script without its folder."""
    if not words:
        return "(not recorded)"
    first = "vtt" if Path(words[0]).name == "vtt" else words[0]
    return shlex.join([first, *words[1:]])


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers with neighbours joined: 0–3, 7, 9–10."""
    ordered = sorted(set(numbers))
    ends = [first for first, second in pairwise(ordered) if second != first + 1] + ordered[-1:]
    begins = ordered[:1] + [second for first, second in pairwise(ordered) if second != first + 1]
    pairs = zip(begins, ends, strict=True)
    return ", ".join(f"{begin}" if begin == end else f"{begin}–{end}" for begin, end in pairs)


def _run(run: RunReport, record: RunRecord) -> Facts:
    facts = [
        Fact("run", str(run.path.resolve()), exact=True),
        Fact("task", record.task),
        Fact("checkpoint", f"{run.checkpoint}, step {run.step:,}"),
        Fact("seed", str(record.seed)),
        *recipe_facts(run, record),
        Fact("store", str(run.store.resolve() if isinstance(run.store, Path) else run.store), exact=True),
    ]
    return Facts("Run", facts)


def _data(run: RunReport, record: RunRecord) -> Facts:
    manifest = record.manifest
    revision = manifest.get("revision")
    facts = [
        Fact("manifest", run.manifest or str(manifest.get("name", "")), exact=bool(run.manifest)),
        Fact("dataset", str(manifest.get("repo_id", "")), exact=True),
        Fact("revision", str(revision) if revision else "none: the dataset lies on a disk", exact=bool(revision)),
        Fact("cameras", ", ".join(map(str, manifest.get("cameras") or ())) or "all"),
        Fact("frames", "every frame" if manifest.get("stride", 1) == 1 else f"every {manifest['stride']}th frame"),
        Fact("licence", str(manifest.get("licence", "not known"))),
        Fact("simulated", "yes" if manifest.get("simulated") else "no"),
    ]
    if digest := manifest.get("labels_sha256"):
        facts.append(Fact("labels, sha256", str(digest), exact=True))
    return Facts("Data", facts)


def _splits(record: RunRecord) -> Table:
    rows = []
    for name in ("train", "val", "test"):
        if split := record.splits.get(name):
            rows.append((name, f"{len(split['episodes']):,}", f"{split['examples']:,}", ranges(split["episodes"])))
    left_out = record.splits.get("left_out", {}).get("examples", 0)
    notes = ["Splits are by whole episodes."]
    notes += [f"{left_out:,} labelled examples were not in the store when the run was trained."] if left_out else []
    return Table("Splits", ("split", "episodes", "examples", "which episodes"), rows, notes=notes)


def _features(record: RunRecord) -> Facts:
    facts: list[Fact] = []
    for name, fingerprint in record.fingerprints.items():
        spec = record.spec(name)
        shape = " × ".join(map(str, spec.shape))
        backbone = spec.compute.get("backbone", "unknown backbone")
        facts.append(Fact(f"{name}", f"{backbone}, {shape} a {spec.per}, {spec.tier}"))
        facts.append(Fact(f"{name}, fingerprint", fingerprint, exact=True))
        for file, digest in sorted(_mapping(spec.compute.get("weights")).items()):
            facts.append(Fact(f"{name}, {file}", str(digest), exact=True))
    facts += _revisions(record)
    return Facts("Features and their backbones", facts, ("A store whose features have other fingerprints is refused.",))


def _revisions(record: RunRecord) -> Iterator[Fact]:
    for checkpoint, revision in hub_checkpoints(record.made_by.values()):
        yield Fact(checkpoint, f"revision {revision or 'not named in the command'}", exact=revision is not None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
