"""UNION's score against the double loop, its test, its variants, and the one with memory."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch

from fedsiege.defenses import uniformity
from fedsiege.defenses.base import DefenseView
from fedsiege.defenses.gap import GapTest
from fedsiege.defenses.union import Union
from fedsiege.defenses.union_memory import UnionMemory, robust_z
from fedsiege.errors import ConfigError
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.updates import BlockSpec, ModelSpec, RowBlock, UpdateBatch

SPEC = ModelSpec((BlockSpec("items", (40, 6), "items"),))


def uploads(n: int, seed: int = 0, scale: float = 0.1) -> UpdateBatch:
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(40, int(rng.integers(1, 30)), replace=False)) for _ in range(n)]
    indptr = np.concatenate([[0], np.cumsum([r.size for r in rows])])
    values = scale * rng.normal(size=(indptr[-1], 6))
    block = RowBlock(
        torch.from_numpy(indptr), torch.from_numpy(np.concatenate(rows)), torch.from_numpy(values).float(), 40
    )
    return UpdateBatch(np.arange(n), np.ones(n), {"items": block})


def server(optimizer: str = "adam", rounds: int = 4) -> ServerModel:
    table = torch.from_numpy(np.random.default_rng(9).normal(size=(40, 6))).float()
    model = ServerModel(SPEC, {"items": table}, ServerConfig(optimizer, lr=0.05))  # type: ignore[arg-type]
    for r in range(rounds):
        model.apply(uploads(3, seed=100 + r).weighted_sum(np.full(3, 1 / 3)))
    return model


def view(model: ServerModel, told: int | None = None) -> DefenseView:
    return DefenseView(SPEC, model, 7, 3, model.config.lr, told)


def after(model: ServerModel, updates: UpdateBatch, i: int, simulate: str) -> np.ndarray:
    """The whole table after upload i alone, made by really taking the step on a copy."""
    one = updates.select(np.array([i]))
    if simulate == "sgd":
        return (model.table("items") + model.config.lr * one.flat().view(40, 6)).double().numpy()
    copy = ServerModel(SPEC, {"items": model.table("items").clone()}, model.config)
    copy.load(model.state())
    copy.apply(one.weighted_sum(np.ones(1)))
    return copy.table("items").double().numpy()


def double_loop(table: np.ndarray, items: np.ndarray, squared: bool) -> float:
    total, t = 0.0, len(items)
    for j in range(t):
        for k in range(j + 1, t):
            d = ((table[items[j]] - table[items[k]]) ** 2).sum()
            total += d if squared else np.sqrt(d)
    return 2 * total / (t * (t - 1))


@pytest.mark.parametrize("simulate", ["sgd", "adam"])
@pytest.mark.parametrize("samples", [25, None])
def test_the_score_is_the_double_loop_over_the_updated_table(simulate: str, samples: int | None) -> None:
    model, updates = server(), uploads(6)
    items = np.arange(40) if samples is None else view(model).rng(0).integers(0, 40, samples)
    ours = uniformity.scores(updates, view(model), samples, simulate)  # type: ignore[arg-type]
    expected = [double_loop(after(model, updates, i, simulate), items, True) for i in range(6)]
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    # The order decides; it must hold even where the scores differ little.
    assert np.argsort(ours).tolist() == np.argsort(expected).tolist()


@pytest.mark.parametrize("simulate", ["sgd", "adam"])
def test_the_published_score_is_the_unsquared_double_loop(simulate: str) -> None:
    model, updates = server(), uploads(5)
    items = view(model).rng(0).integers(0, 40, 30)
    ours = uniformity.unsquared_scores(updates, view(model), 30, simulate)  # type: ignore[arg-type]
    expected = [double_loop(after(model, updates, i, simulate), items, False) for i in range(5)]
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_small_updates_on_a_large_table_do_not_cancel() -> None:
    model, updates = server("sgd", rounds=0), uploads(8, scale=1e-5)
    ours = uniformity.scores(updates, view(model), None, "sgd")
    table = model.table("items").double().numpy()
    moved = [table + model.config.lr * updates.flat()[i].double().view(40, 6).numpy() for i in range(8)]
    exact = [uniformity.mean_sq_distance(t) for t in moved]
    assert np.argsort(ours).tolist() == np.argsort(exact).tolist()


def test_the_closed_form_is_the_mean_over_pairs() -> None:
    points = np.random.default_rng(0).normal(size=(9, 4)) + 100
    assert uniformity.mean_sq_distance(points) == pytest.approx(double_loop(points, np.arange(9), True))


def test_a_large_catalog_is_searched_and_not_mapped() -> None:
    rows, items = np.array([5, 700_000, 5, 999_999]), np.array([5, 80, 999_999])
    assert uniformity.places(rows, items, 1_000_000).tolist() == [0, -1, 0, 2]
    assert uniformity.places(rows % 90, items[:2], 90).tolist() == [0, -1, 0, -1]


def attacked(n: int = 20) -> tuple[ServerModel, UpdateBatch]:
    """Honest uploads and, last, one that pulls the whole table together."""
    model = server("sgd", rounds=0)
    honest = uploads(n, scale=1e-3)
    table = model.table("items")
    pull = RowBlock.from_dense((table.mean(0) - table)[None] * 0.5)
    block = honest.blocks["items"].select(np.arange(n)).replace(np.array([n - 1]), pull)  # type: ignore[arg-type]
    return model, UpdateBatch(np.arange(n), np.ones(n), {"items": block})


def test_union_rejects_what_gathers_the_items_once_the_test_fires() -> None:
    model, updates = attacked()
    verdicts, _, info = Union().judge(updates, {}, view(model))
    assert info["fired"]
    assert np.flatnonzero(~verdicts.accepted).tolist() == [19]
    assert verdicts.score.argmin() == 19


def test_without_a_second_cluster_nothing_is_rejected() -> None:
    model, updates = server(), uploads(20)
    fired = [Union().judge(updates, {}, DefenseView(SPEC, model, s, 1, 0.05))[2]["fired"] for s in range(5)]
    assert not any(fired)


@pytest.mark.parametrize(
    ("scores", "minor"),
    [
        ([0.0] * 3 + [1.0] * 7, [0, 1, 2]),
        ([0.0] * 7 + [1.0] * 3, [7, 8, 9]),
        ([0.0] * 5 + [1.0] * 5, [0, 1, 2, 3, 4]),
    ],
    ids=["lower", "upper", "a tie goes to the less uniform"],
)
def test_the_smaller_cluster_is_rejected(
    scores: list[float], minor: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsiege.defenses.union.scores", lambda *a: np.array(scores))
    verdicts, _, info = Union().judge(uploads(10), {}, view(server()))
    assert info["fired"]
    assert np.flatnonzero(~verdicts.accepted).tolist() == minor
    assert verdicts.score.tolist() == scores


@pytest.mark.parametrize("told", [None, 0, 1, 2, 3, 20])
def test_as_published_a_cluster_of_at_most_so_many_goes_though_the_test_is_silent(
    told: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.linspace(0.0, 1.0, 20)
    scores[:2] -= 0.02
    silent = GapTest(fired=False, lower=np.arange(20) < 2, gap1=0.0, gap2=0.0, s2=0.0)
    monkeypatch.setattr("fedsiege.defenses.union.unsquared_scores", lambda *a: scores)
    monkeypatch.setattr("fedsiege.defenses.union.gap_test", lambda *a: silent)
    verdicts, _, info = Union(as_published=True).judge(uploads(20), {}, view(server(), told=told))
    assert info["fired"] == (told is not None and told >= 2)
    assert np.flatnonzero(~verdicts.accepted).tolist() == ([0, 1] if info["fired"] else [])


def test_as_published_rejects_small_clusters_only_if_it_is_told_how_many_attack() -> None:
    model, updates = server(), uploads(20)
    plain = Union(as_published=True, samples=30)
    free, _, info = plain.judge(updates, {}, view(model, told=None))
    if not info["fired"]:
        assert free.accepted.all()
    told, _, info = plain.judge(updates, {}, view(model, told=20))
    assert info["fired"]
    assert 0 < (~told.accepted).sum() <= 10


def test_memory_needs_no_count_and_catches_a_lone_attacker_at_once() -> None:
    model, updates = attacked()
    defense = UnionMemory(simulate="sgd")
    verdicts, _, _ = defense.judge(updates, defense.init(SPEC, np.random.default_rng(0)), view(model))
    assert np.flatnonzero(~verdicts.accepted).tolist() == [19]


def test_memory_gathers_evidence_against_a_client_that_hides_in_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.linspace(-1, 1, 21)
    scores[0] = -2.5
    monkeypatch.setattr("fedsiege.defenses.union_memory.scores", lambda *a: scores)
    deviations = -robust_z(scores)[0]
    defense = UnionMemory(outlier=100.0, drift=deviations - 1.0, evidence=2.5)
    state, model, rejected = defense.init(SPEC, np.random.default_rng(0)), server(), []
    for _ in range(5):
        verdicts, state, _ = defense.judge(uploads(21), state, view(model))
        rejected.append(np.flatnonzero(~verdicts.accepted).tolist())
    # One deviation beyond the drift in each round: 1, 2, then 3 > 2.5.
    assert rejected == [[], [], [0], [0], [0]]
    assert set(state["evidence"]) == {0}


def memory_by_loop(rounds: list[list[float]], outlier: float, drift: float, limit: float) -> list[list[int]]:
    """Median, deviation and CUSUM client by client; returns who is rejected in each round."""
    held = [0.0] * len(rounds[0])
    out = []
    for scores in rounds:
        middle = statistics.median(scores)
        spread = 1.4826 * statistics.median(abs(s - middle) for s in scores)
        rejected = []
        for k, s in enumerate(scores):
            z = (s - middle) / spread if spread > 0 else 0.0
            held[k] = max(0.0, held[k] + min(-z - drift, outlier))
            if z < -outlier or (held[k] > limit and z < -1.0):
                rejected.append(k)
        out.append(rejected)
    return out


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("outlier", "drift", "evidence"), [(4.0, 2.5, 3.0), (1.5, 0.4, 0.7), (2.0, 0.1, 0.5)])
def test_memory_is_a_robust_outlier_test_and_a_capped_cusum(
    seed: int, outlier: float, drift: float, evidence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    rounds = rng.normal(size=(12, 15))
    rounds[:, 0] -= 1.5  # one that is always low
    rounds[3, 1] = -50.0  # one whose evidence must not grow beyond `outlier` in a round
    rounds[5] = 2.0  # no deviation at all
    rounds[7] = np.round(rounds[7])  # ties
    feed = iter(rounds)
    monkeypatch.setattr("fedsiege.defenses.union_memory.scores", lambda *a: next(feed).copy())
    defense, model, got = UnionMemory(outlier=outlier, drift=drift, evidence=evidence), server(), []
    state = defense.init(SPEC, np.random.default_rng(0))
    for _ in rounds:
        verdicts, state, _ = defense.judge(uploads(15), state, view(model))
        got.append(np.flatnonzero(~verdicts.accepted).tolist())
    assert got == memory_by_loop(rounds.tolist(), outlier, drift, evidence)
    assert any(got)


@pytest.mark.parametrize("simulate", ["sgd", "adam"])
def test_in_a_large_catalog_level_and_spread_come_from_a_sample(simulate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, updates = server(), uploads(6)
    whole = uniformity.scores(updates, view(model), None, simulate)  # type: ignore[arg-type]
    monkeypatch.setattr(uniformity, "REFERENCE", 10)
    ours = uniformity.scores(updates, view(model), None, simulate)  # type: ignore[arg-type]
    before = model.table("items").double().numpy().copy()
    if simulate == "adam":
        before += model.look_ahead("items", np.arange(40), None)
    drawn = before[view(model).rng(0).integers(0, 40, 10)]
    middle = drawn.mean(0)
    spread = ((drawn - middle) ** 2).sum() / 10
    for i in range(6):
        table = after(model, updates, i, simulate)
        squares, shift = 40 * spread, np.zeros(6)
        for row in updates.select(np.array([i])).blocks["items"].arrays[1]:  # type: ignore[union-attr]
            squares += ((table[row] - middle) ** 2).sum() - ((before[row] - middle) ** 2).sum()
            shift += table[row] - before[row]
        assert ours[i] == pytest.approx(2 / 39 * (squares - (shift**2).sum() / 40), rel=1e-4)
    assert not np.allclose(ours, whole, rtol=1e-3)


def test_memory_does_not_judge_a_handful() -> None:
    model, updates = attacked(7)
    verdicts, _, _ = UnionMemory().judge(updates, {"evidence": {}}, view(model))
    assert verdicts.accepted.all()


def test_robust_z_of_equal_scores_is_zero() -> None:
    assert robust_z(np.full(9, 2.0)).tolist() == [0.0] * 9


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Union(samples=1), "union.samples"),
        (lambda: Union(references=0), "union.references"),
        (lambda: Union(negatives=0), "union.negatives"),
        (lambda: Union(negatives=-1), "union.negatives"),
        (lambda: Union(alpha=float("nan")), "union.alpha"),
        (lambda: Union(simulate="sdg"), "union.simulate"),  # type: ignore[arg-type]
        (lambda: UnionMemory(drift=0.0), "union-memory.drift"),
        (lambda: UnionMemory(negatives=0), "union-memory.negatives"),
        (lambda: UnionMemory(simulate="sdg"), "union-memory.simulate"),  # type: ignore[arg-type]
    ],
)
def test_ranges_are_checked(make: object, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make()  # type: ignore[operator]


def test_a_model_without_items_is_refused() -> None:
    spec = ModelSpec((BlockSpec("head", (2, 2)),))
    with pytest.raises(ConfigError, match="item embeddings"):
        Union().judge(uploads(4), {}, DefenseView(spec, server(), 0, 1, 0.1))


def test_alpha_zero_asks_nothing_of_clients() -> None:
    assert Union(alpha=0).client_half() is None
    half = Union(alpha=0.5, negatives=4).client_half()
    assert half is not None
    assert (half.task.alpha, half.task.negatives) == (0.5, 4)  # type: ignore[union-attr]
