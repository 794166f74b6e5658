"""Angles between uploads, and between the local models they lead to, without making a local model."""

from __future__ import annotations

import numpy as np
import torch

from fedsiege.defenses.base import DefenseView
from fedsiege.updates import DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.block import Block

PIECE = 1 << 16


def cosines(gram: np.ndarray) -> np.ndarray:
    """Return cosine similarities from inner products, float64 ``(n, n)``, ones on the diagonal.

    A zero vector is orthogonal to every other vector and equal to other zero vectors.
    """
    norms = np.sqrt(np.maximum(np.diag(gram), 0.0))
    some = norms > 0
    safe = np.where(some, norms, 1.0)
    out = np.clip(gram / safe / safe[:, None], -1.0, 1.0)
    out[~some] = 0.0
    out[:, ~some] = 0.0
    out[np.ix_(~some, ~some)] = 1.0
    np.fill_diagonal(out, 1.0)
    return out


def _table_sq_norm(table: torch.Tensor) -> float:
    """Squared norm of an item table, summed in float64, piece by piece."""
    total = 0.0
    for piece in table.reshape(-1).split(PIECE):
        wide = piece.double()
        total += float((wide * wide).sum())
    return total


def products(block: Block, param: torch.Tensor) -> np.ndarray:
    """Return each upload's inner product with `param`, float64 ``(n,)``."""
    if isinstance(block, RowBlock):
        indptr, rows, values = block.arrays
        touched = param.numpy()[rows].astype(np.float64)
        owner = np.repeat(np.arange(block.n), np.diff(indptr))
        return np.bincount(owner, np.einsum("ij,ij->i", touched, values.astype(np.float64)), block.n)
    assert isinstance(block, DenseBlock)
    return block.products(param)


def against_model(updates: UpdateBatch, view: DefenseView) -> tuple[float, np.ndarray]:
    """Return ‖w‖² and w·uᵢ for the global model w, summed block by block in float64."""
    square, dots = 0.0, np.zeros(updates.n)
    for spec in view.spec.blocks:
        param = view.model.table(spec.name) if spec.axis == "items" else view.model.param(spec.name)
        block = updates.blocks[spec.name]
        if isinstance(block, DenseBlock):
            square += float(DenseBlock(param[None]).sq_norms()[0])
        else:
            square += _table_sq_norm(param)
        dots += products(block, param)
    return square, dots


def local_model_distances(updates: UpdateBatch, view: DefenseView) -> np.ndarray:
    """Return cosine distances (1 − cosine) between the local models w + uᵢ, float64 ``(n, n)``.

    One minus a computed cosine would cancel: the angle between two local models is of the order ‖u‖ / ‖w‖. With
    a = w + u and b = w + v,

        1 − cos(a, b) = (‖u − v‖² − (‖a‖ − ‖b‖)²) / (2 ‖a‖ ‖b‖)
        ‖a‖ − ‖b‖ = (2 w·(u − v) + ‖u‖² − ‖v‖²) / (‖a‖ + ‖b‖)

    in which ‖w‖² appears in sums of positive numbers alone. A local model that is zero is at distance 1 from all
    that are not, and at 0 from others that are.
    """
    square, dots = against_model(updates, view)
    own = updates.norms**2
    norms = np.sqrt(np.maximum(square + 2 * dots + own, 0.0))
    excess = 2 * dots + own
    sums = norms[:, None] + norms[None, :]
    gap = (excess[:, None] - excess[None, :]) / np.where(sums > 0, sums, 1.0)
    scale = 2 * norms[:, None] * norms[None, :]
    numerator = np.maximum(updates.sq_distances - gap**2, 0.0)
    out = np.where(scale > 0, np.minimum(numerator / np.where(scale > 0, scale, 1.0), 2.0), 0.0)
    zero = norms == 0
    out[zero[:, None] != zero[None, :]] = 1.0
    np.fill_diagonal(out, 0.0)
    return out
