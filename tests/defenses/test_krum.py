"""Krum and Multi-Krum against byzfl and against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.defenses.distances import assumed, krum_scores
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.errors import ConfigError
from fedsiege.updates import UpdateBatch
from tests import peers
from tests.defenses import oracles
from tests.defenses.oracles import aggregate, batch, run

sizes = pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 2), (12, 4), (30, 7), (50, 5)])


@sizes
@pytest.mark.parametrize("seed", range(4))
def test_krum_equals_byzfl(n: int, f: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 40))
    # byzfl sums the n − f − 1 nearest squared distances, Blanchard et al. n − f − 2: f is shifted by one.
    expected = peers.byzfl().Krum(f=f + 1)(x)
    np.testing.assert_allclose(aggregate(run(Krum(byzantine=f), batch(x))), expected, rtol=1e-12)


@sizes
@pytest.mark.parametrize("seed", range(4))
def test_multi_krum_equals_byzfl(n: int, f: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 40))
    rule = MultiKrum(byzantine=f, weighting="uniform")
    outcome = run(rule, batch(x))
    # byzfl with f + 1 ranks as we do with f, and keeps one upload less.
    kept = np.argsort(outcome.verdicts.score, kind="stable")[: n - f - 1]
    np.testing.assert_allclose(x[kept].mean(0), peers.byzfl().MultiKrum(f=f + 1)(x), rtol=1e-10)
    scores = oracles.krum_scores(x, f)
    np.testing.assert_allclose(outcome.verdicts.score, scores, rtol=1e-10)
    kept = np.argsort(scores, kind="stable")[: n - f]
    assert set(np.flatnonzero(outcome.verdicts.accepted)) == set(kept)
    np.testing.assert_allclose(aggregate(outcome), x[kept].mean(0), rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_float32_selects_as_float64_when_updates_are_small(seed: int) -> None:
    x = oracles.small_updates(seed=seed).astype(np.float32).astype(np.float64)
    for rule in (Krum(byzantine=4), MultiKrum(byzantine=4)):
        single, double = run(rule, batch(x, torch.float32)), run(rule, batch(x))
        np.testing.assert_array_equal(single.verdicts.accepted, double.verdicts.accepted)
        np.testing.assert_allclose(single.verdicts.score, oracles.krum_scores(x, 4), rtol=1e-4)
        np.testing.assert_allclose(aggregate(single), aggregate(double), rtol=1e-5, atol=1e-11)


def test_raw_weights_would_have_cancelled() -> None:
    """The peers' defect: distances of w + update in float32 by ‖x‖² + ‖y‖² − 2xy; ours are of the updates."""
    x = oracles.small_updates()
    w = np.random.default_rng(1).normal(size=x.shape[1])
    raw = (w + x).astype(np.float32)
    gram = raw @ raw.T
    cancelled = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    exact = np.array([[((a - b) ** 2).sum() for b in x] for a in x])
    off = ~np.eye(x.shape[0], dtype=bool)
    assert np.abs(cancelled / np.where(off, exact, 1) - 1)[off].max() > 1
    ours = batch(x, torch.float32).sq_distances
    np.testing.assert_allclose(ours[off], exact[off], rtol=1e-3)


def test_far_uploads_are_rejected_with_their_reason() -> None:
    x = np.random.default_rng(0).normal(size=(10, 6))
    x[[2, 5]] += 100
    outcome = run(MultiKrum(byzantine=2), batch(x))
    assert np.flatnonzero(~outcome.verdicts.accepted).tolist() == [2, 5]
    assert outcome.verdicts.reason[2] == "Krum score among the largest"
    assert outcome.info == {"f": 2}
    outcome = run(Krum(byzantine=2), batch(x))
    assert outcome.verdicts.accepted.sum() == 1
    assert outcome.verdicts.weight.max() == 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("f", [0, 1, 3, 10])
def test_cohorts_too_small_for_f(n: int, f: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, 3))
    for rule in (Krum(byzantine=f), MultiKrum(byzantine=f)):
        outcome = run(rule, batch(x))
        assert outcome.verdicts.accepted.any()
        assert np.isfinite(aggregate(outcome)).all()
        np.testing.assert_allclose(outcome.verdicts.score, oracles.krum_scores(x, min(f, n - 1)), atol=1e-12)


def test_ties_go_to_the_lower_client_id() -> None:
    same = batch(np.ones((5, 3)))
    updates = UpdateBatch(np.array([40, 10, 30, 50, 20]), same.counts, same.blocks)
    assert np.flatnonzero(run(Krum(byzantine=1), updates).verdicts.accepted).tolist() == [1]
    rejected = ~run(MultiKrum(byzantine=2), updates).verdicts.accepted
    assert sorted(updates.clients[rejected]) == [40, 50]


def test_f_follows_the_cohort() -> None:
    """The peers' defect: f fixed while the number of sampled clients varies."""
    assert [assumed(0.1, n, None) for n in (1, 5, 10, 11, 50)] == [0, 1, 1, 2, 5]
    assert [assumed(None, n, None) for n in (10, 50)] == [1, 5]
    assert assumed(None, 50, 3) == 3
    assert assumed(4, 50, 3) == 4
    assert assumed(4, 3, None) == 2
    # 0.07 · 100 is 7.000000000000001 in floating point.
    assert assumed(0.07, 100, None) == 7
    x = np.random.default_rng(0).normal(size=(30, 4))
    for n in (10, 20, 30):
        assert (~run(MultiKrum(byzantine=0.2), batch(x[:n])).verdicts.accepted).sum() == n // 5


def test_scores_of_one_upload() -> None:
    assert krum_scores(np.zeros((1, 1)), 0).tolist() == [0.0]


@pytest.mark.parametrize("byzantine", [-1, 1.0, -0.1, float("nan"), True])
@pytest.mark.parametrize("rule", [Krum, MultiKrum])
def test_ranges(rule: type, byzantine: float) -> None:
    with pytest.raises(ConfigError, match=r"krum\.byzantine"):
        rule(byzantine=byzantine)
    with pytest.raises(ConfigError, match=r"krum\.weighting"):
        rule(weighting="sample")
