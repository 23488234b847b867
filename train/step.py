"""One optimiser step of one contender, whoever holds the step's examples: micro-batches, processes, or all at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from .averages import follow
from .loader import Batch
from .objectives.terms import Term, total
from .optimizer import rate_factor, set_rate
from .sampling import pieces
from .seeds import stream_seed
from .state import Racer, Run

type Counts = dict[str, int]
"""Term -> over how many things a whole step averages it."""


def backward(run: Run, racer: Racer, batch: Batch, step: int) -> Float[Tensor, ""]:
    """Leave the gradients of the step's loss in the model, and return that loss.

    L = Σ_t w_t (Σ_p n_tp L_tp) / (Σ_p n_tp), over the terms t and the pieces p of the step in all processes; so the
    cut changes nothing but rounding, and which elements dropout leaves out.

    *Symbols*: w_t a term's weight, L_tp its mean in one piece, n_tp the count behind that mean.
    """
    parts = cut(batch, run.config.accumulate)
    counts = _count(run, racer, parts, step) if len(parts) > 1 else None
    racer.optimizer.zero_grad(set_to_none=True)
    losses = []
    for number, part in enumerate(parts, start=run.team.index * len(parts)):
        terms = _forward(run, racer, part, step, number)
        counts = counts or _agreed(run, counts_of(terms))
        loss = total(weighed(terms, counts))
        loss.backward()
        losses.append(loss.detach())
    return run.team.sum_gradients(racer.contender.model, torch.stack(losses).sum())


def update(run: Run, racer: Racer, step: int) -> None:
    """Clip the gradients and take the step; the average follows."""
    config, model = run.config, racer.contender.model
    if config.optimizer.grad_clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.grad_clip_norm)
    set_rate(racer.optimizer, config.optimizer.lr * rate_factor(step, config.steps, config.scheduler))
    racer.optimizer.step()
    if racer.average is not None:
        follow(racer.average, model, step=step, decay=config.ema_decay)


def cut(batch: Batch, count: int) -> list[Batch]:
    """The micro-batches of a batch: views of its examples, in their order."""
    if count == 1:
        return [batch]
    examples = len(next(iter(batch.values())))
    return [{name: values[piece] for name, values in batch.items()} for piece in pieces(examples, count)]


def counts_of(terms: dict[str, Term]) -> Counts:
    """Over how many things each term was averaged."""
    return {name: term.count for name, term in terms.items()}


def weighed(terms: dict[str, Term], counts: Counts) -> dict[str, Term]:
    """The terms of one piece as its part in the terms of the whole step: n_tp L_tp / Σ_p n_tp."""
    return {
        name: Term(term.value * (term.count / max(counts[name], 1)), counts[name], term.weight)
        for name, term in terms.items()
    }


def _forward(run: Run, racer: Racer, batch: Batch, step: int, number: int) -> dict[str, Term]:
    """The terms of one piece; ``number`` counts the step's pieces over all processes."""
    place = (number,) if number else ()
    torch.manual_seed(stream_seed(run.config.seed, "dropout", racer.contender.name, step, *place))
    with run.autocast():
        return racer.terms(racer.contender.model, racer.contender.view(batch), step)


def _count(run: Run, racer: Racer, parts: list[Batch], step: int) -> Counts:
    """The counts of a step whose pieces cannot be kept side by side: one forward pass that keeps nothing."""
    model, counts = racer.contender.model.eval(), dict[str, int]()
    with torch.no_grad(), run.autocast():
        for part in parts:
            for name, count in counts_of(run.task.terms(model, racer.contender.view(part), step)).items():
                counts[name] = counts.get(name, 0) + count
    model.train()
    return _agreed(run, counts)


def _agreed(run: Run, counts: Counts) -> Counts:
    """The counts of all processes together."""
    sums = run.team.sum(torch.tensor(list(counts.values())))
    return dict(zip(counts, sums.tolist(), strict=True))
