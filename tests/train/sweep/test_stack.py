"""Heads trained as one take the steps that their own optimisers would have taken."""

import copy
from dataclasses import replace

import pytest
import torch

from visual_thought.evaluate.bench.sweep_data import Size, same_shaped, simulate_grounding
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.loader import Batch
from visual_thought.train.moments import moments
from visual_thought.train.state import Run
from visual_thought.train.step import backward, update
from visual_thought.train.sweep.folded import fold
from visual_thought.train.sweep.joint import JointAdamW, by_group, can_join
from visual_thought.train.sweep.stack import Stack
from visual_thought.train.sweep.table import Table
from visual_thought.train.tasks.ground import GroundTask

SHAPE = {"decoder.dim": 8, "decoder.num_heads": 2, "head.dim": 8, "head.num_heads": 2, "decoder.dropout": 0.0}


@pytest.fixture
def runs(tmp_path) -> list[Run]:
    """Three heads of one shape that differ in seed, rate, decay, betas and clipping."""
    simulated = simulate_grounding(tmp_path, Size("small", 52, 8), 16)
    store = FeatureStore.open(tmp_path)
    readers = {name: store.reader(store.resolve(name)) for name in simulated.specs}
    data = simulated.data(readers, GroundTask(simulated.config(), simulated.specs))
    own = ({"grad_clip_norm": 0.05}, {"weight_decay": 0.3}, {"betas": [0.5, 0.7], "grad_clip_norm": 0.0})
    found = []
    for seed, changes in enumerate(own):
        keys = {f"optimizer.{key}": value for key, value in changes.items()}
        found.append(same_shaped(simulated, data, seed + 1, **SHAPE, **keys)[seed])
    return found


def gradients(runs: list[Run], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    model = runs[0].racers[0].contender.model
    names = [name for name, _ in model.named_parameters() if not name.endswith("key.bias")]
    return {n: torch.randn(len(runs), *model.get_parameter(n).shape, generator=generator) for n in names}


def state_of(run: Run) -> dict[str, torch.Tensor]:
    racer = run.racers[0]
    return {**racer.contender.model.state_dict(), **moments(racer.contender.model, racer.optimizer)}


def step_alone(run: Run, number: int, found: dict[str, torch.Tensor], step: int) -> None:
    racer = run.racers[0]
    for name, gradient in found.items():
        racer.contender.model.get_parameter(name).grad = gradient[number].clone()
    update(run, racer, step)


def test_one_step_of_all_is_a_step_of_each(runs):
    alone = copy.deepcopy([run.racers for run in runs])
    single = [replace(run, racers=racers) for run, racers in zip(runs, alone, strict=True)]
    first = gradients(runs, 0)
    for number, (run, other) in enumerate(zip(runs, single, strict=True)):  # as a resumed run would come
        step_alone(run, number, first, 0)
        step_alone(other, number, first, 0)
    entries = [(run, run.racers[0]) for run in runs]
    assert can_join(entries, first)
    table = Table.of([by_group(racer, first) for _, racer in entries])
    for name in table.places:
        for number, (_, racer) in enumerate(entries):
            racer.contender.model.get_parameter(name).data = table.own(number, name)
    joint = JointAdamW(entries, table)
    for step in range(1, 6):
        live = [0, 1, 2] if step < 4 else [0, 2]
        found = gradients(runs, step)
        if step >= 4:
            found = {name: gradient.index_fill(0, torch.tensor([1]), torch.nan) for name, gradient in found.items()}
        joint.step(found, step, live)
        for number in live:
            step_alone(single[number], number, found, step)
    for run, other in zip(runs, single, strict=True):
        together, expected = state_of(run), state_of(other)
        assert together.keys() == expected.keys()
        for name, values in expected.items():
            torch.testing.assert_close(together[name], values, rtol=2e-5, atol=1e-7, msg=name)


def test_parameters_without_a_gradient_keep_no_moments_and_later_ones_are_stepped_in_turn(runs):
    stack = Stack([(run, run.racers[0]) for run in runs])
    batch = batch_of(runs[0])
    stack.backward(batch, 0)
    stack.update(0, [0, 1])
    model, optimizer = runs[0].racers[0].contender.model, runs[0].racers[0].optimizer
    assert not any("cross_attention.key.bias" in name for name in moments(model, optimizer))
    assert not runs[2].racers[0].optimizer.state[next(model.parameters())]
    stack.backward(batch, 1)
    stack._parameters["model.decoder.queries"].grad = None
    before = model.get_parameter("decoder.queries").clone()
    stack.update(1, [0, 1, 2])
    found = moments(model, optimizer)
    assert found["step/decoder.queries"] == 1
    assert found["step/head.scorer.to_key.linear.weight"] == 2
    assert torch.equal(model.get_parameter("decoder.queries"), before)


def batch_of(run: Run) -> Batch:
    generator = torch.Generator().manual_seed(0)
    z, r = torch.randn(16, 52, 8, generator=generator), torch.randn(16, 14, 14, 8, generator=generator)
    return {"z": z, "r": r, **run.data.examples.targets}


def test_a_folded_model_has_the_loss_and_the_gradients_of_the_model(runs):
    run, batch = runs[0], batch_of(runs[0])
    racer = run.racers[0]
    with torch.no_grad():
        for parameter in racer.contender.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    loss = backward(run, racer, batch, 0)
    expected = {name: p.grad.clone() for name, p in racer.contender.model.named_parameters() if p.grad is not None}
    fold(racer.contender.model)
    torch.testing.assert_close(backward(run, racer, batch, 0), loss)
    for name, gradient in expected.items():
        found = racer.contender.model.get_parameter(name).grad
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5, msg=name)
