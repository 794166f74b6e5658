"""`AdamTable` against `torch.optim.Adam` over the whole table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.optim import AdamTable

ROWS, DIM = 12, 5


def touches(seed: int, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and gradients of each step; row 0 in every step, row 1 at both ends alone, row 2 never."""
    rng = np.random.default_rng(seed)
    out = []
    for t in range(1, steps + 1):
        rows = np.flatnonzero(rng.random(ROWS) < rng.choice([0.0, 0.1, 0.5]))
        rows = np.setdiff1d(rows, [1, 2])
        rows = np.union1d(rows, [0, 1] if t in (1, steps) else [0])
        scale = 10.0 ** rng.integers(-4, 2, (rows.size, 1))
        out.append((rows, (scale * rng.normal(size=(rows.size, DIM))).astype(np.float32)))
    return out


def start(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed + 100).normal(size=(ROWS, DIM)).astype(np.float32))


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_dense_adam(seed, betas):
    steps = 400  # Longer than `cut`, after which momentum counts as zero.
    table = AdamTable(start(seed), 1e-2, betas)
    dense = start(seed).double().requires_grad_()
    adam = torch.optim.Adam([dense], lr=1e-2, betas=betas)
    rng = np.random.default_rng(seed)
    for t, (rows, grad) in enumerate(touches(seed, steps), 1):
        table.step(t, rows, grad)
        dense.grad = torch.zeros_like(dense)
        dense.grad[rows] = torch.from_numpy(grad).double()
        adam.step()
        if rng.random() < 0.1:
            read = rng.permutation(ROWS)[:4]
            torch.testing.assert_close(
                table.refresh(t, read)[read].double(), dense.detach()[read], rtol=2e-5, atol=2e-5
            )
    got = table.refresh(steps)
    torch.testing.assert_close(got.double(), dense.detach(), rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(got[2], start(seed)[2], rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_any_reading_pattern_gives_the_same_bits(seed):
    rng = np.random.default_rng(seed)
    tables = [AdamTable(start(seed), 1e-2) for _ in range(3)]
    for t, (rows, grad) in enumerate(touches(seed, 120), 1):
        order = rng.permutation(rows.size)
        tables[0].step(t, rows, grad)
        tables[1].refresh(t - 1)
        tables[1].step(t, rows[order], grad[order])
        tables[2].refresh(t - 1, rng.permutation(ROWS)[: rng.integers(ROWS)])
        tables[2].step(t, rows, grad)
    for table in tables[1:]:
        assert torch.equal(table.refresh(150), tables[0].refresh(150))
        for name, value in table.state().items():
            assert torch.equal(value, tables[0].state()[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_look_ahead_is_the_step(dtype):
    table = AdamTable(start(0), 1e-2)
    for t, (rows, grad) in enumerate(touches(0, 300), 1):
        table.step(t, rows, grad)
    before = {name: value.clone() for name, value in table.state().items()}
    rows = np.array([7, 2, 0, 1, 7])
    update = np.random.default_rng(1).normal(size=(5, DIM)).astype(dtype)
    update[4] = update[0]
    moves, idle = table.look_ahead(301, rows, update), table.look_ahead(301, rows, None)
    assert all(torch.equal(value, before[name]) for name, value in table.state().items())
    for got, gradient in ((moves, -update), (idle, np.zeros_like(update))):
        other = AdamTable(start(0), 1e-2)
        other.load(before)
        was = other.refresh(300).clone()
        other.step(301, rows[:4], gradient[:4].astype(np.float32))
        wanted = (other.weight - was)[rows].numpy()
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-6)
    assert not idle[1].any()


def test_a_saved_table_goes_on_bit_for_bit():
    table = AdamTable(start(0), 1e-2)
    steps = touches(0, 100)
    for t, (rows, grad) in enumerate(steps[:50], 1):
        table.step(t, rows, grad)
    copy = AdamTable(torch.zeros(ROWS, DIM), 1e-2)
    copy.load({name: value.clone() for name, value in table.state().items()})
    for t, (rows, grad) in enumerate(steps[50:], 51):
        table.step(t, rows, grad)
        copy.step(t, rows, grad)
    assert torch.equal(table.refresh(100), copy.refresh(100))


def test_a_state_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="weight has shape"):
        AdamTable(torch.zeros(3, 2), 1e-2).load(AdamTable(torch.zeros(4, 2), 1e-2).state())
