"""A network's training on distilled knowledge, as functions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from fedsiege.defenses.reconstruction import Optimisation, Problem, reconstruct
from fedsiege.errors import ConfigError
from fedsiege.flower.virtual import module_task
from fedsiege.learners.virtual import ModuleTask
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, ModelSpec
from tests.digits import SHAPE, Digits, convolutional, perceptron, spec_of

NETS = pytest.mark.parametrize("net", [perceptron, convolutional])


def test_knowledge_is_normal_noise_with_labels_of_zero() -> None:
    task = Digits().task
    drawn = task.knowledge(500, generator(0, "x"))
    assert {name: tuple(t.shape) for name, t in drawn.items()} == {"inputs": (500, *SHAPE), "labels": (500, 10)}
    assert {t.dtype for t in drawn.values()} == {torch.float32}
    assert not drawn["labels"].any()
    assert float(drawn["inputs"].mean()) == pytest.approx(0, abs=0.02)
    assert float(drawn["inputs"].std()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(task.knowledge(500, generator(0, "x")), drawn, rtol=0, atol=0)


def test_the_problem_is_the_model_and_the_upload_block_by_block() -> None:
    world = Digits()
    params, target = world.task.problem(world.model, world.honest([4]))
    assert list(params) == list(target) == [name for name, _ in world.net.named_parameters()]
    for name, update in world.update(4).items():
        torch.testing.assert_close(target[name], update, rtol=0, atol=0)
        torch.testing.assert_close(params[name], world.model.params[name], rtol=0, atol=0)


@NETS
def test_the_loss_is_cross_entropy_over_classes(net: object) -> None:
    world = Digits(net())  # type: ignore[operator]
    inputs = world.task.knowledge(6, generator(0, "x"))["inputs"]
    labels = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 10))).float()
    loss = world.task.loss(world.model.params, {"inputs": inputs, "labels": labels})
    expected = nn.functional.cross_entropy(world.net(inputs), labels.softmax(1)) / 10
    torch.testing.assert_close(loss, expected)
    sharp = 1e4 * nn.functional.one_hot(torch.arange(6) % 10, 10).float()
    loss = world.task.loss(world.model.params, {"inputs": inputs, "labels": sharp})
    torch.testing.assert_close(loss, nn.functional.cross_entropy(world.net(inputs), torch.arange(6) % 10) / 10)


def test_the_loss_is_differentiable_twice_in_both_arguments() -> None:
    world = Digits()
    inputs = world.task.knowledge(2, generator(0, "x"))["inputs"].double().requires_grad_()
    labels = torch.randn(2, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    last = list(world.model.params)[-1]
    fixed = {name: p.double() for name, p in world.model.params.items()}

    def loss(x: torch.Tensor, y: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return world.task.loss({**fixed, last: p}, {"inputs": x, "labels": y})

    assert torch.autograd.gradgradcheck(loss, (inputs, labels, fixed[last].clone().requires_grad_()))


def test_a_task_holds_no_parameters_and_survives_pickling() -> None:
    world = Digits()
    assert all(p.is_meta for p in world.task.module.parameters())
    assert not any(p.is_meta for p in world.net.parameters())
    body = pickle.dumps(world.task)
    assert len(body) < 5000
    knowledge = world.task.knowledge(3, generator(0, "x"))
    copy = pickle.loads(body)
    assert torch.equal(copy.loss(world.model.params, knowledge), world.task.loss(world.model.params, knowledge))


def test_tied_parameters_stay_tied_and_nothing_random_takes_part() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(0.5)
            self.two.weight = self.one.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.drop(self.one(x)))

    net = Tied()
    task = ModuleTask(net, (4,), 4, spec_of(net))
    params = {name: p.detach() for name, p in net.named_parameters()}
    knowledge = task.knowledge(5, generator(0, "x"))
    expected = nn.functional.cross_entropy(net.eval()(knowledge["inputs"]), torch.full((5, 4), 0.25)) / 4
    torch.testing.assert_close(task.loss(params, knowledge), expected)


def test_frozen_parameters_stay_where_they_are() -> None:
    net = perceptron()
    first = next(iter(dict(net.named_parameters())))
    dict(net.named_parameters())[first].requires_grad_(False)
    params = {name: p.detach() for name, p in net.named_parameters()}
    for task in (
        ModuleTask(net, SHAPE, 10, spec_of(net)),
        module_task(net, SHAPE, 10, lambda out, labels: -(labels.softmax(1) * out.log_softmax(1)).mean()),
    ):
        knowledge = {**task.knowledge(4, generator(0, "x")), "rate": torch.tensor(0.3)}
        slopes = torch.func.grad(task.loss)(params, knowledge)
        whole = torch.func.grad(ModuleTask(perceptron(), SHAPE, 10, spec_of(net)).loss)(params, knowledge)
        assert whole[first].any()
        for name, slope in slopes.items():
            torch.testing.assert_close(slope, torch.zeros_like(slope) if name == first else whole[name])
        # A fit whose upload leaves them too is told by the others alone.
        target = {name: -0.9 * slope for name, slope in slopes.items()}
        fit = reconstruct(task.loss, Problem(params, target, knowledge, 0), Optimisation({"rate": 1.0}, inner=3))
        assert fit.curve[0] < 0.1


def test_blocks_that_are_not_the_parameters_are_refused() -> None:
    net = perceptron()
    right = spec_of(net)
    for wrong in (right.blocks[::-1], right.blocks[1:], (BlockSpec("1.weight", (2, 2)), *right.blocks[1:])):
        with pytest.raises(ConfigError, match="name by name"):
            ModuleTask(net, SHAPE, 10, ModelSpec(tuple(wrong)))
