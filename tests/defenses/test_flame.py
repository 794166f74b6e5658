"""FLAME against loops in extended precision, and what it keeps, clips and adds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.defenses.base import DefenseView
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.flame import Flame, majority
from fedsiege.defenses.geometry import cosines, local_model_distances
from fedsiege.defenses.median import Median
from fedsiege.errors import ConfigError
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch
from tests.defenses.oracles import batch
from tests.worlds import StaticModel, World, made_dense

CLIENTS = np.arange(13) * 3 + 1


def view_of(param: np.ndarray, dtype: torch.dtype = torch.float32, round_: int = 1) -> DefenseView:
    """Return the view of a server whose model is one dense block."""
    spec = ModelSpec((BlockSpec("w", param.shape),))
    return DefenseView(spec, StaticModel({"w": torch.from_numpy(param).to(dtype)}), 11, round_, 1.0)


def flat_world(world: World, updates: UpdateBatch) -> tuple[np.ndarray, np.ndarray]:
    model = np.concatenate([world.model.params[b.name].double().numpy().ravel() for b in world.spec.blocks])
    return model, updates.flat().double().numpy()


def naive_distances(model: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Cosine distances of local models, pair by pair in extended precision."""
    w, n = model.astype(np.longdouble), x.shape[0]
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            a, b = w + x[i].astype(np.longdouble), w + x[j].astype(np.longdouble)
            a, b = a / np.sqrt((a**2).sum()), b / np.sqrt((b**2).sum())
            out[i, j] = float(((a - b) ** 2).sum() / 2)
    return out


def naive_majority(d: np.ndarray) -> list[int]:
    """Cut the longest edge of the minimum spanning tree again and again, as long as one side is a majority of all."""
    least = d.shape[0] // 2 + 1
    inside = list(range(d.shape[0]))
    while True:
        tree, edges = [inside[0]], []
        while len(tree) < len(inside):
            cost, a, b = min((d[p, q], p, q) for p in tree for q in inside if q not in tree)
            tree.append(b)
            edges.append((cost, a, b))
        edges.remove(max(edges))
        sides = [{p} for p in inside]
        for _, a, b in edges:
            one, two = next(s for s in sides if a in s), next(s for s in sides if b in s)
            if one is not two:
                sides.remove(two)
                one |= two
        big = max(sides, key=len)
        if len(big) < least:
            return inside
        inside = sorted(big)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4, 1e-6])
def test_distances_of_local_models_do_not_cancel(scale: float) -> None:
    world = World(scale=scale)
    updates = world.honest(CLIENTS)
    expected = naive_distances(*flat_world(world, updates))
    for given in (updates, made_dense(updates)):
        np.testing.assert_allclose(local_model_distances(given, world.defense_view()), expected, rtol=2e-5, atol=0)


