"""Principal components of uploads against the singular value decomposition of the centred matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.updates import DenseBlock, UpdateBatch
from fedsiege.updates.projection import principal_components
from tests.worlds import World


def by_svd(x: np.ndarray, k: int) -> np.ndarray:
    centred = x - x.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    out = np.zeros((len(x), k))
    out[:, : s.size] = (u * s)[:, :k]
    for column in out.T:
        if column[np.abs(column).argmax()] < 0:
            column *= -1
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_coordinates_are_those_of_the_centred_matrix(dtype: torch.dtype, k: int) -> None:
    updates = World(dtype).honest(np.arange(9))
    expected = by_svd(updates.flat().double().numpy(), k)
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(principal_components(updates, k), expected, atol=tolerance * np.abs(expected).max())


def test_two_groups_lie_at_the_two_ends_of_the_first_axis() -> None:
    x = np.random.default_rng(0).normal(size=(8, 30))
    x[:3] += 100
    batch = UpdateBatch(np.arange(8), np.ones(8), {"w": DenseBlock(torch.from_numpy(x))})
    first = principal_components(batch)[:, 0]
    assert (np.sign(first[:3]) == np.sign(first[0])).all()
    assert (np.sign(first[3:]) == -np.sign(first[0])).all()


@pytest.mark.parametrize("x", [np.ones((1, 4)), np.ones((5, 4)), np.zeros((3, 2))], ids=["one", "equal", "zero"])
def test_where_nothing_differs_everything_lies_at_the_origin(x: np.ndarray) -> None:
    batch = UpdateBatch(np.arange(len(x)), np.ones(len(x)), {"w": DenseBlock(torch.from_numpy(x))})
    got = principal_components(batch)
    assert got.shape == (len(x), 2)
    assert np.abs(got).max() < 1e-7
