"""Sums over a dense upload matrix, along its rows or down its columns, in float64 whatever the dtype, without a copy.

Columns are cut into pieces, and where a sum runs along a row its pieces are added up in their order, so the number of
threads does not matter.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit

PIECE = 1 << 13
GROUPS = 16
NARROW = 512
WIDE = 1024
"""Columns of a piece: of float64 sums over rows that is, 8 KiB of a first-level cache."""


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
def _products(matrix, others):
    """Inner products of row i of ``matrix`` ``(n, d)`` with row i of ``others`` ``(n, d)``, or with its only row."""
    n, d = matrix.shape
    pieces = (d + PIECE - 1) // PIECE
    parts = np.zeros((pieces, n))
    for k in prange(pieces):
        for i in range(n):
            other = others[i % others.shape[0], k * PIECE : (k + 1) * PIECE]
            parts[k, i] = _dot(matrix[i, k * PIECE : (k + 1) * PIECE], other)
    out = np.zeros(n)
    for k in range(pieces):
        for i in range(n):
            out[i] += parts[k, i]
    return out


def sq_norms(matrix: np.ndarray) -> np.ndarray:
    """Squared L2 norms of the rows of ``matrix`` ``(n, d)``, float64 ``(n,)``."""
    return _products(matrix, matrix)


def dots(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Inner products of the rows of ``matrix`` ``(n, d)`` with ``vector`` ``(d,)``, float64 ``(n,)``."""
    return _products(matrix, vector[None])


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


@njit(parallel=True)
def _weighted_sum(matrix, rows, weights):
    d, m = matrix.shape[1], rows.size
    out = np.empty(d, matrix.dtype)
    for k in prange((d + WIDE - 1) // WIDE):
        first, last = k * WIDE, min((k + 1) * WIDE, d)
        total = np.zeros(WIDE)
        # Four rows at a time, so that the sums are read and written a quarter as often.
        for p in range(0, m - m % 4, 4):
            a, b = matrix[rows[p], first:last], matrix[rows[p + 1], first:last]
            c, e = matrix[rows[p + 2], first:last], matrix[rows[p + 3], first:last]
            v, w, x, y = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
            for j in range(last - first):
                total[j] += (v * a[j] + w * b[j]) + (x * c[j] + y * e[j])
        for p in range(m - m % 4, m):
            a, v = matrix[rows[p], first:last], weights[p]
            for j in range(last - first):
                total[j] += v * a[j]
        for j in range(last - first):
            out[first + j] = total[j]
    return out


def weighted_sum(matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ weight × row of ``matrix`` ``(n, d)``: summed in float64, rounded once to the matrix's dtype, ``(d,)``.

    Rows of weight 0 are not read. ``weights`` is float64 ``(n,)``.
    """
    rows = np.flatnonzero(weights)
    return _weighted_sum(matrix, rows, np.asarray(weights, np.float64)[rows])
