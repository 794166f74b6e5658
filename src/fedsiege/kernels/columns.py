"""Coordinate-wise rules over a dense upload matrix, in column tiles that stay in the second-level cache."""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit
from fedsiege.kernels.network import sort_rows

TILE = 256


@njit(parallel=True)
def median(matrix):
    """Column medians of ``matrix`` ``(n, d)``, n ≥ 1."""
    n, d = matrix.shape
    out = np.empty(d, matrix.dtype)
    for t in prange((d + TILE - 1) // TILE):
        c0 = t * TILE
        width = min(TILE, d - c0)
        tile = np.empty((n, TILE), matrix.dtype)
        for i in range(n):
            for j in range(width):
                tile[i, j] = matrix[i, c0 + j]
        sort_rows(tile, n, width)
        low, high = tile[(n - 1) // 2], tile[n // 2]
        for j in range(width):
            out[c0 + j] = (low[j] + high[j]) / 2
    return out


@njit(parallel=True)
def trimmed_mean(matrix, trim):
    """Column means of ``matrix`` ``(n, d)`` without the `trim` smallest and largest, ``2 trim < n``."""
    n, d = matrix.shape
    out = np.empty(d, matrix.dtype)
    for t in prange((d + TILE - 1) // TILE):
        c0 = t * TILE
        width = min(TILE, d - c0)
        tile = np.empty((n, TILE), matrix.dtype)
        for i in range(n):
            for j in range(width):
                tile[i, j] = matrix[i, c0 + j]
        sort_rows(tile, n, width)
        total = np.zeros(TILE)
        for i in range(trim, n - trim):
            for j in range(width):
                total[j] += tile[i, j]
        for j in range(width):
            out[c0 + j] = total[j] / (n - 2 * trim)
    return out