def test_near_and_radial_updates_and_a_zero_model() -> None:
    rng = np.random.default_rng(0)
    w, shift = rng.normal(size=200), rng.normal(size=200)
    near = np.stack([1e-4 * (shift + k * 1e-3 * rng.normal(size=200)) for k in range(4)])
    near = near.astype(np.float32).astype(np.float64)
    model = w.astype(np.float32).astype(np.float64)
    got = local_model_distances(batch(near, torch.float32), view_of(w))
    np.testing.assert_allclose(got, naive_distances(model, near), rtol=1e-4)
    radial = np.stack([model, -3 * model, -model, 0 * model])
    got = local_model_distances(batch(radial), view_of(model, torch.float64))
    np.testing.assert_allclose(got, [[0, 2, 1, 0], [2, 0, 1, 2], [1, 1, 0, 1], [0, 2, 1, 0]], atol=1e-12)
    x = rng.normal(size=(5, 30))
    zero = local_model_distances(batch(x), view_of(np.zeros(30), torch.float64))
    np.testing.assert_allclose(zero, 1 - cosines(x @ x.T), atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_majority_is_what_is_left_of_the_spanning_tree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(int(rng.integers(3, 24)), 4))
    x[: x.shape[0] // 3] += seed
    d = np.sqrt(((x[:, None] - x[None]) ** 2).sum(2))
    assert np.flatnonzero(majority(d)).tolist() == naive_majority(d)


def test_all_equal_or_too_few_points_are_kept() -> None:
    for n in range(1, 5):
        assert majority(np.zeros((n, n))).all()
    assert majority(np.array([[0.0, 5.0], [5.0, 0.0]])).all()


def step(defense: Flame, updates: UpdateBatch, view: DefenseView):  # type: ignore[no-untyped-def]
    return defense.step(updates, defense.init(view.spec, generator(0, "init")), view)[0]


def planted(n: int = 20, bad: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    model, common = rng.normal(size=400), rng.normal(size=400)
    x = 1e-3 * (common + rng.normal(size=(n, 400)))
    x[:bad] = 1e-3 * (-common + 0.1 * rng.normal(size=(bad, 400)))
    x[-1] *= 1.5
    return model, x


def test_a_planted_minority_goes_and_the_rest_is_clipped_to_the_median_of_all() -> None:
    model, x = planted()
    outcome = step(Flame(noise=0.0), batch(x, counts=np.arange(20) + 1.0), view_of(model, torch.float64))
    v = outcome.verdicts
    assert not v.accepted[:7].any()
    assert v.accepted.sum() > 10
    norms = [float(np.sqrt((row**2).sum())) for row in x]
    bound = float(np.median(norms))
    kept = np.flatnonzero(v.accepted)
    total = np.zeros(400)
    for k in kept:
        total += x[k] * min(1.0, bound / norms[k]) / kept.size
    assert outcome.delta is not None
    np.testing.assert_allclose(outcome.delta["w"].dense()[0].numpy(), total, rtol=1e-12)
    np.testing.assert_allclose(v.weight[kept], 1 / kept.size)
    assert [r for r in v.reason if r == "clipped"] == ["clipped"] * sum(norms[k] > bound for k in kept)
    d = naive_distances(model, x)
    np.testing.assert_allclose(v.score, [np.mean([d[i, k] for k in kept]) for i in range(20)], rtol=1e-6)


def test_noise_is_the_factor_times_the_bound_and_addressed() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 20000))
    updates = batch(x)
    plain = step(Flame(noise=0.0), updates, view_of(x[0], torch.float64))
    deltas = []
    for round_ in (1, 1, 2):
        noisy = step(Flame(noise=0.01), updates, view_of(x[0], torch.float64, round_))
        deltas.append((noisy.delta["w"].dense() - plain.delta["w"].dense()).numpy().ravel())
    assert deltas[0].std() == pytest.approx(0.01 * plain.info["bound"], rel=0.03)
    assert abs(deltas[0].mean()) < 4 * deltas[0].std() / np.sqrt(20000)
    np.testing.assert_array_equal(deltas[0], deltas[1])
    assert abs(np.corrcoef(deltas[0], deltas[2])[0, 1]) < 0.05


def test_noise_of_a_sparse_table_falls_on_touched_rows() -> None:
    world = World(items=500)
    updates = world.honest(CLIENTS[:4])
    plain, noisy = (step(Flame(noise=noise), updates, world.defense_view()) for noise in (0.0, 0.1))
    np.testing.assert_array_equal(plain.delta["items"].rows, noisy.delta["items"].rows)
    assert (plain.delta["items"].values != noisy.delta["items"].values).all()
    assert (plain.delta["head"].dense() != noisy.delta["head"].dense()).all()


def test_in_front_of_a_rule_it_only_filters() -> None:
    model, x = planted()
    updates, view = batch(x), view_of(model, torch.float64)
    kept = step(Flame(), updates, view).verdicts.accepted
    pipe = Pipeline((Flame(), Median()))
    outcome, _ = pipe.step(updates, pipe.init(view.spec, generator(0, "init")), view)
    np.testing.assert_array_equal(outcome.verdicts.accepted, kept)
    np.testing.assert_allclose(outcome.delta["w"].dense()[0].numpy(), np.median(x[kept], axis=0))


@pytest.mark.parametrize("x", [np.zeros((6, 9)), np.zeros((1, 9)), np.ones((1, 9)), np.ones((6, 9))])
def test_edges(x: np.ndarray) -> None:
    for model in (np.zeros(9), np.full(9, 2.0)):
        outcome = step(Flame(noise=0.0), batch(x), view_of(model, torch.float64))
        assert outcome.verdicts.accepted.all()
        np.testing.assert_allclose(outcome.delta["w"].dense()[0].numpy(), x[0])


def test_an_upload_of_a_float64_dense_block_keeps_its_dtype() -> None:
    x = torch.randn(4, 3, 2, dtype=torch.float64)
    updates = UpdateBatch(np.arange(4), np.ones(4), {"w": DenseBlock(x)})
    outcome = step(Flame(), updates, view_of(np.ones((3, 2)), torch.float64))
    assert outcome.delta["w"].dense().shape == (1, 3, 2)
    assert outcome.delta["w"].dtype == torch.float64


@pytest.mark.parametrize("noise", [-1.0, np.nan, np.inf, True])
def test_ranges(noise: float) -> None:
    with pytest.raises(ConfigError, match=r"flame\.noise"):
        Flame(noise=noise)
