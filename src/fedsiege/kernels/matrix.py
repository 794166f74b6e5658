"""Sums over the columns of a dense upload matrix, in float64 whatever the dtype, without a copy of the matrix.

Columns are cut into pieces and a piece's sums are added up in the order of the pieces, so the number of threads does
not matter.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit

PIECE = 1 << 13
GROUPS = 16
NARROW = 512


@njit()
def _dot(x, y):
    total = 0.0
    for j in range(x.size):
        total += np.float64(x[j]) * np.float64(y[j])
    return total


@njit()
def _sq_distance(x, y):
    total = 0.0
    for j in range(x.size):
        gap = np.float64(x[j]) - np.float64(y[j])
        total += gap * gap
    return total


@njit(parallel=True)
def sq_norms(matrix):
    """Squared L2 norms of the rows of ``matrix`` ``(n, d)``, float64 ``(n,)``."""
    n, d = matrix.shape
    pieces = (d + PIECE - 1) // PIECE
    parts = np.zeros((pieces, n))
    for k in prange(pieces):
        for i in range(n):
            part = matrix[i, k * PIECE : (k + 1) * PIECE]
            parts[k, i] = _dot(part, part)
    out = np.zeros(n)
    for k in range(pieces):
        for i in range(n):
            out[i] += parts[k, i]
    return out


@njit(parallel=True)
def dots(matrix, vector):
    """Inner products of the rows of ``matrix`` ``(n, d)`` with ``vector`` ``(d,)``, float64 ``(n,)``."""
    n, d = matrix.shape
    pieces = (d + PIECE - 1) // PIECE
    parts = np.zeros((pieces, n))
    for k in prange(pieces):
        for i in range(n):
            parts[k, i] = _dot(matrix[i, k * PIECE : (k + 1) * PIECE], vector[k * PIECE : (k + 1) * PIECE])
    out = np.zeros(n)
    for k in range(pieces):
        for i in range(n):
            out[i] += parts[k, i]
    return out


@njit(parallel=True)
def sq_distances(matrix, pairs):
    """Squared distances of the row pairs ``pairs`` int64 ``(m, 2)`` from their differences, float64 ``(m,)``.

    All pairs are done on a few columns before the next few are read.
    """
    d, m = matrix.shape[1], pairs.shape[0]
    pieces = (d + NARROW - 1) // NARROW
    parts = np.zeros((GROUPS, m))
    for g in prange(GROUPS):
        for k in range(g * pieces // GROUPS, (g + 1) * pieces // GROUPS):
            for p in range(m):
                a, b = pairs[p, 0], pairs[p, 1]
                parts[g, p] += _sq_distance(
                    matrix[a, k * NARROW : (k + 1) * NARROW], matrix[b, k * NARROW : (k + 1) * NARROW]
                )
    out = np.zeros(m)
    for g in range(GROUPS):
        for p in range(m):
            out[p] += parts[g, p]
    return out
