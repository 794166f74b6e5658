"""Hit ratio and NDCG against ranx, ties by the mean over every order of the tied candidates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ranx import Qrels, Run, evaluate

from fedsiege.metrics.ranking import hit_ratio, ndcg, ranking_metrics, target_ranks

EMPTY = np.empty(0, np.int32)


def by_ranx(scores: np.ndarray, target: int, masked: np.ndarray, ks: tuple[int, ...]) -> dict[str, float]:
    """Mean of ranx over every place that the target can take among the candidates of its score.

    ranx ranks by score and breaks ties by order, so each order is written out as scores without ties.
    """
    candidates = np.setdiff1d(np.arange(scores.size), masked[masked != target])
    others = candidates[candidates != target]
    order = others[np.argsort(-scores[others], kind="stable")]
    above, level = (scores[others] > scores[target]).sum(), (scores[others] == scores[target]).sum()
    qrels = Qrels({"user": {str(target): 1}})
    names = [f"hit_rate@{k}" for k in ks] + [f"ndcg@{k}" for k in ks]
    sums = dict.fromkeys(names, 0.0)
    for place in range(above, above + level + 1):
        ranked = np.insert(order, place, target)
        run = Run({"user": {str(item): float(ranked.size - r) for r, item in enumerate(ranked)}})
        for name, value in evaluate(qrels, run, names).items():
            sums[name] += value / (level + 1)
    return {name.replace("hit_rate", "HR").replace("ndcg", "NDCG"): value for name, value in sums.items()}


@pytest.mark.parametrize("kind", ["distinct", "ties", "constant", "infinite"])
def test_equals_ranx(kind):
    rng = np.random.default_rng(len(kind))
    users, items, ks = 9, 25, (1, 5, 10, 30)
    scores = rng.normal(size=(users, items)).astype(np.float32)
    if kind == "ties":
        scores = rng.integers(-2, 3, (users, items)).astype(np.float32)
    elif kind == "constant":
        scores[:] = 0.25
    elif kind == "infinite":
        scores[rng.random(scores.shape) < 0.3] = -np.inf
        scores[rng.random(scores.shape) < 0.1] = np.inf
    targets = rng.integers(0, items, users)
    # Rows of 0 to 8 masked items, some twice, some the target itself, which stays a candidate.
    rows = [rng.integers(0, items, n).astype(np.int32) for n in range(users)]
    rows[5][0] = targets[5]
    ptr = np.concatenate([[0], np.cumsum([row.size for row in rows])])
    greater, equal = target_ranks(torch.from_numpy(scores), targets, ptr, np.concatenate(rows))
    wanted = [by_ranx(scores[u], int(targets[u]), rows[u], ks) for u in range(users)]
    got = ranking_metrics(greater, equal, ks)
    for k in ks:
        np.testing.assert_allclose(hit_ratio(greater, equal, k), [w[f"HR@{k}"] for w in wanted], rtol=1e-12)
        np.testing.assert_allclose(ndcg(greater, equal, k), [w[f"NDCG@{k}"] for w in wanted], rtol=1e-12)
        assert got[f"HR@{k}"] == pytest.approx(np.mean([w[f"HR@{k}"] for w in wanted]))
        assert got[f"NDCG@{k}"] == pytest.approx(np.mean([w[f"NDCG@{k}"] for w in wanted]))


def test_masked_items_are_no_candidates():
    scores = torch.tensor([[5.0, 4.0, 3.0, 3.0, 1.0]])
    ptr, masked = np.array([0, 2]), np.array([0, 3], np.int32)
    assert target_ranks(scores, np.array([2]), ptr, masked) == (np.array([1]), np.array([0]))
    assert target_ranks(scores, np.array([2]), np.array([0, 0]), EMPTY) == (np.array([2]), np.array([1]))


def test_broken_models_and_absent_targets_rank_last():
    scores = torch.zeros(4, 6)
    scores[1, 3] = torch.nan
    scores[2, 0] = torch.nan
    greater, equal = target_ranks(scores, np.array([-1, 3, 3, 3]), np.zeros(5, np.int64), EMPTY)
    np.testing.assert_array_equal(greater, [6, 6, 6, 0])
    np.testing.assert_array_equal(equal, [0, 0, 0, 5])
    np.testing.assert_array_equal(hit_ratio(greater, equal, 6), [0, 0, 0, 1])
    np.testing.assert_array_equal(ndcg(greater, equal, 6)[:3], 0)


def test_no_users_give_nan():
    greater, equal = target_ranks(torch.zeros(0, 5), EMPTY, np.zeros(1, np.int64), EMPTY)
    got = ranking_metrics(greater, equal, (5,))
    assert list(got) == ["HR@5", "NDCG@5"]
    assert all(np.isnan(value) for value in got.values())


def test_a_nan_that_is_no_candidate_changes_nothing():
    scores = torch.tensor([[np.nan, 1.0, 0.0], [np.nan, 1.0, 2.0], [np.nan, 1.0, np.nan]])
    greater, equal = target_ranks(scores, np.ones(3, int), np.array([0, 2, 3, 4]), np.array([0, 0, 0, 0], np.int32))
    assert greater.tolist() == [0, 1, 3]
    assert equal.tolist() == [0, 0, 0]
