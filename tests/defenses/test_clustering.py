"""The plain clustering filter against a loop of average linkage."""

from __future__ import annotations

import numpy as np
import pytest

from fedsiege.defenses.clustering import Clustering, spread, two_groups
from fedsiege.defenses.geometry import cosines
from fedsiege.errors import ConfigError
from tests.defenses.oracles import aggregate, batch, run


def naive_groups(d: np.ndarray) -> list[set[int]]:
    """Join the two clusters with the smallest mean distance until two are left."""
    groups = [{i} for i in range(d.shape[0])]
    while len(groups) > 2:
        _, a, b = min(
            (np.mean([d[i, j] for i in groups[a] for j in groups[b]]), a, b)
            for a in range(len(groups))
            for b in range(a + 1, len(groups))
        )
        groups[a] |= groups.pop(b)
    return groups


@pytest.mark.parametrize("seed", range(6))
def test_two_groups_are_those_of_average_linkage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(int(rng.integers(2, 15)), 5))
    d = 1 - cosines(x @ x.T)
    first = two_groups(d)
    assert {frozenset(np.flatnonzero(first)), frozenset(np.flatnonzero(~first))} == set(map(frozenset, naive_groups(d)))
    assert first[0]
    between, within = spread(d, first)
    pairs = [(i, j) for i in range(len(d)) for j in range(i)]
    assert between == pytest.approx(np.mean([d[i, j] for i, j in pairs if first[i] != first[j]]))
    inner = [d[i, j] for i, j in pairs if first[i] == first[j]]
    assert within == pytest.approx(np.mean(inner) if inner else 0.0)


def naive_filter(x: np.ndarray, gap: float) -> tuple[list[bool], list[float]]:
    """The whole rule by loops: who is kept, and everyone's mean distance to the others."""
    n = len(x)
    d = np.array([[1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in x] for a in x])
    scores = [sum(d[i, j] for j in range(n) if j != i) / (n - 1) for i in range(n)]
    groups = naive_groups(d)
    between = np.mean([d[i, j] for i in groups[0] for j in groups[1]])
    pairs = [d[i, j] for g in groups for i in g for j in g if i < j]
    if between - (np.mean(pairs) if pairs else 0.0) <= gap:
        return [True] * n, scores

    def rank(group: set[int]) -> tuple[int, float, int]:
        return -len(group), sum(d[i, j] for i in group for j in group), min(group)

    kept = min(groups, key=rank)
    return [i in kept for i in range(n)], scores


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("gap", [0.0, 0.25, 1.0])
def test_the_filter_is_what_the_loops_say(seed: int, gap: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 14))
    x = rng.normal(size=(n, 8)) + 2 * rng.normal(size=8) * rng.choice([-1, 1], n)[:, None]
    outcome = run(Clustering(gap=gap), batch(x))
    kept, scores = naive_filter(x, gap)
    assert outcome.verdicts.accepted.tolist() == kept
    np.testing.assert_allclose(outcome.verdicts.score, scores, rtol=1e-9)
    np.testing.assert_allclose(aggregate(outcome), x[kept].mean(0), rtol=1e-9)


def planted(n: int = 20, bad: int = 6, opposite: float = -1.0) -> np.ndarray:
    rng = np.random.default_rng(2)
    common = rng.normal(size=300)
    x = common + rng.normal(size=(n, 300))
    x[:bad] = opposite * common + rng.normal(size=(bad, 300))
    return x


def test_a_planted_group_is_dropped_whatever_its_size_in_norm() -> None:
    x = planted()
    x[:6] *= 100
    outcome = run(Clustering(), batch(x))
    assert outcome.verdicts.accepted.tolist() == [False] * 6 + [True] * 14
    np.testing.assert_allclose(aggregate(outcome), x[6:].mean(0))
    assert outcome.info["apart"] > 0.25


def test_one_group_is_left_alone() -> None:
    outcome = run(Clustering(), batch(planted(opposite=1.0)))
    assert outcome.verdicts.accepted.all()
    rng = np.random.default_rng(0)
    assert run(Clustering(), batch(rng.normal(size=(20, 300)))).verdicts.accepted.all()


def test_the_gap_decides() -> None:
    x = planted()
    apart = run(Clustering(), batch(x)).info["apart"]
    assert not run(Clustering(gap=apart - 1e-6), batch(x)).verdicts.accepted.all()
    assert run(Clustering(gap=apart + 1e-6), batch(x)).verdicts.accepted.all()


def test_of_equal_groups_the_tighter_stays_and_then_the_lowest_id() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(size=300)
    x = np.concatenate([common + rng.normal(size=(5, 300)), -common + 0.2 * rng.normal(size=(5, 300))])
    assert run(Clustering(), batch(x)).verdicts.accepted.tolist() == [False] * 5 + [True] * 5
    even = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert run(Clustering(), batch(even)).verdicts.accepted.tolist() == [True, True, False, False]


@pytest.mark.parametrize("x", [np.zeros((7, 4)), np.ones((7, 4)), np.eye(2), np.ones((1, 4)), np.zeros((1, 4))])
def test_edges(x: np.ndarray) -> None:
    outcome = run(Clustering(), batch(x))
    assert outcome.verdicts.accepted.all()
    assert np.isfinite(outcome.verdicts.score).all()


def test_cosines_of_zero_vectors() -> None:
    x = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    expected = [[1, 0, 1, 0], [0, 1, 0, -1], [1, 0, 1, 0], [0, -1, 0, 1]]
    np.testing.assert_allclose(cosines(x @ x.T), expected)


@pytest.mark.parametrize("gap", [-0.1, 2.1, np.nan])
def test_ranges(gap: float) -> None:
    with pytest.raises(ConfigError, match=r"clustering\.gap"):
        Clustering(gap=gap)
