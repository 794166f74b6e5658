"""ClusterAttack against its equations, worked in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedsiege.attacks.cluster_attack import ClusterAttack
from fedsiege.attacks.cluster_attack_cl import ClusterAttackCL
from fedsiege.attacks.kmeans import lloyd
from fedsiege.errors import ConfigError
from fedsiege.updates import BlockSpec, ModelSpec, RowBlock
from tests.worlds import World

COALITION = np.array([3, 8, 21, 40])


def run(attack: ClusterAttack, world: World, present: np.ndarray, state: dict | None = None):
    view = world.attack_view(attack, present, COALITION)
    state = state or attack.init(world.spec, np.random.default_rng(0))
    return (*attack.step(world.honest(present), state, view), view)


def expected_bound(world: World, view: object, everywhere: bool) -> tuple[float, float]:
    norms = []
    for upload in world.honest(view.pool(view.cohort)).blocks["items"].dense().double():  # type: ignore[attr-defined]
        for row in upload:
            norm = math.sqrt(sum(float(x) ** 2 for x in row))
            if norm > 0 or everywhere:
                norms.append(norm)
    return float(np.mean(norms)), float(np.std(norms))


@pytest.mark.parametrize("norms", ["touched", "all"])
@pytest.mark.parametrize("rescale", [False, True])
def test_uploads_follow_equations_2_and_3(norms: str, rescale: bool) -> None:
    world, present = World(), np.array([8, 40])
    attack = ClusterAttack(clusters=3, norms=norms, rescale=rescale)  # type: ignore[arg-type]
    crafted, state, view = run(attack, world, present)
    table = world.model.table("items")
    centroids, labels = lloyd(table, 3, view.rng(1))
    mean, std = expected_bound(world, view, norms == "all")
    loss = 0.0
    uploads = crafted.blocks["items"].dense()
    for u, client in enumerate(present):
        limits = mean + 3 * std * view.rng(2, int(client)).random(world.items, np.float32)
        for i in range(world.items):
            gradient = 2 * (table[i] - centroids[labels[i]]).double()
            size = float(gradient.norm())
            loss += size**2 / 4 if u == 0 else 0
            factor = limits[i] / size if rescale else 1 / max(1.0, size / limits[i])
            np.testing.assert_allclose(uploads[u, i].numpy(), (-gradient * factor).numpy(), rtol=2e-4, atol=1e-7)
    assert state["smoothed"] == pytest.approx(loss, rel=1e-5)


def test_other_blocks_and_sample_counts_stay_genuine() -> None:
    world, present = World(), np.array([3, 21])
    crafted, _, _ = run(ClusterAttack(), world, present)
    honest = world.honest(present)
    assert torch.equal(crafted.blocks["head"].dense(), honest.blocks["head"].dense())
    assert crafted.counts.tolist() == honest.counts.tolist()


def test_no_gradient_exceeds_the_bound_of_a_crafty_size() -> None:
    world = World()
    crafted, _, view = run(ClusterAttack(rescale=True), world, np.array([3]))
    mean, std = expected_bound(world, view, False)
    norms = crafted.blocks["items"].dense()[0].norm(dim=1)
    assert float(norms.max()) <= (mean + 3 * std) * (1 + 1e-5)
    assert float(norms.min()) >= mean * (1 - 1e-5)


@pytest.mark.parametrize("options", [{"rescale": True}, {"as_published": True}, {}], ids=str)
def test_an_item_on_its_centroid_gets_no_gradient(options: dict) -> None:
    # As many clusters as items: each item is its own centroid. The bound is far above 4.
    world = World(scale=100.0, items=12)
    crafted, _, view = run(ClusterAttack(clusters=12, norms="all", **options), world, np.array([3, 21]))
    assert expected_bound(world, view, True)[0] > 4
    assert not crafted.blocks["items"].dense().any()
    # Next to a centroid, where the norm is hardly a number any more, the gradient still has its bound at most.
    near = torch.tensor([[[0.0, 1e-38], [0.0, 3e-39], [3.0, 4.0]]])
    clipped = ClusterAttack(**options)._clip(near, torch.full((1, 3), 5.0)).dense()
    assert clipped.isfinite().all()
    assert float(clipped.norm(dim=2).max()) == 5.0


def reference_adapt(losses: list[float], attack: ClusterAttack) -> list[int]:
    """Algorithm 1, line by line."""
    k, history = attack.clusters, []
    average = previous = 0.0
    rises = falls = t = 0
    for loss in losses:
        t += 1
        average = attack.decay * average + (1 - attack.decay) * loss
        smoothed = average / (1 - attack.decay**t)
        if smoothed > previous:
            rises += 1
        else:
            falls += 1
        previous = smoothed
        low, high = attack.bounds
        if rises - falls > attack.threshold:
            k = min(math.floor(k + math.sqrt(high - k)), high)
            average = previous = 0.0
            rises = falls = t = 0
        elif falls - rises > attack.threshold:
            k = max(math.floor(k - math.sqrt(k - low)), low)
            average = previous = 0.0
            rises = falls = t = 0
        history.append(k)
    return history


@pytest.mark.parametrize("slope", [1.0, -1.0, 0.0])
def test_the_number_of_clusters_follows_algorithm_1(slope: float) -> None:
    attack = ClusterAttack(clusters=10, threshold=5, decay=0.9)
    losses = [100 + slope * i + (i % 3) for i in range(60)]
    state, seen = attack.init(World().spec, np.random.default_rng(0)), []
    for loss in losses:
        state = attack._adapt(state, loss)
        seen.append(state["clusters"])
    assert seen == reference_adapt(losses, attack)
    assert (max(seen) > 10) == (slope > 0) or slope == 0


def test_a_fixed_number_of_clusters_never_moves() -> None:
    attack = ClusterAttack(clusters=4, adaptive=False, threshold=1)
    state = attack.init(World().spec, np.random.default_rng(0))
    for loss in range(50):
        state = attack._adapt(state, float(loss))
    assert state["clusters"] == 4


def test_the_published_form_divides_by_k_and_reaches_the_threshold_one_step_earlier() -> None:
    world, present = World(), np.array([3])
    _, plain, _ = run(ClusterAttack(clusters=4, rescale=True, norms="all"), world, present)
    _, published, _ = run(ClusterAttack(clusters=4, as_published=True), world, present)
    assert published["smoothed"] == pytest.approx(plain["smoothed"] / 4)
    early, late = ClusterAttack(as_published=True, threshold=3), ClusterAttack(threshold=3)
    start = early.init(world.spec, np.random.default_rng(0))
    a, b = start, start
    steps = []
    for loss in range(1, 8):
        a, b = early._adapt(a, float(loss)), late._adapt(b, float(loss))
        steps.append((a["clusters"] != 2, b["clusters"] != 2))
    assert [x for x, _ in steps].index(True) + 1 == [y for _, y in steps].index(True)
    # From 2 clusters of at most 50 the next number is 2 + sqrt(48) = 8.93.
    found = []
    for attack in (early, late):
        state = start
        for loss in range(1, 5):
            state = attack._adapt(state, float(loss))
            if state["clusters"] != 2:
                found.append(state["clusters"])
                break
    assert found == [9, 8]


def test_with_cl_the_contrastive_gradient_is_added_before_bounding() -> None:
    world, present = World(), np.array([8])
    attack = ClusterAttackCL(clusters=3, spread=1e6, alpha=0.5, negatives=4)
    crafted, _, view = run(attack, world, present)
    table = world.model.table("items")
    centroids, labels = lloyd(table, 3, view.rng(1))
    # The world's clients answer by the weight and the negatives that they are asked for: 0.5 and 4.
    task = 2.0 * world.honest(present, 7001).blocks["items"].dense()[0]
    # With a bound beyond reach nothing is clipped, and the upload is minus the sum of both gradients.
    np.testing.assert_allclose(
        crafted.blocks["items"].dense()[0].numpy(),
        (task - 2 * (table - centroids[labels])).numpy(),
        rtol=1e-4,
        atol=1e-6,
    )


def test_lloyd_is_at_rest_where_it_stops() -> None:
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 3))).float()
    centroids, labels = lloyd(points, 5, np.random.default_rng(1), tolerance=0.0)
    assert torch.equal(labels, torch.cdist(points.double(), centroids.double()).argmin(1))
    for k in range(5):
        torch.testing.assert_close(centroids[k], points[labels == k].mean(0), rtol=1e-5, atol=1e-6)


def test_lloyd_keeps_empty_clusters_and_caps_k() -> None:
    same = torch.ones(4, 2)
    centroids, labels = lloyd(same, 9, np.random.default_rng(0))
    assert centroids.shape == (4, 2)
    assert torch.equal(centroids, same)
    assert set(labels.tolist()) == {0}


NOT_ALLOWED = [
    {"clusters": 0}, {"clusters": 60}, {"decay": 1.0}, {"threshold": 0}, {"threshold": -5}, {"spread": -3.0},
    {"spread": math.nan}, {"norms": "al"},
]  # fmt: skip


@pytest.mark.parametrize("options", NOT_ALLOWED, ids=str)
def test_ranges_are_checked(options: dict) -> None:
    with pytest.raises(ConfigError, match=f"clusterattack.{next(iter(options))}"):
        ClusterAttack(**options)


@pytest.mark.parametrize(
    "options", [{"alpha": -1.0}, {"alpha": math.nan}, {"negatives": 0}, {"negatives": -1}], ids=str
)
def test_ranges_of_the_contrastive_task_are_checked(options: dict) -> None:
    with pytest.raises(ConfigError, match=rf"clusterattack\+cl.{next(iter(options))}"):
        ClusterAttackCL(**options)


def test_a_model_without_items_is_refused() -> None:
    with pytest.raises(ConfigError, match="item embeddings"):
        ClusterAttack().init(ModelSpec((BlockSpec("head", (2, 2)),)), np.random.default_rng(0))


def test_the_item_block_is_row_sparse_over_all_rows() -> None:
    crafted, _, _ = run(ClusterAttack(), World(), np.array([3, 8]))
    block = crafted.blocks["items"]
    assert isinstance(block, RowBlock)
    assert block.rows.shape[0] == 2 * 60
