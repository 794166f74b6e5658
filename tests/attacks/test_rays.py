"""Distances along a ray against differences of whole vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.attacks import rays
from fedsiege.attacks.rays import Ray, inner
from fedsiege.updates import RowBlock, UpdateBatch
from tests.attacks.dense import DenseWorld
from tests.worlds import World

CLIENTS = np.array([4, 9, 1, 7, 3])
worlds = pytest.mark.parametrize("world", [World(), World(torch.float64), DenseWorld(), World(head=False)])


def flat(updates: UpdateBatch) -> np.ndarray:
    return updates.flat().double().numpy()


@worlds
@pytest.mark.parametrize("piece", [7, 1 << 16])
def test_inner_products(world: World, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rays, "PIECE", piece)
    updates, other = world.honest(CLIENTS), world.honest(np.array([21]))
    expected = [sum(a * b for a, b in zip(row, flat(other)[0])) for row in flat(updates)]
    np.testing.assert_allclose(inner(updates.blocks, other.blocks), expected, rtol=1e-12, atol=1e-15)


@worlds
@pytest.mark.parametrize("far", [0.0, 0.3, 7.0, -2.0])
def test_distances(world: World, far: float) -> None:
    updates, two = world.honest(CLIENTS), world.honest(np.array([21, 22]))
    origin, direction = (two.select(np.array([k])) for k in range(2))
    x, o, d = flat(updates), flat(origin)[0], flat(direction)[0]
    got = Ray.of(updates, direction.blocks, origin.blocks).sq_distances(far)
    np.testing.assert_allclose(got, [((row - o - far * d) ** 2).sum() for row in x], rtol=1e-10)
    got = Ray.of(updates, direction.blocks).sq_distances(far)
    np.testing.assert_allclose(got, [((row - far * d) ** 2).sum() for row in x], rtol=1e-10)


def test_a_vector_without_rows() -> None:
    updates = World(head=False).honest(CLIENTS)
    nothing = RowBlock(torch.zeros(2, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0, 8), 60)
    assert not inner(updates.blocks, {"items": nothing}).any()
    np.testing.assert_allclose(Ray.of(updates, {"items": nothing}).sq_distances(3.0), updates.norms**2)
