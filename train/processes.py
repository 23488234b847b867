"""Several processes of one run, as ``accelerate launch`` or ``torchrun`` start them, in step with each other.

Before every exchange of numbers the processes tell each other whether all is well. So whatever ends one of them, an
error or a signal, ends all of them at the same place, and none waits for ever for a number that nobody will send.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..pipeline.errors import ConfigError, MachineError


class Elsewhere(MachineError):
    """Another process of the run ended with an error."""


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees them. ``Team()`` is a process alone, for which nothing is exchanged.

    Args:
        index: which one this is; 0 is the main one, the only one that writes.
        count: how many there are.
        here: how many of them are on this machine.
        device: the accelerator that the launcher gave this one; None for the CPU.
        control: over which they exchange everything but gradients.
    """

    index: int = 0
    count: int = 1
    here: int = 1
    device: torch.device | None = None
    control: dist.ProcessGroup | None = None

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.index == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.sum(torch.tensor([int(flag)]))[0])

    def sum(self, numbers: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The sum over processes of a few whole numbers on the host."""
        if self.count > 1:
            self.wait()
            with _lost_peers():
                dist.all_reduce(numbers, group=self.control)
        return numbers

    def gather[T](self, value: T) -> list[T]:
        """Every process's value, in the main process; nothing in the others."""
        if self.count == 1:
            return [value]
        values: list[T | None] | None = [None] * self.count if self.main else None
        self.wait()
        with _lost_peers():
            dist.gather_object(value, values, dst=0, group=self.control)
        return values or []  # type: ignore[return-value] # filled by now

    def share[T](self, value: T) -> T:
        """The main process's value, in every process."""
        if self.count == 1:
            return value
        values = [value]
        self.wait()
        with _lost_peers():
            dist.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    def sum_gradients(self, model: nn.Module, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Add up the gradients of all processes, in place, and their losses.

        A parameter that has no gradient in any process has none afterwards.
        """
        if self.count == 1:
            return loss
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        present = torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        parts = [loss.float().reshape(1), present, *(grad.float().flatten() for grad in grads)]
        flat = torch.cat(parts)
        self.wait()
        with _lost_peers():
            dist.all_reduce(flat)
        loss_sum, present, *sums = torch.split(flat, [part.numel() for part in parts])
        for parameter, known, total in zip(parameters, present.tolist(), sums, strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if known else None
        return loss_sum[0]

    def wait(self) -> None:
        """Wait until every process is here; Elsewhere if one of them cannot come."""
        if self.count > 1 and self._failures(0):
            raise Elsewhere("another process of this run ended with an error", remedy="see its own message")

    @contextmanager
    def together(self) -> Iterator[None]:
        """An error in here ends the others too, at their next exchange."""
        try:
            yield
        except Elsewhere:
            raise
        except BaseException:
            if self.count > 1:
                self._tell()
            raise

    def _tell(self) -> None:
        try:
            self._failures(1)
        except Elsewhere:  # nobody is left to be told
            return

    def _failures(self, mine: int) -> int:
        flag = torch.tensor([mine])
        with _lost_peers():
            dist.all_reduce(flag, group=self.control)
        return int(flag)


ALONE = Team()


def join(device: str) -> Team:
    """The processes that a launcher started beside this one; a process that no launcher started is alone.

    Args:
        device: the config's; ``cpu`` keeps several processes off a machine's accelerators.

    Raises:
        ConfigError: one accelerator for several processes.
    """
    if not (dist.is_available() and (dist.is_initialized() or dist.is_torchelastic_launched())):
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    if state.num_processes == 1:
        return ALONE
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            "each of several processes takes a device of its own", found=device, expected="auto, cpu or cuda"
        )
    control = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    hosts = [""] * state.num_processes
    dist.all_gather_object(hosts, socket.gethostname(), group=control)
    own = None if state.device.type == "cpu" else state.device
    return Team(state.process_index, state.num_processes, hosts.count(socket.gethostname()), own, control)


def leads() -> bool:
    """Whether this process is the one that speaks: the main one, or the only one."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


@contextmanager
def _lost_peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Elsewhere("another process of this run is gone", found=str(error).split("\n")[0]) from error
