"""Detection metrics on a case worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedsiege.metrics.detection import per_round


def test_two_rounds_by_hand() -> None:
    rounds = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    malicious = np.array([1, 0, 0, 0, 1, 1, 0, 0], bool)
    accepted = np.array([0, 1, 1, 0, 1, 0, 1, 1], bool)
    got = per_round(rounds, malicious, accepted, coalition=4)
    assert got["DACC"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert got["FPR"] == pytest.approx((1 / 3 + 0) / 2)
    assert got["FNR"] == pytest.approx((0 + 1 / 2) / 2)
    assert got["AAR"] == pytest.approx(1 / 4)
    assert got["FPR_pooled"] == pytest.approx(1 / 5)
    assert got["FNR_pooled"] == pytest.approx(1 / 3)


def test_rounds_without_attackers_do_not_count_towards_the_false_negative_rate() -> None:
    got = per_round(np.array([1, 1, 2]), np.array([True, False, False]), np.array([True, True, True]), 1)
    assert got["FNR"] == 1.0
    assert got["FPR"] == 0.0


def test_nothing_at_all_is_nan() -> None:
    empty = np.array([], bool)
    assert all(math.isnan(v) for v in per_round(np.array([], int), empty, empty, 0).values())
    clean = per_round(np.array([1]), np.array([False]), np.array([True]), 0)
    assert math.isnan(clean["AAR"])
    assert math.isnan(clean["FNR_pooled"])
    assert clean["DACC"] == 1
