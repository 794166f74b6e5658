"""Coordinate-wise rules over a dense upload matrix.

A strip of columns is read once, into tiles of 64 columns that lie one after the other in the second-level cache; a
tile's comparators then run in the first-level cache. Reading whole strips keeps the reads of each upload long.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit
from fedsiege.kernels.selection import WIDTH, comparators, copy, select

STRIP = 1 << 18
"""Bytes of a strip, as far as one tile allows."""


@njit()
def _load(matrix, tiles, c0):
    """Copy columns from `c0` on into `tiles` ``(count, n, 64)``; zeros stand beyond the last column."""
    n, d = matrix.shape
    for i in range(n):
        for t in range(tiles.shape[0]):
            first = c0 + t * WIDTH
            if first + WIDTH <= d:
                copy(matrix, i * d + first, tiles, (t * n + i) * WIDTH)
            else:
                for j in range(WIDTH):
                    tiles[t, i, j] = matrix[i, first + j] if first + j < d else 0


@njit(parallel=True)
def _median(matrix, pairs, count):
    n, d = matrix.shape
    out = np.empty(d, matrix.dtype)
    span = count * WIDTH
    for s in prange((d + span - 1) // span):
        tiles = np.empty((count, n, WIDTH), matrix.dtype)
        _load(matrix, tiles, s * span)
        for t in range(count):
            c0 = s * span + t * WIDTH
            if c0 >= d:
                break
            select(tiles[t], pairs)
            low, high = tiles[t, (n - 1) // 2], tiles[t, n // 2]
            for j in range(min(WIDTH, d - c0)):
                out[c0 + j] = (low[j] + high[j]) / 2
    return out


@njit(parallel=True)
def _trimmed_mean(matrix, trim, pairs, count):
    n, d = matrix.shape
    out = np.empty(d, matrix.dtype)
    span = count * WIDTH
    for s in prange((d + span - 1) // span):
        tiles = np.empty((count, n, WIDTH), matrix.dtype)
        total = np.empty(WIDTH)
        _load(matrix, tiles, s * span)
        for t in range(count):
            c0 = s * span + t * WIDTH
            if c0 >= d:
                break
            select(tiles[t], pairs)
            total[:] = 0
            for i in range(trim, n - trim):
                row = tiles[t, i]
                for j in range(WIDTH):
                    total[j] += row[j]
            for j in range(min(WIDTH, d - c0)):
                out[c0 + j] = total[j] / (n - 2 * trim)
    return out


def _count(matrix: np.ndarray) -> int:
    """Return how many tiles make a strip."""
    return max(min(STRIP // (matrix.shape[0] * WIDTH * matrix.itemsize), -(-matrix.shape[1] // WIDTH)), 1)


def median(matrix: np.ndarray) -> np.ndarray:
    """Column medians of ``matrix`` ``(n, d)``, n ≥ 1."""
    matrix, n = np.ascontiguousarray(matrix), matrix.shape[0]
    return _median(matrix, comparators(n, (n - 1) // 2, n // 2 + 1), _count(matrix))


def trimmed_mean(matrix: np.ndarray, trim: int) -> np.ndarray:
    """Column means of ``matrix`` ``(n, d)`` without the `trim` smallest and largest, ``2 trim < n``."""
    matrix, n = np.ascontiguousarray(matrix), matrix.shape[0]
    return _trimmed_mean(matrix, trim, comparators(n, trim, n - trim), _count(matrix))
