"""AFA against its algorithm written as loops, and its history of clients."""

from __future__ import annotations

import math
from math import comb
from typing import Any

import numpy as np
import pytest

from fedsiege.defenses.afa import AFA
from fedsiege.defenses.base import Outcome
from fedsiege.errors import ConfigError
from fedsiege.updates import UpdateBatch
from tests.defenses.oracles import aggregate, batch
from tests.worlds import World

WORLD = World()


def step(defense: AFA, updates: UpdateBatch, state: Any = None) -> tuple[Outcome, Any]:
    state = defense.init(WORLD.spec, np.random.default_rng(0)) if state is None else state
    return defense.step(updates, state, WORLD.defense_view())


def naive(
    x: np.ndarray, counts: np.ndarray, good: np.ndarray, width: float, widen: float
) -> tuple[list[int], Any, Any]:
    """Algorithm 1, upload by upload; returns who is left, their mean, and everyone's last similarity."""
    left = list(range(len(x)))
    score = [math.nan] * len(x)
    while True:
        total = sum(good[k] * counts[k] for k in left)
        mean = sum((good[k] * counts[k] / total) * x[k] for k in left)
        s = {k: float(x[k] @ mean / np.linalg.norm(x[k]) / np.linalg.norm(mean)) for k in left}
        for k, value in s.items():
            score[k] = value
        values = list(s.values())
        mu, median, sigma = np.mean(values), np.median(values), np.std(values)
        if mu < median:
            bad = [k for k in left if s[k] < median - width * sigma]
        else:
            bad = [k for k in left if s[k] > median + width * sigma]
        if not bad:
            return left, mean, score
        left = [k for k in left if k not in bad]
        width += widen


def blocks_after(bad: int, good: int = 0, prior: int = 3) -> float:
    """I_{1/2}(a, b) of whole numbers as a binomial tail."""
    a, b = prior + good, prior + bad
    n = a + b - 1
    return sum(comb(n, j) for j in range(a, n + 1)) / 2**n


def planted(seed: int, n: int = 20, bad: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=200)
    x = common + rng.normal(size=(n, 200))
    x[:bad] = rng.normal(size=(bad, 200)) * 2
    return x


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("width", "widen"), [(2.0, 0.5), (0.7, 0.1), (0.3, 0.0)])
def test_it_is_algorithm_1(seed: int, width: float, widen: float) -> None:
    rng = np.random.default_rng(seed)
    x, counts = planted(seed, bad=seed), rng.integers(1, 50, 20).astype(float)
    rounds = {str(i): [int(rng.integers(0, 9)), int(rng.integers(0, 4))] for i in range(15)}
    good = np.array([(3 + g) / (6 + g + b) for g, b in [rounds.get(str(i), [0, 0]) for i in range(20)]])
    outcome, state = step(AFA(width=width, widen=widen), batch(x, counts=counts), {"rounds": rounds})
    left, mean, score = naive(x, counts, good, width, widen)
    np.testing.assert_allclose(outcome.verdicts.score, score, rtol=1e-9)
    assert np.flatnonzero(outcome.verdicts.accepted).tolist() == left
    np.testing.assert_allclose(aggregate(outcome), mean, rtol=1e-9)
    for i in range(20):
        g, b = rounds.get(str(i), [0, 0])
        assert state["rounds"][str(i)] == [g + (i in left), b + (i not in left)]


def test_planted_attackers_are_blocked_after_six_bad_rounds() -> None:
    assert blocks_after(5) < 0.95 < blocks_after(6)
    state, defense = None, AFA(width=1.0)
    for round_ in range(1, 10):
        outcome, state = step(defense, batch(planted(round_)), state)
        v = outcome.verdicts
        assert v.expelled is not None
        assert not v.accepted[:5].any()
        assert v.expelled[:5].all() == (round_ >= 6)
        assert not v.expelled[5:].any()
        assert not v.restart
    assert set(v.reason[:5]) == {"blocked by its history"}
    # After the verdict a client's history stands still, and its similarity is not computed.
    assert state["rounds"]["0"] == [0, 6]
    assert np.isnan(v.score[:5]).all()


def test_good_rounds_make_a_longer_rope_and_more_weight() -> None:
    kept = next(b for b in range(99) if blocks_after(b, good=4) > 0.95)
    x = np.ones((3, 4))
    for bad, blocked in ((kept - 1, False), (kept, True)):
        outcome, _ = step(AFA(), batch(x), {"rounds": {"1": [4, bad]}})
        assert outcome.verdicts.expelled is not None
        assert outcome.verdicts.expelled.tolist() == [False, blocked, False]
        assert outcome.verdicts.accepted.tolist() == [True, not blocked, True]
    outcome, _ = step(AFA(), batch(x), {"rounds": {"0": [6, 0]}})
    np.testing.assert_allclose(outcome.verdicts.weight, np.array([9 / 12, 0.5, 0.5]) / (9 / 12 + 1))


def test_history_follows_client_ids_and_absent_clients_keep_theirs() -> None:
    defense, state = AFA(width=1.0), None
    x = planted(0)
    _, state = step(defense, batch(x), state)
    some = np.array([19, 0, 7, 8, 9])
    before = {k: list(v) for k, v in state["rounds"].items()}
    outcome, after = step(defense, batch(planted(1)).select(some), state)
    assert state["rounds"] == before
    for i in range(20):
        if i not in some:
            assert after["rounds"][str(i)] == before[str(i)]
    for k, i in enumerate(some):
        g, b = before[str(i)]
        assert after["rounds"][str(i)] == [
            g + int(outcome.verdicts.accepted[k]),
            b + int(~outcome.verdicts.accepted[k]),
        ]


def test_when_everyone_is_blocked_there_is_no_aggregate() -> None:
    outcome, _ = step(AFA(), batch(np.ones((2, 3))), {"rounds": {"0": [0, 9], "1": [0, 9]}})
    assert outcome.delta is None
    assert outcome.verdicts.weight.sum() == 0
    assert outcome.verdicts.expelled is not None
    assert outcome.verdicts.expelled.all()


@pytest.mark.parametrize("x", [np.zeros((6, 4)), np.ones((6, 4)), np.ones((1, 4)), np.zeros((1, 4)), np.eye(2)])
def test_edges(x: np.ndarray) -> None:
    outcome, _ = step(AFA(), batch(x))
    assert outcome.verdicts.accepted.all()
    np.testing.assert_allclose(aggregate(outcome), x.mean(0))


def test_at_least_half_stay_in_each_pass() -> None:
    # Of one pass, and of many somebody: a band that widens at once ends after the first.
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(11, 6))
        outcome, _ = step(AFA(width=1e-6, widen=1e9), batch(x))
        assert outcome.info["passes"] == 2
        assert 6 <= outcome.verdicts.accepted.sum() < 11
        outcome, _ = step(AFA(width=1e-6, widen=0.0), batch(x))
        assert outcome.verdicts.accepted.any()


@pytest.mark.parametrize(
    "bad", [{"width": 0.0}, {"widen": -0.1}, {"prior_good": 0.0}, {"prior_bad": np.inf}, {"block": 1.0}, {"block": 0.0}]
)
def test_ranges(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"afa.{next(iter(bad))}"):
        AFA(**bad)
