"""CONTRA against loops, its reputations, and sybils that point one way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fedsiege.defenses.base import Outcome
from fedsiege.defenses.contra import Contra
from fedsiege.errors import ConfigError
from fedsiege.updates import UpdateBatch
from tests.defenses.oracles import aggregate, batch
from tests.worlds import World

WORLD = World()


def step(defense: Contra, updates: UpdateBatch, state: Any = None) -> tuple[Outcome, Any]:
    state = defense.init(WORLD.spec, np.random.default_rng(0)) if state is None else state
    return defense.step(updates, state, WORLD.defense_view())


def naive(x: np.ndarray, reputation: list[float], k: int, threshold: float, penalty: float) -> Any:
    """Alignment, reputation, pardoning and logit, client by client."""
    n = len(x)
    cs = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            if i != j:
                cs[i][j] = max(float(x[i] @ x[j]) / math.sqrt(float(x[i] @ x[i]) * float(x[j] @ x[j])), 0.0)

    def top(row: list[float], i: int) -> float:
        others = sorted((v for j, v in enumerate(row) if j != i), reverse=True)[:k]
        return sum(others) / len(others)

    tau = [top(cs[i], i) for i in range(n)]
    after = [min(max(r + (-penalty if t > threshold else penalty), 0.0), 1.0) for r, t in zip(reputation, tau)]
    forgiven = [[cs[i][j] * min(1.0, tau[i] / tau[j]) if tau[j] else cs[i][j] for j in range(n)] for i in range(n)]
    rate = [1 - top(forgiven[i], i) for i in range(n)]
    best = max(rate)
    weight = []
    for r, rep in zip(rate, after):
        r = min(r / best, 0.99)
        logit = math.log(r / (1 - r)) + 0.5 if r > 0 else 0.0
        weight.append(min(max(logit, 0.0), 1.0) * rep)
    return tau, after, [w / sum(weight) for w in weight]


def sybils(seed: int, n: int = 20, bad: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = 0.4 * rng.normal(size=300)
    x = common + rng.normal(size=(n, 300))
    x[:bad] = rng.normal(size=300) + 0.05 * rng.normal(size=(bad, 300))
    return x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 3, 50])
def test_it_is_what_the_loops_say(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, before = sybils(seed), rng.random(20).tolist()
    defense = Contra(neighbours=k, threshold=0.3, penalty=0.2)
    state = {"reputation": {str(i): r for i, r in enumerate(before)}, "sums": {}}
    outcome, after = step(defense, batch(x), state)
    tau, reputation, weight = naive(x, before, min(k, 19), 0.3, 0.2)
    np.testing.assert_allclose(outcome.verdicts.score, tau, rtol=1e-9)
    np.testing.assert_allclose([after["reputation"][str(i)] for i in range(20)], reputation)
    np.testing.assert_allclose(outcome.verdicts.weight, weight, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(aggregate(outcome), np.array(weight) @ x, rtol=1e-6, atol=1e-9)


def test_sybils_weigh_nothing_and_lose_their_reputation() -> None:
    state = None
    for round_ in range(12):
        outcome, state = step(Contra(), batch(sybils(round_)), state)
        assert not outcome.verdicts.accepted[:6].any()
        assert outcome.verdicts.accepted[6:].all()
    assert all(state["reputation"][str(i)] == 0.0 for i in range(6))
    assert all(state["reputation"][str(i)] == 1.0 for i in range(6, 20))
    # Once alone and unaligned, a client without reputation must earn it back.
    rng = np.random.default_rng(1)
    outcome, state = step(Contra(), batch(rng.normal(size=(20, 300))), state)
    np.testing.assert_allclose(outcome.verdicts.weight[:6] / outcome.verdicts.weight[6], 0.1)


def test_memory_sees_sybils_that_hide_in_noise() -> None:
    rng = np.random.default_rng(0)
    goal, state, plain = rng.normal(size=300), None, None
    for round_ in range(30):
        x = rng.normal(size=(16, 300))
        x[:4] = goal + 2 * rng.normal(size=(4, 300))
        before = None if state is None else {k: v.clone() for k, v in state["sums"].items()}
        some = np.arange(16) if round_ % 3 else np.arange(2, 14)
        updates = batch(x).select(some)
        memory = Contra(memory=True, neighbours=3)
        _, after = step(memory, updates, state)
        if before is not None:
            assert all((state["sums"][k] == before[k]).all() for k in before)
        state = after
        _, plain = step(Contra(neighbours=3), updates, plain)
    assert max(state["reputation"][str(i)] for i in range(4)) < 0.3
    assert min(state["reputation"][str(i)] for i in range(4, 16)) == 1.0
    assert min(plain["reputation"].values()) == 1.0
    assert plain["sums"] == {}


@pytest.mark.parametrize("x", [np.zeros((6, 4)), np.ones((6, 4)), np.ones((1, 4)), np.zeros((1, 4)), np.eye(2)])
def test_edges(x: np.ndarray) -> None:
    for defense in (Contra(), Contra(memory=True)):
        outcome, _ = step(defense, batch(x))
        assert outcome.verdicts.accepted.all()
        np.testing.assert_allclose(aggregate(outcome), x.mean(0))


@pytest.mark.parametrize("bad", [{"neighbours": 0}, {"neighbours": 1.5}, {"threshold": 1.1}, {"penalty": -0.1}])
def test_ranges(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"contra.{next(iter(bad))}"):
        Contra(**bad)
    with pytest.raises(ConfigError, match=r"contra\.memory"):
        Contra(memory=1)  # type: ignore[arg-type]


def test_with_memory_it_is_the_loops_on_summed_uploads() -> None:
    defense, state = Contra(neighbours=3, threshold=0.3, penalty=0.2, memory=True), None
    total, reputation = np.zeros((20, 300)), [1.0] * 20
    for round_ in range(4):
        x = sybils(round_).astype(np.float32).astype(np.float64)
        present = np.arange(20) if round_ != 2 else np.array([15, 3, 8, 0, 1, 11])
        total[present] += x[present]
        outcome, state = step(defense, batch(x).select(present), state)
        tau, after, weight = naive(total[present], [reputation[i] for i in present], 3, 0.3, 0.2)
        for i, value in zip(present, after):
            reputation[i] = value
        np.testing.assert_allclose(outcome.verdicts.score, tau, rtol=1e-4)
        np.testing.assert_allclose(outcome.verdicts.weight, weight, atol=1e-4)
        np.testing.assert_allclose([state["reputation"][str(i)] for i in present], after)
        for i in present:
            np.testing.assert_allclose(state["sums"][str(i)].numpy(), total[i], rtol=1e-5, atol=1e-5)
