"""Causal attention of one head over one sequence, forward and backward, on the lower triangle alone."""

from __future__ import annotations

import numpy as np

from fedsiege.kernels.jit import njit
from fedsiege.kernels.products import LANES, add_rows, out_of_line, transpose_columns
from fedsiege.kernels.rowwise import softmax, softmax_back


@njit()
def reach(i):
    """Columns that the block of four rows with row `i` works on: those up to the diagonal, in whole vectors."""
    return (i // 4 * 4 + 4 + LANES - 1) // LANES * LANES


@njit()
def _lower(c, a, first_a, b, count, width):
    """Lower triangle of ``c = a[:, first_a:first_a+width] @ b[:width]``, each row up to `reach` columns."""
    for i in range(0, count, 4):
        for r in range(4):
            c[i + r, : reach(i)] = np.float32(0.0)
        add_rows(c, i, 0, a, first_a, b, 0, 0, width, reach(i))


@njit()
def attend(qkv, h, count, width, dim, turned, powers, exponents, prob, out):
    """Add the output of head `h` to `out` ``(t, d)``, columns of that head, and keep the probabilities.

    Parameters
    ----------
    qkv : float32 ``(t, 3 d)``: queries, keys and values of all heads.
    h, count, width, dim : head, padded number of positions, columns of a head, d.
    turned, powers, exponents : scratch, see `fedsiege.kernels.transformer.Scratch`.
    prob : float32 ``(t, t)``: written, row i up to ``reach(i)`` columns.
    """
    out_of_line()
    first = h * width
    factor = np.float32(1.0 / np.sqrt(width))
    transpose_columns(qkv, dim + first, width, count, turned)
    _lower(prob, qkv, first, turned, count, width)
    for i in range(count):
        softmax(prob[i], i + 1, reach(i), factor, powers, exponents)
    for i in range(0, count, 4):
        add_rows(out, i, first, prob, 0, qkv, 0, 2 * dim + first, i + 4, width)


@njit()
def attend_back(qkv, h, count, width, dim, turned, prob, dp, dout, dqkv):
    """Add the gradient of `attend` to `dqkv` ``(t, 3 d)``, given that of its output; `dp` ``(t, t)`` is scratch."""
    out_of_line()
    first = h * width
    factor = np.float32(1.0 / np.sqrt(width))
    transpose_columns(qkv, 2 * dim + first, width, count, turned)
    _lower(dp, dout, first, turned, count, width)
    for i in range(count):
        softmax_back(prob[i], dp[i], reach(i), factor)
    for i in range(0, count, 4):
        add_rows(dqkv, i, first, dp, 0, qkv, 0, dim + first, i + 4, width)
        add_rows(dqkv, i, dim + first, dp.T, i, qkv, i, first, count - i, width)
        add_rows(dqkv, i, 2 * dim + first, prob.T, i, dout, i, first, count - i, width)
