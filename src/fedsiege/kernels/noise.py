"""Random numbers for uploads, each a function of (client's key, table row, column) alone.

So a client's noise does not depend on its place in the cohort, on who else is there or on which rows it
holds.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.hashing import draw
from fedsiege.kernels.jit import njit


@njit()
def _uniform(key, counter):
    """A number in the open interval (0, 1) at `counter` of the stream `key`."""
    # 52 bits and a half: with 53 the largest would round to 1.
    return (np.float64(draw(key, counter) >> np.uint64(12)) + 0.5) * 2.0**-52


@njit(parallel=True)
def uniforms(indptr, rows, width, keys):
    """U(0, 1) numbers, ends excluded, float64 ``(nnz, width)``, for uploads laid out as in `rows`."""
    out = np.empty((rows.size, width))
    for i in prange(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            first = np.uint64(rows[e]) * np.uint64(width)
            for j in range(width):
                out[e, j] = _uniform(keys[i], first + np.uint64(j))
    return out


@njit(parallel=True)
def signed_tails(indptr, rows, width, keys):
    """U(0, 1) numbers u (see `uniforms`) as ±2·min(u, 1 − u), with the sign of u − 1/2; float64 ``(nnz, width)``."""
    out = np.empty((rows.size, width))
    for i in prange(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            first = np.uint64(rows[e]) * np.uint64(width)
            for j in range(width):
                u = _uniform(keys[i], first + np.uint64(j))
                out[e, j] = 2.0 * (1.0 - u) if u > 0.5 else -2.0 * u
    return out


@njit(parallel=True)
def add_where_flat(indptr, values, later, tails, logs, width):
    """Copy of `values` with Laplace noise wherever |later − value| ≤ |noise|.

    The noise is ``−b·logs`` with the sign of `tails`: the inverse of the distribution function. ``width`` float64
    ``(n,)`` is each upload's b (standard deviation √2·b).
    """
    out = np.empty_like(values)
    for i in prange(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            for j in range(values.shape[1]):
                size = -width[i] * logs[e, j]
                value = np.float64(values[e, j])
                if abs(np.float64(later[e, j]) - value) <= size:
                    value += size if tails[e, j] > 0.0 else -size
                out[e, j] = value
    return out
