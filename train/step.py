"""One optimiser step of one contender: the gradients of its loss on a batch, and what is done with them."""

import torch
from jaxtyping import Float
from torch import Tensor

from .loader import Batch
from .objectives.terms import total
from .optimizer import rate_factor, set_rate
from .seeds import stream_seed
from .state import Racer, Run


def backward(run: Run, racer: Racer, batch: Batch, step: int) -> Float[Tensor, ""]:
    """Leave the gradients of the step's loss in the model, and return that loss."""
    torch.manual_seed(stream_seed(run.config.seed, "dropout", racer.contender.name, step))
    with run.autocast():
        loss = total(run.task.terms(racer.contender.model, racer.contender.view(batch), step))
    racer.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return loss.detach()


def update(run: Run, racer: Racer, step: int) -> None:
    """Clip the gradients and take the step."""
    config, model = run.config, racer.contender.model
    if config.optimizer.grad_clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.grad_clip_norm)
    set_rate(racer.optimizer, config.optimizer.lr * rate_factor(step, config.steps, config.scheduler))
    racer.optimizer.step()
