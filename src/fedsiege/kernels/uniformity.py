"""How each upload would change the uniformity of the item table: sums over the rows it touches only."""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit


@njit(parallel=True)
def shifts(indptr, place, moves, idle, base, multiplicity, mean):
    """Change of T·(mean‖v‖²) and of T·mean v that each upload makes, in float64.

    Parameters
    ----------
    indptr : entries of each upload.
    place : int64 ``(nnz,)``: place of the entry's row among the sampled rows, −1 if it was not sampled.
    moves : ``(nnz, dim)``: how far the upload moves the row.
    idle : ``(sampled, dim)``: how far a row would move without the upload, taken off.
    base : ``(sampled, dim)``: the rows before.
    multiplicity : int64 ``(sampled,)``: how often a row was drawn.
    mean : float64 ``(dim,)``: the mean of the drawn rows, taken off first so that squares do not cancel.

    Returns
    -------
    second : float64 ``(n,)``
        Σ c·(‖v − mean + δ‖² − ‖v − mean‖²).
    first : float64 ``(n, dim)``
        Σ c·δ.
    """
    n = indptr.size - 1
    dim = moves.shape[1]
    second = np.zeros(n)
    first = np.zeros((n, dim))
    for i in prange(n):
        for e in range(indptr[i], indptr[i + 1]):
            p = place[e]
            if p < 0:
                continue
            c = np.float64(multiplicity[p])
            part = 0.0
            for j in range(dim):
                d = np.float64(moves[e, j]) - np.float64(idle[p, j])
                part += d * (2.0 * (np.float64(base[p, j]) - mean[j]) + d)
                first[i, j] += c * d
            second[i] += c * part
    return second, first
