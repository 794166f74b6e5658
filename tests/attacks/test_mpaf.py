"""MPAF against the difference of two models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedsiege.attacks.mpaf import MPAF
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.updates import RowBlock, UpdateBatch
from tests.attacks.dense import DenseWorld
from tests.trees import read, write
from tests.worlds import StaticModel, World

COALITION = np.arange(100, 130)
PRESENT = np.array([107, 101, 110])


def moved(world: World, by: float) -> None:
    """Put another model in the place of the current one."""
    params = {name: p + by * (1 + torch.arange(p.numel()).view(p.shape)) for name, p in world.model.params.items()}
    world.model = StaticModel(params)


def step(attack: MPAF, world: World, state: State, present: np.ndarray = PRESENT) -> tuple[UpdateBatch, State]:
    return attack.step(world.honest(present), state, world.attack_view(attack, present, COALITION))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [3.0, 0.5])
def test_it_returns_to_the_first_model(dtype: torch.dtype, scale: float, tmp_path: Path) -> None:
    world, attack = World(dtype), MPAF(scale=scale)
    first = {name: p.clone() for name, p in world.model.params.items()}
    crafted, state = step(attack, world, attack.init(world.spec, np.random.default_rng(0)))
    assert not crafted.flat().any()
    # What the server does to its tensors afterwards does not change what is remembered.
    for p in world.model.params.values():
        p += 1
    moved(world, 0.01)
    write(state, tmp_path)
    crafted, _ = step(attack, world, read(tmp_path), PRESENT[::-1].copy())
    expected = {name: scale * (first[name] - p) for name, p in world.model.params.items()}
    table = crafted.blocks["items"]
    assert isinstance(table, RowBlock)
    honest = world.honest(PRESENT[::-1].copy()).blocks["items"]
    assert torch.equal(table.rows, honest.rows)  # type: ignore[attr-defined]
    for i in range(3):
        rows = table.rows[table.indptr[i] : table.indptr[i + 1]]
        assert 0 < rows.shape[0] < world.items
        assert torch.equal(table.dense()[i][rows], expected["items"][rows])
        untouched = np.setdiff1d(np.arange(world.items), rows.numpy())
        assert not table.dense()[i][untouched].any()
        assert torch.equal(crafted.blocks["head"].dense()[i], expected["head"])


def test_a_dense_model_is_covered_completely() -> None:
    world, attack = DenseWorld(), MPAF()
    first = {name: p.clone() for name, p in world.model.params.items()}
    _, state = step(attack, world, {})
    moved(world, 0.01)
    crafted, again = step(attack, world, state, PRESENT[:1])
    assert again is state
    for name, p in world.model.params.items():
        assert torch.equal(crafted.blocks[name].dense()[0], 3 * (first[name] - p))


@pytest.mark.parametrize("value", [0.0, -3.0, float("nan"), True])
def test_ranges(value: float) -> None:
    with pytest.raises(ConfigError, match=r"mpaf\.scale"):
        MPAF(scale=value)
