"""Workers that are actors of a Ray cluster: the one that is there, or one of this machine for the time of the run."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

from ...pipeline.errors import MissingDependency
from ..config import ExtractConfig
from .config import EngineConfig
from .job import Job, Outcome, Pulse, run_job
from .supervise import Start, Worker

OBJECT_STORE_BYTES = 80 * 2**20  # nothing goes through it


class Extractor:
    """What runs on a node: ``run`` in one thread, ``pulse`` in another."""

    def __init__(self) -> None:
        self._beats, self._frames = 0, 0

    def run(self, job: str) -> str:
        """Run a job; takes and returns JSON."""
        return run_job(Job.from_text(job), self._beat).to_text()

    def pulse(self) -> tuple[int, int]:
        """Signs of life so far, and frames run."""
        return self._beats, self._frames

    def _beat(self, frames: int) -> None:
        self._beats, self._frames = self._beats + 1, self._frames + frames


class Actor:
    """One job on an actor of its own."""

    def __init__(self, ray: ModuleType, actor: Any, job: Job) -> None:
        self._ray, self._actor = ray, actor
        self._answer = actor.run.remote(job.to_text())
        self._question: Any = None
        self._pulse: Pulse | None = None
        self._outcome: Outcome | None = None
        self._end = "an actor was stopped"
        self._over = False

    @property
    def ended(self) -> bool:
        """Whether it answered, or is gone."""
        if not self._over and self._ray.wait([self._answer], timeout=0)[0]:
            self._over = True
            try:
                self._outcome = Outcome.from_text(self._ray.get(self._answer))
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.RaySystemError) as error:
                self._end = f"an actor was lost: {' '.join(str(error).split())[:300]}"
            self._ray.kill(self._actor)  # its place is the next one's
        return self._over

    @property
    def end(self) -> str:
        """How it ended, in words."""
        return self._end

    def outcome(self) -> Outcome | None:
        """What it said."""
        return self._outcome

    def pulse(self) -> Pulse | None:
        """How far it was when it last answered; None until it has a place to run."""
        if self._question is None:
            self._question = self._actor.pulse.remote()
        if self._ray.wait([self._question], timeout=0)[0]:
            try:
                self._pulse = Pulse(*self._ray.get(self._question))
            except self._ray.exceptions.RayError:  # `ended` tells what became of it
                return self._pulse
            self._question = None
        return self._pulse

    def stop(self) -> None:
        """End it now: its current part is dropped."""
        self._over = True
        self._ray.kill(self._actor)

    kill = stop


@contextmanager
def run_on_ray(engine: EngineConfig, config: ExtractConfig) -> Iterator[Start]:
    """Start jobs as actors. Every node needs this package, the dataset, the weights and the store's disk.

    Raises:
        MissingDependency: ray is not installed.
    """
    ray = _import_ray()
    before = ray.is_initialized()
    here = not before and _begin(ray)
    try:
        place = _place(ray.cluster_resources(), engine.workers, config.device)
        threads = engine.threads or (torch.get_num_threads() if here else place["num_cpus"])
        kind = ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=2, **place)(Extractor)

        def start(jobs: Sequence[Job]) -> list[Worker]:
            return [Actor(ray, kind.remote(), replace(job, slot=0, threads=threads)) for job in jobs]

        yield start
    finally:
        if not before:
            ray.shutdown()


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise MissingDependency("the engine ray needs ray", remedy="pip install 'visual-thought[ray]'") from error
    module: ModuleType = ray
    return module


def _begin(ray: ModuleType) -> bool:
    """Join the cluster that is there, else start one on this machine; says whether it was started."""
    quiet = {"logging_level": "warning", "include_dashboard": False}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(address="local", object_store_memory=OBJECT_STORE_BYTES, **quiet)
        return True
    return False


def _place(resources: dict[str, float], workers: int, device: str) -> dict[str, int]:
    """CPUs and GPUs of one actor: the cluster's CPUs shared out, and one GPU unless the CPU was asked for."""
    cpus = max(1, math.floor(resources.get("CPU", 1) / workers))
    gpu = device != "cpu" and (resources.get("GPU", 0) > 0 or device != "auto")
    return {"num_cpus": cpus, "num_gpus": int(gpu)}
