"""Gap statistics against brute force over all splits."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.defenses.gap import gap_test, two_means


def brute(points: list[float]) -> float:
    best = float("inf")
    for labels in product((0, 1), repeat=len(points)):
        groups = [[p for p, k in zip(points, labels) if k == g] for g in (0, 1)]
        if all(groups):
            best = min(best, sum(sum((p - sum(g) / len(g)) ** 2 for p in g) for g in groups))
    return best


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_two_means_is_the_best_of_all_splits(points: list[float]) -> None:
    cost, cut = two_means(np.array([points]))
    assert cost[0] == pytest.approx(brute(points), abs=1e-9)
    ordered = np.sort(points)
    parts = ordered[: cut[0]], ordered[cut[0] :]
    assert sum(((p - p.mean()) ** 2).sum() for p in parts) == pytest.approx(cost[0], abs=1e-9)


def naive(values: np.ndarray, references: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Algorithm 3 as printed, one reference sample after another."""
    scaled = (values - values.min()) / (values.max() - values.min())
    uniform = rng.random((references, values.size))
    gaps, spread = [], []
    for cost in (lambda x: sum((v - sum(x) / len(x)) ** 2 for v in x), lambda x: float(two_means(x[None])[0][0])):
        logs = [np.log(cost(u)) for u in uniform]
        mean = sum(logs) / references
        gaps.append(mean - np.log(cost(scaled)))
        spread.append(np.sqrt((1 + references) / references**2 * sum((v - mean) ** 2 for v in logs)))
    return gaps[0], gaps[1], spread[1]


def test_the_statistics_are_those_of_algorithm_3() -> None:
    values = np.random.default_rng(0).normal(size=50)
    result = gap_test(values, 50, np.random.default_rng(1))
    gap1, gap2, s2 = naive(values, 50, np.random.default_rng(1))
    assert (result.gap1, result.gap2, result.s2) == pytest.approx((gap1, gap2, s2))
    assert result.fired == (gap1 < gap2 - s2)


def test_two_far_groups_fire_and_one_group_does_not() -> None:
    rng = np.random.default_rng(2)
    far = np.concatenate([rng.normal(0, 1, 25), rng.normal(1000, 1, 25)])
    result = gap_test(far, 50, np.random.default_rng(3))
    assert result.fired
    assert result.lower.tolist() == [True] * 25 + [False] * 25
    assert not any(gap_test(rng.uniform(size=50), 50, np.random.default_rng(s)).fired for s in range(5))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 10])
def test_too_few_or_equal_scores_are_one_cluster(values: list[float]) -> None:
    result = gap_test(np.array(values), 50, np.random.default_rng(0))
    assert not result.fired
    assert not result.lower.any()


def test_two_distinct_values_are_two_clusters() -> None:
    assert gap_test(np.array([0.0] * 40 + [1.0] * 3), 50, np.random.default_rng(0)).fired
