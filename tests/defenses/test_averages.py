"""FedAvg, NormBound and the gate, against loops."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from fedsiege.defenses.base import shares
from fedsiege.defenses.none import FedAvg
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.errors import ConfigError
from tests import peers
from tests.defenses.oracles import aggregate, batch, run
from tests.worlds import World

COUNTS = np.array([3.0, 1.0, 7.0, 2.0, 5.0])
X = np.random.default_rng(0).normal(size=(5, 30))


def test_fedavg_weighs_by_samples_or_not() -> None:
    weighted = run(FedAvg(), batch(X, counts=COUNTS))
    np.testing.assert_allclose(aggregate(weighted), COUNTS @ X / COUNTS.sum(), rtol=1e-12)
    np.testing.assert_allclose(weighted.verdicts.weight, COUNTS / COUNTS.sum())
    uniform = run(FedAvg(weighting="uniform"), batch(X, counts=COUNTS))
    np.testing.assert_allclose(aggregate(uniform), peers.byzfl().Average()(X), rtol=1e-12)


def test_counts_that_are_no_counts_weigh_nothing() -> None:
    counts = np.array([3.0, np.nan, -1.0, np.inf, 0.0])
    assert run(FedAvg(), batch(X, counts=counts)).verdicts.weight.tolist() == [1, 0, 0, 0, 0]
    assert run(FedAvg(), batch(X, counts=np.zeros(5))).verdicts.weight.tolist() == [0.2] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bound", [0.5, 5.0, 100.0, None])
def test_norm_bound_clips_whole_uploads(bound: float | None, dtype: torch.dtype) -> None:
    scaled = X * np.array([0.1, 1.0, 1.0, 3.0, 0.0])[:, None]
    norms = np.sqrt((scaled**2).sum(1))
    limit = float(np.median(norms)) if bound is None else bound
    clipped = np.array([row * min(1.0, limit / norm) if norm else row for row, norm in zip(scaled, norms)])
    outcome = run(NormBound(bound=bound), batch(scaled, dtype, COUNTS))
    np.testing.assert_allclose(aggregate(outcome), COUNTS @ clipped / COUNTS.sum(), rtol=1e-5, atol=1e-7)
    v = outcome.verdicts
    assert v.accepted.all()
    np.testing.assert_allclose(v.score, norms, rtol=1e-6)
    assert [r == "clipped" for r in v.reason] == (norms > limit * (1 + 1e-6)).tolist()
    assert outcome.info["clipped"] == sum(r == "clipped" for r in v.reason)
    assert outcome.info["bound"] == pytest.approx(limit, rel=1e-6)


@pytest.mark.parametrize("bound", [None, 5.0])
def test_norm_bound_takes_the_norm_of_benign_uploads_where_it_is_granted(bound: float | None) -> None:
    updates, view = batch(X, torch.float64, COUNTS), World().defense_view()
    outcome, _ = NormBound(bound=bound).step(updates, {}, replace(view, benign_norm=0.25))
    limit = 0.25 if bound is None else bound
    norms = np.sqrt((X**2).sum(1))
    clipped = X * np.minimum(1.0, limit / np.where(norms > 0, norms, 1.0))[:, None]
    np.testing.assert_allclose(aggregate(outcome), COUNTS @ clipped / COUNTS.sum(), rtol=1e-6, atol=1e-12)
    assert outcome.info["bound"] == limit


def test_a_huge_upload_pulls_no_further_than_the_bound() -> None:
    x = np.zeros((4, 3))
    x[0] = 1e12
    got = aggregate(run(NormBound(bound=0.1), batch(x, torch.float32)))
    assert np.linalg.norm(got) == pytest.approx(0.1 / 4, rel=1e-5)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan"), "median"])
def test_ranges(bound: float) -> None:
    with pytest.raises(ConfigError, match=r"normbound\.bound"):
        NormBound(bound=bound)
    with pytest.raises(ConfigError, match=r"normbound\.weighting"):
        NormBound(weighting="sample")
    with pytest.raises(ConfigError, match=r"none\.weighting"):
        FedAvg(weighting="")


@pytest.mark.parametrize("counts", [[1e308, 1e308, 5.0], [1e308, 1e308, 1e308], [1.7e308, 0.0, 1.7e308]])
def test_claims_that_add_up_to_infinity_leave_weights_that_sum_to_one(counts: list[float]) -> None:
    updates = replace(World().honest(np.arange(3)), counts=np.array(counts))
    weight = shares(updates, np.ones(3, bool), "samples")
    exact = [Fraction(c) / sum(map(Fraction, counts)) for c in counts]
    np.testing.assert_allclose(weight, [float(x) for x in exact], atol=1e-15)
