"""Bisection and peak search against scans of a fine grid."""

from __future__ import annotations

import numpy as np
import pytest

from fedsiege.attacks.search import best, climb, exceeds, peak


@pytest.mark.parametrize("steps", [0, 1, 5, 12])
def test_climbing_comes_within_its_resolution_of_every_threshold(steps: int) -> None:
    limits = np.array([0.0, 0.1, 0.5, 0.73, 1.0, 5.0])
    asked = []

    def asks(at: np.ndarray) -> np.ndarray:
        asked.append(at)
        return at <= limits

    found = climb(asks, np.zeros(limits.size), 1.0, steps)
    assert len(asked) == steps
    assert (found <= limits).all()
    assert (np.minimum(limits, 1.0) - found <= 0.5**steps).all()


def test_each_search_starts_where_it_is_told() -> None:
    found = climb(lambda at: at < 1.3, np.array([0.0, 1.0]), 1.0, 20)
    np.testing.assert_allclose(found, [1.0, 1.3], atol=1e-5)


GAINS = {
    "rises": (lambda x: x, 2.0),
    "rises and falls": (lambda x: -((x - 1.37) ** 2), 1.37),
    "peak far down": (lambda x: -abs(x - 0.2), 0.2),
    "rises and stays": (lambda x: min(x, 0.6), 0.6),
    "peak, then level": (lambda x: x * (0.8 - x) if x < 0.8 else 0.0, 0.4),
    "falls": (lambda x: -x, 0.0),
}


@pytest.mark.parametrize("name", GAINS)
def test_the_peak_is_found(name: str) -> None:
    function, where = GAINS[name]
    answers: dict[float, float] = {}

    def gain(x: float) -> float:
        answers.setdefault(x, float(function(x)))
        return answers[x]

    gain(0.0), gain(2.0)
    peak(gain, 2.0, 12)
    found = best(answers)
    assert found == pytest.approx(where, abs=0.02)
    assert answers[found] >= max(function(x) for x in np.linspace(0, 2, 2001)) - 0.02
    # Both ends, one below the upper one, and the section search.
    assert len(answers) <= 2 + 1 + 12
    if name == "rises":
        assert len(answers) == 3


def test_of_equal_gains_the_gentlest_is_best() -> None:
    assert best({2.0: 1.0, 0.5: 1.0 - 1e-9, 0.2: 0.9}) == 0.5
    assert best({1.0: -np.inf, 0.0: -2.0}) == 0.0
    assert best({1.0: -np.inf}) is None
    assert best({}) is None
    assert exceeds(0.0, -np.inf)
    assert not exceeds(-np.inf, -np.inf)


def test_nothing_is_asked_without_room() -> None:
    asked: list[float] = []
    peak(lambda x: asked.append(x) or 0.0, 0.0, 5)
    assert asked == []
