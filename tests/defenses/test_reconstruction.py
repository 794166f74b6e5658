"""The reconstruction of uploads against a plain loop over modules, and its three ways against each other."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fedsiege.defenses.reconstruction import (
    Optimisation,
    Problem,
    Result,
    batched,
    every,
    processes,
    reconstruct,
    reconstruct_all,
    reconstruct_batched,
)
from fedsiege.rng import generator
from tests.digits import Digits, convolutional, perceptron

RATES = {"inputs": 20.0, "labels": 10.0, "rate": 1e-4}
HOW = Optimisation(RATES)


def problem(world: Digits, client: int, cap: int = 10, factor: float = 1.0, rate: float = 0.2) -> Problem:
    knowledge = {**world.task.knowledge(10, generator(0, "start")), "rate": torch.tensor(rate)}
    target = {name: factor * u for name, u in world.update(client).items()}
    return Problem(world.model.params, target, knowledge, cap)


def plain(net: nn.Module, q: Problem, how: Optimisation) -> list[float]:
    """Return the errors before each outer step and at the end: modules, copies and optimizers, in float64.

    After an error above twice the smallest one the pieces are those of that again, under new optimizers at half rates.
    """
    net = copy.deepcopy(net).double()
    target = [q.target[name].double() for name, _ in net.named_parameters()]
    begin = [p.detach().clone() for p in net.parameters()]
    pieces = {name: piece.double().clone().requires_grad_() for name, piece in q.knowledge.items()}

    def descents(share: float) -> list[torch.optim.SGD]:
        return [torch.optim.SGD([pieces[n]], lr=share * lr, momentum=how.momentum) for n, lr in how.rates.items()]

    share, optimizers, errors = 1.0, descents(1.0), []
    best = {name: piece.detach().clone() for name, piece in pieces.items()}
    for _ in range(q.cap + 1):
        virtual = copy.deepcopy(net)
        places = [(part, name) for part in virtual.modules() for name, _ in part.named_parameters(recurse=False)]
        for _ in range(how.inner):
            weights = [getattr(part, name) for part, name in places]
            output = virtual(pieces["inputs"])
            soft = pieces["labels"].exp() / pieces["labels"].exp().sum(1, keepdim=True)
            logs = output - output.exp().sum(1, keepdim=True).log()
            loss = -(soft * logs).sum() / soft.numel()
            grads = torch.autograd.grad(loss, weights, create_graph=True)
            for (part, name), weight, grad in zip(places, weights, grads):
                part._parameters.pop(name, None)
                setattr(part, name, weight - pieces["rate"] * grad)
        ends = [getattr(part, name) for part, name in places]
        miss = sum(((e - b - t) ** 2).sum() for e, b, t in zip(ends, begin, target))
        error = (miss + 1e-9) / (sum((t**2).sum() for t in target) + 1e-9)
        errors.append(float(error.detach()))
        if errors[1:] and not errors[-1] <= 2 * np.nanmin(errors[:-1]):
            share /= 2
            pieces.update({name: kept.clone().requires_grad_() for name, kept in best.items()})
            optimizers = descents(share)
            continue
        if errors[-1] == np.nanmin(errors):
            best = {name: piece.detach().clone() for name, piece in pieces.items()}
        for optimizer in optimizers:
            optimizer.zero_grad()
        error.backward()
        for optimizer in optimizers:
            optimizer.step()
    return errors


def same(one: Result, other: Result) -> bool:
    """Tell whether two results are equal bit for bit."""
    fits = all(torch.equal(one.knowledge[n], other.knowledge[n]) for n in one.knowledge)
    return fits and (one.error, one.iterations, one.curve) == (other.error, other.iterations, other.curve)


@pytest.mark.parametrize(("net", "momentum"), [(perceptron, 0.0), (perceptron, 0.5), (convolutional, 0.5)])
def test_errors_are_those_of_the_plain_loop(net: Callable[[], nn.Module], momentum: float) -> None:
    world = Digits(net())
    how = replace(HOW, momentum=momentum)
    expected = plain(world.net, problem(world, 1), how)
    assert expected[-1] < expected[0]
    caps = [*range(11)] if net is perceptron else [10]
    got = [reconstruct(world.task.loss, problem(world, 1, cap), how, torch.float64).error for cap in caps]
    np.testing.assert_allclose(got, [expected[cap] for cap in caps], rtol=1e-6)
    whole = reconstruct(world.task.loss, problem(world, 1), how, torch.float64)
    np.testing.assert_allclose(whole.curve, [expected[i] for i in (0, 1, 2, 4, 8, 10)], rtol=1e-6)
    assert whole.iterations == 10
    single = reconstruct(world.task.loss, problem(world, 1), how)
    np.testing.assert_allclose(single.curve, whole.curve, rtol=1e-3)
    (mapped,) = reconstruct_batched(world.task.loss, [problem(world, 1, 2)], how, torch.float64)
    np.testing.assert_allclose(mapped.curve, whole.curve[:3], rtol=1e-9)


def test_it_stops_below_the_goal_and_at_the_cap() -> None:
    world = Digits()
    errors = plain(world.net, problem(world, 1), HOW)
    wanted = replace(HOW, goal=errors[5] * (1 + 1e-9))
    met = reconstruct(world.task.loss, problem(world, 1, 100), wanted, torch.float64)
    assert met.iterations == 5
    assert met.error == pytest.approx(errors[5])
    assert len(met.curve) == 5
    assert reconstruct(world.task.loss, problem(world, 1, 3), wanted, torch.float64).iterations == 3
    start = problem(world, 1, 0)
    measured = reconstruct(world.task.loss, start, wanted)
    assert measured.iterations == 0
    assert all(torch.equal(measured.knowledge[n], start.knowledge[n]) for n in start.knowledge)


def test_it_changes_nothing_it_is_given_and_works_without_gradients() -> None:
    world = Digits()
    q = problem(world, 1, 2)
    before = copy.deepcopy([q.params, q.target, q.knowledge])
    expected = reconstruct(world.task.loss, q, HOW)
    with torch.no_grad():
        assert same(reconstruct(world.task.loss, q, HOW), expected)
        reconstruct_batched(world.task.loss, [q], HOW)
    for old, new in zip(before, [q.params, q.target, q.knowledge]):
        assert all(torch.equal(old[n], new[n]) for n in old)
    assert not any(t.requires_grad for t in [*world.model.params.values(), *expected.knowledge.values()])


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("steep", [3e2, 3e3])
def test_a_fit_that_runs_away_goes_back_and_makes_shorter_steps(batched: bool, steep: float) -> None:
    world = Digits()
    how = replace(HOW, rates={name: steep * rate for name, rate in RATES.items()})
    expected = plain(world.net, problem(world, 1, 32), how)
    smallest = np.fmin.accumulate(expected)
    away = [i for i in range(1, 33) if not expected[i] <= 2 * smallest[i - 1]]
    assert away
    assert smallest[-1] < expected[0] * 0.99
    for cap in {32, away[0], away[-1]}:
        q = problem(world, 1, cap)
        if batched:
            # Beside one that does not run away.
            calm = problem(world, 2, cap, rate=1e-9)
            fit, _ = reconstruct_batched(world.task.loss, [q, calm], how, torch.float64)
        else:
            fit = reconstruct(world.task.loss, q, how, torch.float64)
        ends = smallest[cap - 1] if cap in away else expected[cap]
        assert fit.error == pytest.approx(ends, rel=1e-5)
        assert fit.iterations == cap
        steps = [i for i in (0, 1, 2, 4, 8, 16) if i < cap]
        np.testing.assert_allclose(fit.curve, [*(expected[i] for i in steps), ends], rtol=1e-5)
        again = reconstruct(world.task.loss, replace(q, knowledge=fit.knowledge, cap=0), how, torch.float64)
        assert again.error == pytest.approx(fit.error, rel=1e-5)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("rates", [{**RATES, "inputs": 1e30}, {**RATES, "rate": 1e38}])
def test_steps_that_leave_the_finite_numbers_are_taken_back(batched: bool, rates: dict[str, float]) -> None:
    world = Digits()
    q, how = problem(world, 1, 5), replace(HOW, rates=rates)
    fit = reconstruct_batched(world.task.loss, [q], how)[0] if batched else reconstruct(world.task.loss, q, how)
    start = reconstruct(world.task.loss, replace(q, cap=0), how)
    assert fit.error == pytest.approx(start.error, rel=1e-5)
    assert fit.iterations == 5
    assert fit.curve[-1] == fit.error
    assert all(torch.equal(fit.knowledge[n], q.knowledge[n]) for n in q.knowledge)


@pytest.mark.parametrize("batched", [False, True])
def test_what_starts_outside_the_finite_numbers_is_not_reconstructed_and_stays_what_it_was(batched: bool) -> None:
    world = Digits()
    q = problem(world, 1, 5, rate=1e38)
    fit = reconstruct_batched(world.task.loss, [q], HOW)[0] if batched else reconstruct(world.task.loss, q, HOW)
    assert fit.error == math.inf
    assert fit.iterations == 0
    assert all(torch.equal(fit.knowledge[n], q.knowledge[n]) for n in q.knowledge)


@pytest.mark.parametrize("net", [perceptron, convolutional])
def test_all_at_once_agrees_with_one_by_one(net: Callable[[], nn.Module]) -> None:
    world = Digits(net())
    how = replace(HOW, goal=0.9)
    factors = [1.0, -3.0, 1.0, 1.0, -3.0]
    caps = [12, 4, 0, 12, 6] if net is perceptron else [3, 2, 0, 4, 1]
    problems = [problem(world, i, caps[i], factors[i]) for i in range(5)]
    one = [reconstruct(world.task.loss, q, how) for q in problems]
    for width in (2, 5) if net is perceptron else (4,):
        many = reconstruct_batched(world.task.loss, problems, how, width=width)
        assert [r.iterations for r in many] == [r.iterations for r in one]
        np.testing.assert_allclose([r.error for r in many], [r.error for r in one], rtol=1e-4)
        for a, b in zip(many, one):
            np.testing.assert_allclose(a.curve, b.curve, rtol=1e-4)
            assert list(a.knowledge) == list(b.knowledge)
            np.testing.assert_allclose(a.knowledge["labels"], b.knowledge["labels"], rtol=1e-2, atol=1e-3)
    assert len({r.iterations for r in one}) > 2


@pytest.mark.parametrize("cap", [0, 7])
def test_on_a_gpu_as_many_fit_as_free_memory_holds_of_those_who_step(cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    class Trial(batched._Batch):
        """On the CPU; takes 50 bytes where it makes a step, 10 where not."""

        def __init__(self, loss, problems, how, dtype, device) -> None:  # type: ignore[no-untyped-def]
            super().__init__(loss, problems, how, dtype, torch.device("cpu"))

        def advance(self) -> list[tuple[int, Result]]:
            done = super().advance()
            steps.append(len(self.places))
            return done

    memory = {
        "synchronize": None, "reset_peak_memory_stats": None, "memory_allocated": 100, "memory_reserved": 400,
        "mem_get_info": (700, 2000),
    }  # fmt: skip
    for name, value in memory.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 100 + (50 if steps[-1] else 10))
    monkeypatch.setattr(batched, "_Batch", Trial)
    world = Digits()
    # Even an upload below the goal at once, and one that may make no step, is measured with a step.
    width = batched._width(
        world.task.loss, problem(world, 1, cap), replace(HOW, goal=9.0), torch.float32, torch.device("cuda")
    )
    assert steps == [1]
    assert width == int(batched.SHARE * (700 + 400 - 100) / 50)


def test_batches_hold_parameters_and_shapes_of_their_own() -> None:
    world = Digits()
    usual, copied = problem(world, 1, 2), problem(world, 2, 2)
    moved = replace(copied, params={name: 1.1 * p for name, p in copied.params.items()})
    fewer = replace(usual, knowledge={n: t if n == "rate" else t[:4] for n, t in usual.knowledge.items()})
    problems = [usual, fewer, moved]
    many = reconstruct_batched(world.task.loss, problems, HOW)
    one = [reconstruct(world.task.loss, q, HOW) for q in problems]
    np.testing.assert_allclose([r.error for r in many], [r.error for r in one], rtol=1e-4)
    assert [tuple(r.knowledge["inputs"].shape) for r in many] == [(10, 1, 8, 8), (4, 1, 8, 8), (10, 1, 8, 8)]


def test_worker_processes_give_the_same_bits() -> None:
    world = Digits(convolutional())
    problems = [problem(world, i, 3) for i in range(4)]
    problems[2] = replace(problems[2], params={name: 1.1 * p for name, p in problems[2].params.items()})
    threads = torch.get_num_threads()
    one = reconstruct_all(world.task.loss, problems, HOW, workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two = reconstruct_all(world.task.loss, problems, HOW, workers=2)
        pids = [p.pid for p in processes.workers(2).processes]
        again = reconstruct_all(world.task.loss, problems[::-1], HOW, workers=2)[::-1]
        assert [p.pid for p in processes.workers(2).processes] == pids
    assert all(same(a, b) and same(a, c) for a, b, c in zip(one, two, again))
    assert torch.get_num_threads() == threads
    assert one[2].error != reconstruct(world.task.loss, problem(world, 2, 3), HOW).error


def test_the_bits_do_not_depend_on_the_threads_of_the_run() -> None:
    world = Digits(convolutional())
    problems = [problem(world, 1, 3)]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (2, 1):
            torch.set_num_threads(threads)
            results += reconstruct_all(world.task.loss, problems, HOW, workers=1)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert same(*results)


@pytest.mark.parametrize("failure", [processes.WorkersFailed, processes.OutOfReach])
def test_without_workers_everything_is_done_here(failure: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    world = Digits()
    problems = [problem(world, i, 1) for i in range(2)]
    expected = reconstruct_all(world.task.loss, problems, HOW, workers=1)

    def refuse(count: int) -> processes.Workers:
        raise failure("no children")

    monkeypatch.setattr(every.processes, "workers", refuse)
    with pytest.warns(RuntimeWarning, match="one process: no children"):
        results = reconstruct_all(world.task.loss, problems, HOW, workers=2)
    assert all(same(a, b) for a, b in zip(results, expected))


def test_workers_that_fail_are_replaced() -> None:
    world = Digits()
    problems = [problem(world, i, 1) for i in range(2)]
    expected = reconstruct_all(world.task.loss, problems, HOW, workers=1)
    first = processes.workers(2)
    with pytest.raises(processes.OutOfReach):
        first.reconstruct(lambda params, knowledge: params["x"], problems, HOW, torch.float32)  # type: ignore[arg-type]
    assert not first.broken
    knowledge = problems[0].knowledge
    broken = replace(problems[0], knowledge={"inputs": knowledge["inputs"], "rate": knowledge["rate"]})
    with pytest.raises(RuntimeError, match="KeyError"):
        first.reconstruct(world.task.loss, [problems[1], broken], HOW, torch.float32)
    assert first.broken
    second = processes.workers(2)
    assert second is not first
    second.processes[0].kill()
    second.processes[0].join()
    with pytest.raises(processes.WorkersFailed):
        second.reconstruct(world.task.loss, problems, HOW, torch.float32)
    assert all(same(a, b) for a, b in zip(reconstruct_all(world.task.loss, problems, HOW, workers=2), expected))


def test_nothing_to_reconstruct() -> None:
    assert reconstruct_all(Digits().task.loss, [], HOW) == []
