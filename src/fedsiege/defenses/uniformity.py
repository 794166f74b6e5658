"""The uniformity score of UNION: how far apart item embeddings would lie after each upload alone."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

from fedsiege.checks import require
from fedsiege.defenses.base import DefenseView
from fedsiege.errors import ConfigError
from fedsiege.kernels import uniformity as kernels
from fedsiege.updates import RowBlock, UpdateBatch

Simulation = Literal["sgd", "adam"]
SIMULATIONS = get_args(Simulation)
PAIRED = 8
"""Uploads whose distances are held in memory at once."""
REFERENCE = 4096
"""Rows from which the mean of a larger table is estimated."""


def check_simulation(prefix: str, value: object) -> None:
    """Check how the table after an upload is made (ConfigError)."""
    require(value in SIMULATIONS, f"{prefix}.simulate", value, "'sgd' or 'adam'")


def mean_sq_distance(points: np.ndarray) -> float:
    """Return the mean squared distance over all pairs of T rows, float64: 2T/(T−1)·(mean‖v‖² − ‖mean v‖²)."""
    t = points.shape[0]
    centred = points.astype(np.float64) - points.astype(np.float64).mean(0)
    return float(2 * (centred**2).sum() / (t - 1))


def item_block(updates: UpdateBatch, view: DefenseView) -> tuple[str, RowBlock]:
    """Return name and uploads of the item table; ConfigError if the model has none."""
    spec = view.spec.item_table
    if spec is None:
        raise ConfigError("UNION needs a model with a table of item embeddings; this one has none")
    block = updates.blocks[spec.name]
    assert isinstance(block, RowBlock)
    return spec.name, block


def sample_items(view: DefenseView, num_items: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct items, ascending, and how often each was drawn; `samples` draws with replacement."""
    return np.unique(view.rng(0).integers(0, num_items, samples), return_counts=True)


def moves(view: DefenseView, name: str, rows: np.ndarray, values: np.ndarray, simulate: Simulation) -> np.ndarray:
    """Return how far each upload alone would move each of the `rows` it touches, ``(len(rows), dim)``.

    ``"sgd"`` is V − ηg, Algorithm 2 to the letter; ``"adam"`` is the step of the server's own optimizer.
    """
    return view.lr * values if simulate == "sgd" else view.model.look_ahead(name, rows, values)


def idle(view: DefenseView, name: str, items: np.ndarray, dim: int, simulate: Simulation) -> np.ndarray:
    """Return how far `items` would move in a round without any upload, ``(len(items), dim)``."""
    if simulate == "sgd":
        return np.zeros((items.size, dim), np.float32)
    return view.model.look_ahead(name, items, None)


def places(rows: np.ndarray, items: np.ndarray, num_items: int) -> np.ndarray:
    """Return the position of each of `rows` among the ascending `items`, −1 where it is not among them."""
    if num_items <= 64 * rows.size:
        where = np.full(num_items, -1, np.int64)
        where[items] = np.arange(items.size)
        return where[rows]
    at = np.minimum(np.searchsorted(items, rows), items.size - 1)
    return np.where(items[at] == rows, at, -1)


def scores(updates: UpdateBatch, view: DefenseView, samples: int | None, simulate: Simulation) -> np.ndarray:
    """Return what `measure` finds; an upload measured before in this round is not measured again."""
    return updates.recall(("uniformity", samples, simulate), lambda some: measure(some, view, samples, simulate), view)


def measure(updates: UpdateBatch, view: DefenseView, samples: int | None, simulate: Simulation) -> np.ndarray:
    """Return the uniformity d_i of the item table after each upload alone, float64 ``(n,)``.

    d is the mean squared distance of T sampled items (Yu et al., AAAI 2023, Algorithm 2, line 3), by its closed
    form and as a correction to the table before, so the cost follows the touched rows. One sample serves all
    uploads of a round. With ``samples=None`` d is that of the whole table: every touched row counts, and only the
    table's mean and spread before the round, which are the same for all uploads, come from a sample of at most
    `REFERENCE` rows.
    """
    name, block = item_block(updates, view)
    whole = samples is None
    items, count = sample_items(view, block.num_rows, samples or REFERENCE)
    if whole and block.num_rows <= REFERENCE:
        items, count = np.arange(block.num_rows), np.ones(block.num_rows, np.int64)
    base, still = _before(view, name, items, simulate)
    mean = (count[:, None] * base).sum(0) / count.sum()
    spread = float((count[:, None] * (base - mean) ** 2).sum()) / count.sum()
    total = int(count.sum())
    if whole:
        total, items = block.num_rows, block.grouping.unique
        base, still = _before(view, name, items, simulate)
        count = np.ones(items.size, np.int64)
    indptr, rows, values = block.arrays
    place = places(rows, items, block.num_rows)
    if not whole:
        # Only sampled rows count, an eighth of ML-1M's: the step of the others need not be simulated.
        hit = np.flatnonzero(place >= 0)
        indptr, rows, values, place = np.searchsorted(hit, indptr), rows[hit], values[hit], place[hit]
    moved = moves(view, name, rows, values, simulate)
    second, first = kernels.shifts(indptr, place, moved, still, base, count, mean)
    return 2 / (total - 1) * (spread * total + second - (first**2).sum(1) / total)


def _before(view: DefenseView, name: str, items: np.ndarray, simulate: Simulation) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the table as they would stand after a round without any upload (float64), and that move."""
    base = view.model.table(name, items).numpy()[items].astype(np.float64)
    still = idle(view, name, items, base.shape[1], simulate)
    return base + still, still


def unsquared_scores(updates: UpdateBatch, view: DefenseView, samples: int, simulate: Simulation) -> np.ndarray:
    """Return the mean *unsquared* distance of T sampled items after each upload alone, as the public code has it.

    There is no closed form, so every pair is computed: O(n T² dim).
    """
    name, block = item_block(updates, view)
    items, count = sample_items(view, block.num_rows, samples)
    before, still = _before(view, name, items, simulate)
    base, still_moves = torch.from_numpy(before), torch.from_numpy(still).double()
    place = torch.from_numpy(places(block.arrays[1], items, block.num_rows))
    moved = torch.from_numpy(np.asarray(moves(view, name, *block.arrays[1:], simulate), np.float64))
    table = base.repeat(updates.n, 1, 1)
    owner = torch.from_numpy(np.repeat(np.arange(updates.n), np.diff(block.arrays[0])))
    hit = place >= 0
    table[owner[hit], place[hit]] += moved[hit] - still_moves[place[hit]]
    # Centred, so that squares of distances do not cancel in float32.
    table = (table - table.mean(1, keepdim=True)).float()
    weight = torch.from_numpy(count.astype(np.float32))
    total = int(count.sum())
    out = np.empty(updates.n)
    for start in range(0, updates.n, PAIRED):
        points = table[start : start + PAIRED]
        sq = points.square().sum(2)
        distance = torch.baddbmm(sq[:, :, None] + sq[:, None, :], points, points.mT, alpha=-2)
        distance.diagonal(dim1=1, dim2=2).zero_()
        sums = (distance.clamp_(min=0).sqrt_() @ weight) @ weight
        out[start : start + PAIRED] = sums.double().numpy() / (total * (total - 1))
    return out
