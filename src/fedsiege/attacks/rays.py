"""Distances of uploads to the points of a ray, as quadratics in how far the point is along it.

An attack that searches how far to go asks for the distances at every step. Expanded, ‖x − o − λd‖² needs a few inner
products that do not change with λ, so uploads are read once and a step costs a few operations per upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedsiege.kernels.rows import dots
from fedsiege.updates import Delta, DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.block import Block

PIECE = 1 << 16


def _owners(block: RowBlock) -> np.ndarray:
    return np.repeat(np.arange(block.n), np.diff(block.arrays[0]))


def _squares(block: Block) -> np.ndarray:
    if not isinstance(block, RowBlock):
        return block.sq_norms()
    out, owner = np.zeros(block.n), _owners(block)
    for part in torch.arange(owner.size).split(PIECE):
        out += np.bincount(owner[part.numpy()], block.values[part].double().square().sum(1).numpy(), block.n)
    return out


def _dense(block: DenseBlock, vector: DenseBlock) -> np.ndarray:
    total = torch.zeros(block.n, dtype=torch.float64, device=block.values.device)
    for part, with_ in zip(block.flat.split(PIECE, dim=1), vector.flat.split(PIECE, dim=1)):
        total += part.double() @ with_[0].double()
    return total.cpu().numpy()


def inner(blocks: Mapping[str, Block], vector: Delta) -> np.ndarray:
    """Return the inner product of each of n uploads with one update, summed in float64, ``(n,)``."""
    total = np.zeros(next(iter(blocks.values())).n)
    for name, block in blocks.items():
        other = vector[name]
        if isinstance(block, RowBlock):
            assert isinstance(other, RowBlock)
            total += dots(*block.arrays, *other.arrays[1:])
        else:
            assert isinstance(block, DenseBlock)
            assert isinstance(other, DenseBlock)
            total += _dense(block, other)
    return total


@dataclass(frozen=True)
class Ray:
    """The points o + λd, seen from n uploads x.

    Parameters
    ----------
    start : numpy.ndarray
        float64 ``(n,)``: ‖x − o‖².
    along : numpy.ndarray
        float64 ``(n,)``: ⟨x − o, d⟩.
    length : float
        ‖d‖².
    """

    start: np.ndarray
    along: np.ndarray
    length: float

    @classmethod
    def of(cls, updates: UpdateBatch, direction: Delta, origin: Delta | None = None) -> Ray:
        """Return the ray from `origin` (None: zero) along `direction`."""
        start = sum((_squares(block) for block in updates.blocks.values()), np.zeros(updates.n))
        along = inner(updates.blocks, direction)
        if origin is not None:
            start = start - 2 * inner(updates.blocks, origin) + inner(origin, origin)
            along = along - inner(origin, direction)
        return cls(start, along, float(inner(direction, direction)[0]))

    def sq_distances(self, far: float) -> np.ndarray:
        """Return ‖x − o − `far`·d‖² for every x, float64 ``(n,)``."""
        return np.maximum(self.start + far * (far * self.length - 2 * self.along), 0.0)
