"""``vtt bench predict``: the latency of one picture and instruction, stage by stage, at batch 1."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...extract.backbones.base import Backbone
from ...extract.config import BackboneConfig
from ...pipeline.errors import ConfigError
from ...train.config import build_config
from ...train.run import pick_device
from ...train.tasks.base import Task
from ...train.tasks.ground import GroundTask
from ..bench.extract_run import load_backbone
from ..bench.features import refuse_small_disk
from ..bench.full_size import write_full_size, write_tiny
from ..bench.run import own_folder
from .backbones import Maker
from .features import Clock, LiveFeatures
from .picture import STAGES, draw_answer, read_picture
from .pointing import point

HEIGHT, WIDTH, INSTRUCTION = 480, 640, "Pick up black cube and place inside white box"
SIZES = {
    "tiny": (write_tiny, "ground-world", 100 << 20),
    "full-size": (write_full_size, "ground", 4 << 30),
}


@dataclass(frozen=True)
class Latency:
    """What :func:`bench_predict` measured.

    Args:
        size: ``tiny`` or ``full-size``.
        device: where it ran.
        threads: torch's threads on the CPU.
        parameters: of the backbone, and of decoder and head.
        milliseconds: of every stage, one number a round.
    """

    size: str
    device: str
    threads: int
    parameters: Mapping[str, int]
    milliseconds: Mapping[str, Sequence[float]]

    @property
    def medians(self) -> dict[str, float]:
        """Median milliseconds of every stage and of all together."""
        found = {name: statistics.median(values) for name, values in self.milliseconds.items()}
        return found | {"total": statistics.median(self._totals)}

    @property
    def _totals(self) -> list[float]:
        return [sum(values) for values in zip(*self.milliseconds.values(), strict=True)]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self) | {"median_ms": self.medians, "simulated": True, "batch_size": 1}

    def render(self) -> str:
        """A table for people."""
        sizes = ", ".join(f"{name} {count / 1e6:.1f}M" for name, count in self.parameters.items())
        lines = [
            f"one picture of {WIDTH} x {HEIGHT}, one instruction, on {self.device} ({self.threads} threads), bf16",
            f"  SIMULATED: {self.size} X-VLA and head with random weights ({sizes} parameters)",
        ]
        for name, values in {**self.milliseconds, "total": self._totals}.items():
            lines.append(f"  {name:<11}{statistics.median(values):9.1f} ms  [{min(values):.1f}-{max(values):.1f}]")
        return "\n".join(lines)


def bench_predict(folder: Path, *, tiny: bool = False, rounds: int = 5, device: str = "auto") -> Latency:
    """Measure every stage of a live prediction, after one round to warm up.

    Args:
        folder: where random weights are written, and removed again.
        tiny: the embedded X-VLA instead of one of the published size.
        rounds: predictions measured.
        device: ``cpu``, ``cuda`` …

    Raises:
        ConfigError: no round, or no such device.
        MachineError: no such folder, not writable, or not enough space.
    """
    if rounds < 1:
        raise ConfigError("nothing to measure", found=f"{rounds} rounds")
    size = "tiny" if tiny else "full-size"
    write, recipe, needed_bytes = SIZES[size]
    where = pick_device(device)
    with own_folder(folder) as own, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries while they are imported
        refuse_small_disk(own, needed_bytes)
        backbone = load_backbone(write(own / "weights"), where)
        task = _task(recipe, backbone)
        model = task.contender("head").model.to(where).eval()
        picture = own / "picture.png"
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(picture)
        live = LiveFeatures(((Maker(BackboneConfig(), task.specs), backbone),), where)
        taken = [_round(picture, live, task, model, own / f"answer_{number}.png") for number in range(rounds + 1)]
    milliseconds = {name: [1000 * one[name] for one in taken[1:]] for name in STAGES}
    parameters = {"backbone": _count(getattr(backbone, "vlm", None)), "decoder and head": _count(model)}
    return Latency(size, str(where), torch.get_num_threads(), parameters, milliseconds)


def _round(
    picture: Path, live: LiveFeatures, task: GroundTask, model: torch.nn.Module, save: Path
) -> Mapping[str, float]:
    clock = Clock(live.device)
    with clock.stage("decode"):
        frame = read_picture(picture)
    rows = live.rows([frame], [INSTRUCTION], clock)
    with clock.stage("head"):
        (found,) = point(task, model, rows, (HEIGHT, WIDTH))
    with clock.stage("draw"):
        draw_answer(found.panel(frame, "bench"), f"“{INSTRUCTION}”", "random weights", save, simulated=True)
    return clock.seconds


def _task(recipe: str, backbone: Backbone) -> GroundTask:
    config = build_config(recipe, [], store=Path("store"), manifest="", out=Path("run"))
    task: Task = GroundTask(config, {spec.name: spec for spec in backbone.specs})
    assert isinstance(task, GroundTask)
    return task


def _count(model: torch.nn.Module | None) -> int:
    return 0 if model is None else sum(parameter.numel() for parameter in model.parameters())
