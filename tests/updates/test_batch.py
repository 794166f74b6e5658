"""`UpdateBatch`: what concerns whole uploads, and distances that do not cancel in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.errors import UploadError
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch
from tests.worlds import World, made_dense

CLIENTS = np.array([8, 3, 21, 13, 5])


def naive_sq_distances(x: np.ndarray) -> np.ndarray:
    return np.array([[((a - b) ** 2).sum() for b in x] for a in x])


def test_norms_gram_and_distances_are_of_whole_uploads() -> None:
    updates = World(torch.float64).honest(CLIENTS)
    x = updates.flat().numpy()
    np.testing.assert_allclose(updates.norms, np.sqrt((x**2).sum(1)))
    np.testing.assert_allclose(updates.gram, x @ x.T, atol=1e-12)
    np.testing.assert_allclose(updates.sq_distances, naive_sq_distances(x), atol=1e-12)


@pytest.mark.parametrize("dense", [False, True], ids=["rows", "dense"])
def test_distances_of_small_updates_in_float32(dense: bool) -> None:
    # Updates 1e-4 of the model's scale, agreeing to one part in a thousand: ‖x‖² + ‖y‖² − 2xy would be noise.
    updates = World(torch.float32, scale=1e-4).honest(np.repeat(CLIENTS[:1], 6))
    wobble = World(torch.float32, scale=1e-7).honest(np.arange(6) + 40)
    rows = updates.add(wobble)
    updates = made_dense(rows) if dense else rows
    exact = naive_sq_distances(updates.flat().double().numpy())
    np.testing.assert_allclose(updates.sq_distances, exact, rtol=1e-5)
    assert (np.diag(updates.sq_distances) == 0).all()


def test_distances_of_unlike_float32_updates_are_good_to_a_thousandth() -> None:
    rng = np.random.default_rng(0)
    for spread in (1.0, 0.3, 0.1, 0.03, 0.01):
        x = 1e-4 * (rng.normal(size=(1, 20_000)) + spread * rng.normal(size=(12, 20_000)))
        block = DenseBlock(torch.from_numpy(x.astype(np.float32)))
        updates = UpdateBatch(np.arange(12), np.ones(12), {"w": block})
        exact = naive_sq_distances(block.values.double().numpy())
        np.testing.assert_allclose(updates.sq_distances, exact, rtol=1e-3)


def test_copies_among_several_blocks() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 700)), rng.normal(size=(9, 3, 5))
    x[:4], y[:4] = x[0], y[0]
    x[3, 0] += 1e-7
    blocks = {"x": DenseBlock(torch.from_numpy(x)), "y": DenseBlock(torch.from_numpy(y))}
    updates = UpdateBatch(np.arange(9), np.ones(9), blocks)
    exact = naive_sq_distances(np.concatenate([x, y.reshape(9, -1)], axis=1))
    np.testing.assert_allclose(updates.sq_distances, exact, rtol=1e-9, atol=0)
    np.testing.assert_array_equal(updates.sq_distances, updates.sq_distances.T)
    assert updates.sq_distances[0, 1] == 0.0
    assert updates.sq_distances[0, 3] == pytest.approx(1e-14, rel=1e-6)


def test_equal_uploads_have_distance_zero() -> None:
    updates = World().honest(np.array([3, 4, 3]))
    assert updates.sq_distances[0, 2] == 0.0
    assert updates.sq_distances[0, 1] > 0.0


def test_select_takes_masks_positions_and_nothing() -> None:
    updates = World().honest(CLIENTS)
    mask = np.array([True, False, True, False, False])
    for index in (mask, np.array([0, 2])):
        some = updates.select(index)
        np.testing.assert_array_equal(some.clients, [8, 21])
        np.testing.assert_array_equal(some.counts, updates.counts[[0, 2]])
        np.testing.assert_array_equal(some.flat().numpy(), updates.flat().numpy()[[0, 2]])
    assert updates.select(np.ones(5, bool)) is updates
    none = updates.select(np.zeros(5, bool))
    assert none.n == 0
    assert none.norms.shape == none.finite.shape == (0,)
    assert none.sq_distances.shape == (0, 0)
    assert none.flat().shape == (0, updates.flat().shape[1])


def test_replace_changes_values_and_counts_of_some() -> None:
    world = World()
    updates, other = world.honest(CLIENTS), world.honest(np.array([77, 78]))
    got = updates.replace(np.array([4, 1]), other)
    np.testing.assert_array_equal(got.clients, CLIENTS)
    np.testing.assert_array_equal(got.counts[[4, 1]], other.counts)
    np.testing.assert_array_equal(got.flat().numpy()[[4, 1]], other.flat().numpy())
    np.testing.assert_array_equal(got.flat().numpy()[[0, 2, 3]], updates.flat().numpy()[[0, 2, 3]])


@pytest.mark.parametrize("dense", [False, True], ids=["rows", "dense"])
@pytest.mark.parametrize("places", [[4, 1], [2], [0, 1, 2, 3, 4], []], ids=str)
def test_a_copy_of_many_knows_what_a_copy_of_its_own_finds(dense: bool, places: list[int]) -> None:
    world = World(torch.float64)
    updates, other = world.honest(CLIENTS), world.honest(np.arange(70, 70 + len(places)))
    if dense:
        updates, other = made_dense(updates), made_dense(other)
    index = np.array(places, np.int64)
    plain, shared = updates.replace(index, other), updates.replace(index, other, again=True)
    assert plain.origin is None
    assert shared.origin is not None
    kept = np.array([3, 0, 4])
    for mine, naive in ((shared, plain), (shared.select(kept), plain.select(kept))):
        np.testing.assert_array_equal(mine.flat().numpy(), naive.flat().numpy())
        np.testing.assert_array_equal(mine.norms, naive.norms)
        np.testing.assert_allclose(mine.gram, naive.gram, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(mine.gram, mine.gram.T)
        np.testing.assert_allclose(mine.sq_distances, naive.sq_distances, rtol=1e-12, atol=1e-13)


def test_equal_uploads_of_a_copy_of_many_are_equal_in_every_product() -> None:
    world = World(torch.float32)
    updates = world.honest(CLIENTS)
    same = world.honest(np.array([7, 7, 7]))
    gram = updates.replace(np.array([0, 2, 3]), same, again=True).gram
    np.testing.assert_array_equal(gram[0], gram[2])
    np.testing.assert_array_equal(gram[0], gram[3])


def test_what_is_known_of_an_upload_is_not_asked_again() -> None:
    world = World(torch.float64)
    updates, seen, view = world.honest(CLIENTS), [], object()

    def sums(batch: UpdateBatch) -> np.ndarray:
        seen.append(batch.clients.tolist())
        return batch.flat().numpy().sum(1)

    for client in (70, 71):
        copy = updates.replace(np.array([1]), world.honest(np.array([client])), again=True)
        for batch in (copy, copy, copy.select(np.array([4, 1]))):
            np.testing.assert_array_equal(batch.recall("sums", sums, view), batch.flat().numpy().sum(1))
    assert seen == [CLIENTS.tolist(), [3], [3]]
    updates.recall("sums", sums, object())  # under another view it is another question
    assert seen[3:] == [CLIENTS.tolist()]
    copy.recall("others", sums, view)
    assert seen[4:] == [CLIENTS.tolist(), [3]]


def test_scale_add_and_moments_go_over_all_blocks() -> None:
    updates = World(torch.float64).honest(CLIENTS)
    x, factors = updates.flat().numpy(), np.arange(5.0)
    np.testing.assert_allclose(updates.scale(factors).flat().numpy(), x * factors[:, None])
    np.testing.assert_allclose(updates.add(updates.scale(factors)).flat().numpy(), x * (1 + factors[:, None]))
    mean, std = updates.moments()
    np.testing.assert_allclose(UpdateBatch(CLIENTS[:1], np.ones(1), mean).flat().numpy()[0], x.mean(0))
    np.testing.assert_allclose(UpdateBatch(CLIENTS[:1], np.ones(1), std).flat().numpy()[0], x.std(0))


def test_check_and_constructor_name_what_is_wrong() -> None:
    world = World()
    updates = world.honest(CLIENTS)
    updates.check(world.spec)
    with pytest.raises(UploadError, match="blocks"):
        updates.check(ModelSpec(world.spec.blocks[:1]))
    with pytest.raises(UploadError, match="'items' has shape"):
        updates.check(ModelSpec((BlockSpec("items", (60, 9), "items"), world.spec.blocks[1])))
    with pytest.raises(UploadError, match="'items' holds 5 uploads"):
        UpdateBatch(CLIENTS[:2], np.ones(2), updates.blocks)


def test_spec_finds_blocks_and_the_item_table() -> None:
    spec = World().spec
    assert spec.names == ("items", "head")
    assert spec.item_table is spec["items"]
    assert ModelSpec(spec.blocks[1:]).item_table is None
    with pytest.raises(KeyError):
        spec["tail"]
