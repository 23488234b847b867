"""Processes that die, or whose disk fails, while they save a checkpoint; prints one JSON object of counts.

    python saves.py RUN COPIES TOYS STEPS

RUN is a finished run of STEPS steps on TOYS. In copies of it,

    full    the k-th operation of a save and all later ones fail with ENOSPC, for every k
    lost    it is done, and then fails with EIO, as over a network that lost the reply
    exit    the process ends there
    kill    a process that saves and saves is killed at a random moment
    train   so is a training, which is resumed until it is done, into COPIES/killed
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from grounding_toys import config_for
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from spoiler import DEAD, Spoiler

from visual_thought.pipeline.errors import MachineError
from visual_thought.pipeline.store.system import SYSTEM
from visual_thought.train.best import Best
from visual_thought.train.bounds import fault
from visual_thought.train.checkpoint import prune, write_checkpoint
from visual_thought.train.config import OptimizerConfig
from visual_thought.train.loaded import load_run
from visual_thought.train.optimizer import make_optimizer, named_trainable
from visual_thought.train.run import train


class Saver:
    """Saves the head of a run again, at any step, with weights that say which step it was."""

    def __init__(self, run: Path) -> None:
        loaded = load_run(run)
        self.model, self.record = loaded.model, loaded.record.to_json()
        self.optimizer = make_optimizer(self.model, OptimizerConfig(lr=0.0))
        for _, parameter in named_trainable(self.model):
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def save(self, run: Path, step: int) -> None:
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.fill_(step)
        models, optimizers = {"head": self.model}, {"head": self.optimizer}
        best = {"head": Best(step, 1.0)}
        write_checkpoint(run, step, models=models, optimizers=optimizers, best=best, config=self.record)
        prune(run, 1, lambda step: False)


def saved(run: Path) -> tuple[int, int]:
    """The steps of ``last`` and ``best``, whole and found to be what was saved."""
    paths = [(run / name).resolve() for name in ("last", "best")]
    for path in paths:
        assert fault(path) is None
        weights = load_file(path / "model.safetensors")
        assert all(bool((value == int(path.name)).all()) for value in weights.values())
    return int(paths[0].name), int(paths[1].name)


class Faults(Spoiler):
    """The operations of a save below ``root``."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        for name in ("open", "mkdir", "symlink"):
            setattr(os, name, self.below_root(name, getattr(os, name)))
        for name in ("write", "fsync", "rename"):
            object.__setattr__(SYSTEM, name, self.spoilt(name, getattr(SYSTEM, name)))

    def below_root(self, name: str, call: Callable) -> Callable:
        spoilt = self.spoilt(name, call)

        def either(path, *rest, **options):
            below = self.k and any(str(one).startswith(self.root) for one in (path, *rest))
            reads = name == "open" and not rest[0] & (os.O_CREAT | os.O_DIRECTORY)
            return (spoilt if below and not reads else call)(path, *rest, **options)

        return either


def forked(call: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        call()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fails_well(saver: Saver, run: Path, fault: str) -> None:
    """A save that fails says so as an error of the machine and leaves nothing behind."""
    error = None
    try:
        saver.save(run, 2)
    except MachineError as caught:
        error = caught
    if error is not None:
        assert error.exit_code == 5
        assert ("--resume" if fault == "full" else "intact") in str(error)
        left = [path.name for path in run.rglob(".*")]
        assert fault == "lost" or not left, left


def try_all(saver: Saver, faults: Faults, fault: str, run: Path, copies: Path) -> int:
    base, k, more = copies / "base", 0, True
    shutil.copytree(run, base, symlinks=True)
    saver.save(base, 1)
    while more:
        k, copy = k + 1, copies / f"{fault}-{k}"
        shutil.copytree(base, copy, symlinks=True)
        faults.begin(fault, k)
        if fault == "exit":
            more = forked(lambda copy=copy: saver.save(copy, 2)) == DEAD
        else:
            fails_well(saver, copy, fault)
            more = faults.seen >= k
        faults.begin("none", 0)
        last, best = saved(copy)
        assert 1 <= best <= last <= 2, f"{fault} at operation {k}"
        assert load_run(copy, "last").head.step == last
        saver.save(copy, 3)
        assert saved(copy) == (3, 3), f"the next save did not go through after {fault} at operation {k}"
        assert not list(copy.rglob(".*"))
        shutil.rmtree(copy)
    shutil.rmtree(base)
    return k - 1


def kill(saver: Saver, run: Path, count: int) -> int:
    """``last`` always loads and is what the last whole save wrote, or one more; says how many died inside one."""
    torn, draw, last = 0, random.Random(0), 0
    for _ in range(count):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            for step in range(last + 1, last + 10**6):
                saver.save(run, step)
                os.write(writer, step.to_bytes(4, "big"))
        os.close(writer)
        told = os.read(reader, 4)
        time.sleep(draw.random() * 0.03)  # when to kill, not what to wait for
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(reader, "rb") as rest:
            told = (told + rest.read())[-4:]
        torn += bool(list(run.rglob(".*")))
        last, best = saved(run)
        assert load_run(run, "last").head.step == last
        assert int.from_bytes(told, "big") <= last <= int.from_bytes(told, "big") + 1
        assert best in (last, last - 1)
    return torn


def kill_training(toys: Path, out: Path, steps: int, count: int) -> int:
    """Kill a training at random moments and resume it until it is done; says how often it died."""
    options = {"controls": [], "steps": steps, "eval_freq": 1, "resume": True}
    draw, deaths, reached = random.Random(1), 0, 0
    while True:
        pid = os.fork()
        if pid == 0:
            train(config_for(toys, str(out), **options))
            os._exit(0)
        deadline = time.monotonic() + (0.05 + draw.random() * 0.3 if deaths < count else 600)
        while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)
        if done != (0, 0):
            assert os.waitstatus_to_exitcode(done[1]) == 0
            return deaths
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        deaths += 1
        if (out / "last").is_symlink():
            step = load_run(out, "last").head.step
            assert step >= reached
            reached = step


def main(run: str, copies: str, toys: str, steps: str, kills: str, *chosen: str) -> None:
    torch.set_num_threads(1)
    folder, saver = Path(copies), Saver(Path(run))
    victim = shutil.copytree(run, folder / "victim", symlinks=True)
    saver.save(victim, 0)
    print("start", time.process_time(), file=sys.stderr)
    counts = {"kill": kill(saver, victim, int(kills))}
    counts["train"] = kill_training(Path(toys), folder / "killed", int(steps), int(kills) // 4)
    faults = Faults(folder)
    counts |= {fault: try_all(saver, faults, fault, Path(run), folder) for fault in chosen}
    if chosen != ("exit",):  # what a process that ended had done is not known here
        assert faults.names == {"open", "mkdir", "symlink", "write", "fsync", "rename"}
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
