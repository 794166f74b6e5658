"""Numbers addressed by client, row and column."""

from __future__ import annotations

import numpy as np
import torch

from fedsiege.updates import RowBlock
from fedsiege.updates.noise import uniforms
from tests.worlds import World

CLIENTS = np.array([8, 3, 21, 13, 5])


def test_uniforms_are_uniform_and_independent() -> None:
    block = World(items=400, dim=16).honest(np.arange(200)).blocks["items"]
    u = uniforms(block, np.arange(200), 0, "test", 1).numpy()
    assert u.dtype == np.float64
    assert u.shape == tuple(block.values.shape)
    assert 0 < u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 2e-3
    assert abs(u.var() - 1 / 12) < 2e-3
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 0.02
    counts = np.histogram(u, 20, (0, 1))[0]
    # A chi-squared statistic with 19 degrees of freedom exceeds 44 once in a thousand times.
    assert ((counts - u.size / 20) ** 2 / (u.size / 20)).sum() < 44


def test_a_number_belongs_to_its_client_row_and_column() -> None:
    world = World()
    updates = world.honest(CLIENTS)
    for name, block in updates.blocks.items():
        spread = block.dense() * 0
        got = uniforms(block, CLIENTS, 0, name, 1)
        again = uniforms(block.select(np.array([3, 0])), CLIENTS[[3, 0]], 0, name, 1)
        if name == "items":
            indptr = block.indptr.tolist()
            for i in range(CLIENTS.size):
                entries = slice(indptr[i], indptr[i + 1])
                spread[i, block.rows[entries]] = got[entries].float()
            # Client 8 with every row touched gets the same numbers on the rows it had.
            whole = RowBlock.from_dense(torch.ones(1, world.items, world.dim))
            dense = uniforms(whole, CLIENTS[:1], 0, name, 1)
            mine = block.rows[: indptr[1]].numpy()
            torch.testing.assert_close(dense[mine], got[: indptr[1]], rtol=0, atol=0)
            expected = torch.cat([got[indptr[3] : indptr[4]], got[: indptr[1]]])
        else:
            expected = got[[3, 0]]
        torch.testing.assert_close(again, expected, rtol=0, atol=0)
        for other in (
            uniforms(block, CLIENTS, 1, name, 1),
            uniforms(block, CLIENTS, 0, name + "x", 1),
            uniforms(block, CLIENTS, 0, name, 2),
        ):
            assert not (other == got).any()
