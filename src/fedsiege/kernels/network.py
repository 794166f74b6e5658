"""Batcher's merge-exchange sorting network over rows, vectorised across columns.

Source: D. E. Knuth, The Art of Computer Programming, vol. 3, section 5.2.2, algorithm M (any number of rows).
A compare-exchange of two rows is a pair of minima and maxima over contiguous columns, so a tile that fits the
first-level caches is sorted without a branch.
"""

from __future__ import annotations

import numpy as np

from fedsiege.kernels.jit import njit


@njit()
def sort_rows(tile, n, width):
    """Sort the first `n` rows of ``tile`` (rows × columns) ascending in each of the first `width` columns."""
    if n < 2:
        return
    t = 0
    while (1 << t) < n:
        t += 1
    p = 1 << (t - 1)
    while p > 0:
        q = 1 << (t - 1)
        r = 0
        d = p
        while True:
            for i in range(n - d):
                if (i & p) == r:
                    a = tile[i]
                    b = tile[i + d]
                    for j in range(width):
                        x = a[j]
                        y = b[j]
                        a[j] = min(x, y)
                        b[j] = max(x, y)
            if q == p:
                break
            d = q - p
            q >>= 1
            r = p
        p >>= 1


@njit()
def ranked(tile, count, zeros, rank, j):
    """Value of 0-based `rank` in column `j` of `count` sorted rows joined by `zeros` more entries of zero."""
    below = 0
    while below < count and tile[below, j] < 0:
        below += 1
    if rank < below:
        return tile[rank, j]
    if rank < below + zeros:
        return tile[0, j] * 0
    return tile[rank - zeros, j]


@njit()
def trimmed_column(tile, count, zeros, trim, j):
    """Mean of the ranks ``trim … n − trim − 1`` of column `j`, where n is ``count + zeros`` (float64)."""
    n = count + zeros
    below = 0
    while below < count and tile[below, j] < 0:
        below += 1
    total = 0.0
    for rank in range(trim, min(below, n - trim)):
        total += np.float64(tile[rank, j])
    for rank in range(max(trim, below + zeros), n - trim):
        total += np.float64(tile[rank - zeros, j])
    return total / (n - 2 * trim)
