"""The schedule that reads labels from the upload and makes outer steps of fixed length."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fedsiege.defenses.reconstruction import Optimisation, Problem, reconstruct, reconstruct_batched
from fedsiege.defenses.reconstruction.single import leveled
from fedsiege.defenses.redefense import LEVEL_STEPS, FedREDefense
from fedsiege.errors import ConfigError
from fedsiege.learners.base import LabelTask
from fedsiege.learners.virtual import SOFT, ModuleTask
from fedsiege.learners.virtual_mf import UserTask
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch
from tests.digits import SHAPE, Digits, convolutional, perceptron, spec_of
from tests.trees import fingerprint

WORLD = Digits()
CLIENTS = [7, 2, 5, 11]
# 7 local steps of rate 0.01, ten classes, five virtual steps.
QUICK = FedREDefense(schedule="label-start", virtual_lr=0.14, first=40, later=40, workers=1)


def known(rate: float = 0.14) -> dict[str, torch.Tensor]:
    return {**WORLD.task.knowledge(10, generator(0, "start")), "rate": torch.tensor(rate)}


def start(defense: FedREDefense) -> dict[str, object]:
    return defense.init(WORLD.spec, generator(0, "defense-init"))


def bias_move(knowledge: dict[str, torch.Tensor], steps: int) -> torch.Tensor:
    """Return how virtual training moves the last bias: a plain loop over a module."""
    net = copy.deepcopy(WORLD.net)
    optimizer = torch.optim.SGD(net.parameters(), lr=float(knowledge["rate"]))
    before = list(net.parameters())[-1].detach().clone()
    for _ in range(steps):
        optimizer.zero_grad()
        output = net(knowledge["inputs"])
        (-(knowledge["labels"].softmax(1) * output.log_softmax(1)).sum() / output.numel()).backward()
        optimizer.step()
    return list(net.parameters())[-1].detach() - before


def test_labels_that_made_the_upload_are_read_back() -> None:
    share = torch.tensor([0.4, 0.0, 0.3, 0.0, 0.0, 0.2, 0.1, 0.0, 0.0, 0.0])
    truth = {**known(), "labels": (share + 1e-9).log().repeat(10, 1)}
    move = bias_move(truth, 1)
    read = WORLD.task.read_labels(WORLD.model.params, {WORLD.spec.names[-1]: move}, known(), 1)
    expected = (share + SOFT) / (share + SOFT).sum()
    torch.testing.assert_close(read["labels"].softmax(1), expected.repeat(10, 1), rtol=0, atol=1e-4)
    assert torch.equal(read["inputs"], known()["inputs"])


def test_the_read_labels_move_the_bias_as_honest_uploads_do() -> None:
    for client in CLIENTS:
        target = WORLD.update(client)
        read = WORLD.task.read_labels(WORLD.model.params, target, known(), 5)
        bias = target[WORLD.spec.names[-1]]
        aligned = [torch.cosine_similarity(bias_move(k, 5), bias, dim=0) for k in (known(), read)]
        assert aligned[1] > 0.95 > aligned[0]


def test_labels_stay_where_nothing_can_be_read() -> None:
    name = WORLD.spec.names[-1]
    params = WORLD.model.params
    # All classes go down: no label has a positive share.
    for bias in (torch.full((10,), -100.0), torch.full((10,), 3e38)):
        got = WORLD.task.read_labels(params, {name: bias}, known(1e-38 if bias[0] > 0 else 0.14), 5)
        assert torch.isfinite(got["labels"]).all()
    assert not WORLD.task.read_labels(params, {name: torch.full((10,), -100.0)}, known(), 5)["labels"].any()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    task = ModuleTask(net, SHAPE, 10, spec_of(net))
    weights = {n: p.detach() for n, p in net.named_parameters()}
    assert not task.read_labels(weights, weights, known(), 5)["labels"].any()


def test_steps_have_the_lengths_that_are_asked_for() -> None:
    for value in (torch.randn(3, 4, 5), 1e-25 * torch.randn(3, 40), torch.tensor([[7.0], [-2.0], [1.0]])):
        whole, rows = leveled(value), leveled(value, 1)
        assert float(whole.square().mean()) == pytest.approx(1, rel=1e-5)
        torch.testing.assert_close(whole / whole.abs().max(), value / value.abs().max())
        for row, given in zip(rows, value):
            torch.testing.assert_close(row, leveled(given))
    assert not leveled(torch.zeros(3, 2)).any()
    assert leveled(torch.tensor(-4.0)) == -1
    assert leveled(torch.tensor([-4.0, 0.0]), 1).tolist() == [-1, 0]


def test_fits_follow_a_plain_loop_and_hold_the_rate() -> None:
    q = Problem(WORLD.model.params, WORLD.update(7), known(), 3)
    how = Optimisation({"inputs": 0.05, "labels": 0.3}, momentum=0.5, level=True)
    names, target = list(q.params), {n: t.double() for n, t in q.target.items()}
    pieces = {n: v.double().clone().requires_grad_() for n, v in q.knowledge.items()}
    past = {n: torch.zeros_like(pieces[n]) for n in how.rates}
    for _ in range(3):
        params = {n: p.double().requires_grad_() for n, p in q.params.items()}
        begin = params
        for _ in range(5):
            grads = torch.autograd.grad(WORLD.task.loss(params, pieces), list(params.values()), create_graph=True)
            params = {n: p - pieces["rate"] * g for (n, p), g in zip(params.items(), grads)}
        error = torch.stack([((params[n] - begin[n] - target[n]) ** 2).sum() for n in names]).sum()
        for n, slope in zip(how.rates, torch.autograd.grad(error, [pieces[n] for n in how.rates])):
            past[n] = 0.5 * past[n] + slope
            step = how.rates[n] * past[n] / (past[n] ** 2).mean().sqrt()
            pieces[n] = (pieces[n] - step).detach().requires_grad_()
    fits = [
        reconstruct(WORLD.task.loss, q, how, torch.float64),
        reconstruct_batched(WORLD.task.loss, [q, q], how, torch.float64)[1],
    ]
    for fit in fits:
        assert fit.iterations == 3
        for n in how.rates:
            torch.testing.assert_close(fit.knowledge[n], pieces[n].detach(), rtol=1e-6, atol=1e-8)
        assert float(fit.knowledge["rate"]) == pytest.approx(0.14)


def test_honest_uploads_need_fewer_iterations_and_crafted_ones_stay_above() -> None:
    tuned = replace(QUICK, schedule="dynamic", input_lr=20, label_lr=10, rate_lr=1e-4)
    honest = WORLD.honest(CLIENTS)
    counts = {}
    for defense in (tuned, QUICK):
        outcome, _ = defense.step(honest, start(defense), WORLD.view())
        assert outcome.verdicts.accepted.all()
        assert max(c[-1] for c in outcome.info["curves"]) < 0.6
        counts[defense.schedule] = outcome.info["iterations"]
    assert all(a < b for a, b in zip(counts["label-start"], counts["dynamic"]))
    inverted = honest.scale(np.full(4, -3.0))
    assert max(counts["label-start"]) < 20
    outcome, state = replace(QUICK, first=30).step(inverted, start(QUICK), WORLD.view())
    assert not outcome.verdicts.accepted.any()
    assert outcome.info["iterations"] == [30] * 4
    assert state["expelled"] == sorted(CLIENTS)


def test_labels_are_read_once_and_caps_are_those_of_first_and_later() -> None:
    reads: list[int] = []

    class Counting(ModuleTask):
        def read_labels(self, *given: object) -> dict[str, torch.Tensor]:
            reads.append(1)
            return super().read_labels(*given)  # type: ignore[arg-type]

    task = Counting(WORLD.net, SHAPE, 10, WORLD.spec)
    defense = replace(QUICK, gamma=1e-6, first=2, later=1)
    state, counts = start(defense), []
    for round_ in (1, 2, 3):
        view = replace(WORLD.view(round_), virtual=task)
        outcome, state = defense.step(WORLD.honest([1], round_), {**state, "expelled": []}, view)
        counts += outcome.info["iterations"]
    assert (reads, counts) == ([1], [2, 1, 1])


@pytest.mark.parametrize("net", [perceptron, convolutional])
def test_workers_and_batches_agree(net: object) -> None:
    world = Digits(net())  # type: ignore[operator]
    updates: UpdateBatch = world.honest([1, 2, 3])
    short = replace(QUICK, first=2, gamma=1e-6)
    ends = [replace(short, workers=w).step(updates, start(short), world.view()) for w in (1, 2)]
    assert fingerprint(ends[0]) == fingerprint(ends[1])
    many = replace(short, mode="batched").step(updates, start(short), world.view())[0]
    np.testing.assert_allclose(many.verdicts.score, ends[0][0].verdicts.score, rtol=1e-3)


def test_a_model_whose_uploads_tell_no_labels_is_refused() -> None:
    assert isinstance(WORLD.task, LabelTask)
    view = replace(WORLD.view(), virtual=UserTask(8))
    with pytest.raises(ConfigError, match="'label-start', but this model's uploads tell no labels; choose 'dynamic'"):
        QUICK.step(WORLD.honest([1]), start(QUICK), view)


def test_its_steps_are_lengths_of_inputs_and_logits_alone() -> None:
    assert QUICK._optimisation() == Optimisation(LEVEL_STEPS, 5, 0.5, 0.6, level=True)
    assert "rate" not in LEVEL_STEPS
    assert not FedREDefense()._optimisation().level
