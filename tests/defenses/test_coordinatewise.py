"""Median and trimmed mean against byzfl and against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.defenses.median import Median
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.errors import ConfigError
from tests import peers
from tests.defenses import oracles
from tests.defenses.oracles import aggregate, batch, run


@pytest.mark.parametrize("n", [1, 2, 3, 8, 15, 50])
@pytest.mark.parametrize("seed", range(3))
def test_median_equals_byzfl(n: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 300))
    np.testing.assert_allclose(aggregate(run(Median(), batch(x))), peers.byzfl().Median()(x), rtol=1e-14)


@pytest.mark.parametrize(("n", "trim"), [(1, 0), (3, 1), (8, 3), (15, 2), (50, 5), (50, 24)])
@pytest.mark.parametrize("seed", range(3))
def test_trimmed_mean_equals_byzfl(n: int, trim: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 300))
    outcome = run(TrimmedMean(trim=trim), batch(x))
    np.testing.assert_allclose(aggregate(outcome), peers.byzfl().TrMean(f=trim)(x), rtol=1e-10, atol=1e-14)
    assert outcome.info == {"trim": trim}
    assert outcome.verdicts.accepted.all()
    np.testing.assert_allclose(outcome.verdicts.weight, 1 / n)


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(trim=4)])
def test_float32_is_as_good_as_float64_on_small_updates(rule: Median | TrimmedMean) -> None:
    x = oracles.small_updates().astype(np.float32).astype(np.float64)
    single, double = aggregate(run(rule, batch(x, torch.float32))), aggregate(run(rule, batch(x)))
    np.testing.assert_allclose(single, double, rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("extreme", [1e8, 1e14])
def test_extremes_do_not_drown_the_sum(extreme: float) -> None:
    """The peers' defect: extremes subtracted from a float32 sum; two of ten sending 1e8 gave 0.0 for 0.95."""
    x = np.full((10, 5), 0.95)
    x[:2] = extreme
    for dtype in (torch.float32, torch.float64):
        got = aggregate(run(TrimmedMean(trim=2), batch(x, dtype)))
        np.testing.assert_allclose(got, 0.95, rtol=1e-6)


def test_infinity_among_the_extremes_is_cut() -> None:
    x = np.random.default_rng(0).normal(size=(10, 5))
    wild = x.copy()
    wild[3], wild[6] = np.inf, -np.inf
    got = aggregate(run(TrimmedMean(trim=2), batch(wild)))
    assert np.isfinite(got).all()
    assert np.isfinite(aggregate(run(Median(), batch(wild)))).all()


@pytest.mark.parametrize(
    ("trim", "n", "expected"),
    [
        (0.1, 50, 5),
        (0.1, 11, 2),
        (0.07, 100, 7),
        (0.0, 9, 0),
        (0.49, 2, 0),
        (0.4, 3, 1),
        (3, 5, 2),
        (3, 1, 0),
    ],
)
def test_trim_is_a_share_rounded_up_or_a_number(trim: float, n: int, expected: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, 3))
    outcome = run(TrimmedMean(trim=trim), batch(x))
    assert outcome.info["trim"] == expected
    ordered = np.sort(x, 0)[expected : n - expected]
    np.testing.assert_allclose(aggregate(outcome), ordered.mean(0), rtol=1e-12)


@pytest.mark.parametrize(("told", "expected"), [(None, 2), (0, 0), (4, 4), (9, 5)])
def test_without_a_trim_as_many_are_cut_as_it_is_told(told: int | None, expected: int) -> None:
    x = np.random.default_rng(0).normal(size=(12, 3))
    outcome = run(TrimmedMean(trim=None), batch(x), told)
    assert outcome.info["trim"] == expected
    np.testing.assert_allclose(aggregate(outcome), np.sort(x, 0)[expected : 12 - expected].mean(0), rtol=1e-12)
    assert run(TrimmedMean(trim=3), batch(x), told).info["trim"] == 3
    assert TrimmedMean(trim=None).heeds == {"count"}
    assert TrimmedMean().heeds == TrimmedMean(trim=3).heeds == frozenset()


@pytest.mark.parametrize("trim", [-1, 0.5, 1.0, -0.1, float("nan"), "all"])
def test_ranges(trim: float) -> None:
    with pytest.raises(ConfigError, match=r"trimmedmean\.trim"):
        TrimmedMean(trim=trim)
