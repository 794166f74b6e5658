"""Estimates over seeds."""

from __future__ import annotations

import math

import pytest

from fedsiege.arena.stats import estimate, paired, relative_loss


def test_mean_and_interval() -> None:
    got = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert got.mean == 3
    assert 1 <= got.low < 3 < got.high <= 5
    assert got.half_width == (got.high - got.low) / 2
    assert got == estimate([1.0, 2.0, 3.0, 4.0, 5.0])


def test_the_interval_of_two_values_is_worked_by_hand() -> None:
    # Of the four equally likely resamples of (0, 1) one has mean 0 and one has mean 1: a quarter each.
    got = estimate([0.0, 1.0])
    assert (got.low, got.high) == (0, 1)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    assert math.isnan(estimate([2.0]).low)
    assert estimate([2.0]).mean == 2
    assert math.isnan(estimate([]).mean)
    assert estimate([float("nan"), 4.0]).n == 1


def test_differences_are_paired_by_seed() -> None:
    assert paired({0: 1.0, 1: 5.0, 9: 3.0}, {0: 0.5, 1: 4.5, 7: 0.0}).mean == pytest.approx(0.5)
    assert relative_loss({0: 0.4, 1: 0.2}, {0: 0.2, 1: 0.2}).mean == pytest.approx(0.25)
