"""FL-WBC's perturbation of honest uploads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.defenses.fl_wbc import FLWBC, Perturbation
from fedsiege.errors import ConfigError, UploadError
from fedsiege.updates import UpdateBatch
from tests.worlds import World, made_dense

CLIENTS = np.array([9, 2, 30])


def noise_of(now: UpdateBatch, later: UpdateBatch, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return noise and change at the stored values of all blocks, each ``(values,)``, float64."""
    changed = Perturbation(scale=scale).transform(now, later, 0, 1)
    noise, change = [], []
    for name, block in now.blocks.items():
        noise.append((changed.blocks[name].values - block.values).double().numpy().ravel())
        change.append((later.blocks[name].values - block.values).double().numpy().ravel())
    return np.concatenate(noise), np.concatenate(change)


def test_noise_is_laplace_in_units_of_the_own_upload() -> None:
    # Client 1 sends a hundred times as much; a gradient that does not change is perturbed everywhere.
    world = World(torch.float64, items=2000, dim=16)
    now = world.honest(np.array([0, 1])).scale(np.array([1.0, 100.0]))
    for i in range(2):
        mine = now.select(np.array([i]))
        noise, _ = noise_of(mine, mine, 0.4)
        values = np.concatenate([b.values.numpy().ravel() for b in mine.blocks.values()])
        rms = np.sqrt((values**2).mean())
        assert (noise != 0).all()
        assert noise.std() == pytest.approx(0.4 * rms, rel=0.05)
        assert abs(noise.mean()) < 0.05 * noise.std()
        # The mean absolute value of a Laplace variable is its standard deviation over √2 (a normal's: 0.798).
        assert np.abs(noise).mean() / noise.std() == pytest.approx(1 / np.sqrt(2), rel=0.05)
        assert np.median(noise) == pytest.approx(0, abs=0.05 * noise.std())


def test_only_coordinates_that_change_little_are_perturbed() -> None:
    world = World(torch.float64)
    now, step = world.honest(CLIENTS), World(torch.float64, scale=3e-3).honest(CLIENTS)
    later = now.add(step)
    free, _ = noise_of(now, now, 0.4)
    noise, change = noise_of(now, later, 0.4)
    perturbed = np.abs(change) <= np.abs(free)
    assert 0.1 < perturbed.mean() < 0.9
    np.testing.assert_allclose(noise, np.where(perturbed, free, 0.0), atol=1e-15)


def test_uploads_stay_sparse_and_zero_ones_stay_zero() -> None:
    now = World().honest(CLIENTS)
    changed = Perturbation().transform(now, now, 0, 1)
    np.testing.assert_array_equal(changed.blocks["items"].rows, now.blocks["items"].rows)
    zero = now.scale(np.zeros(3))
    assert not Perturbation().transform(zero, zero, 0, 1).flat().any()


def test_dense_blocks_are_perturbed_too() -> None:
    now = made_dense(World().honest(CLIENTS))
    changed = Perturbation().transform(now, now, 0, 1)
    assert (changed.flat() != now.flat()).float().mean() > 0.99


def test_what_it_needs_and_when() -> None:
    half = FLWBC().client_half()
    assert half.transforms
    assert half.wants_next
    off = FLWBC(scale=0.0).client_half()
    assert not off.transforms
    assert not off.wants_next
    now = World().honest(CLIENTS)
    assert off.transform(now, None, 0, 1) is now
    with pytest.raises(UploadError, match="next local step"):
        half.transform(now, None, 0, 1)
    with pytest.raises(UploadError, match="same rows"):
        half.transform(now, World().honest(CLIENTS + 1), 0, 1)


@pytest.mark.parametrize("scale", [-1.0, float("inf"), float("nan")])
def test_ranges(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"fl-wbc\.scale"):
        FLWBC(scale=scale)
