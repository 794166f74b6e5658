"""Row-wise pieces of a network for use inside a kernel: layer norm, softmax and dropout, forward and backward."""

from __future__ import annotations

import numpy as np

from fedsiege.kernels.hashing import fill_words
from fedsiege.kernels.jit import njit

EPS = np.float32(1e-8)
LOG2E = np.float32(1.4426950408889634)
C1, C2, C3, C4, C5, C6, C7 = (np.float32(np.log(2.0) ** k / f) for k, f in enumerate((1, 2, 6, 24, 120, 720, 5040), 1))


@njit()
def normalise(x, rows, scale, shift, hat, rstd, out):
    """Layer norm (Ba et al., 2016) of the first `rows` rows: ``out = hat * scale + shift``."""
    dim = scale.size
    for t in range(rows):
        src, h, o = x[t], hat[t], out[t]
        mean = np.float32(0.0)
        for j in range(dim):
            mean += src[j]
        mean /= np.float32(dim)
        var = np.float32(0.0)
        for j in range(dim):
            var += (src[j] - mean) * (src[j] - mean)
        r = np.float32(1.0) / np.sqrt(var / np.float32(dim) + EPS)
        rstd[t] = r
        for j in range(dim):
            y = (src[j] - mean) * r
            h[j] = y
            o[j] = y * scale[j] + shift[j]


@njit()
def rescale(hat, rows, scale, shift, out):
    """Make ``out = hat * scale + shift`` again from the kept `hat`."""
    for t in range(rows):
        h, o = hat[t], out[t]
        for j in range(scale.size):
            o[j] = h[j] * scale[j] + shift[j]


@njit()
def normalise_back(dy, rows, scale, hat, rstd, dscale, dshift, dx):
    """Add the gradient of `normalise` to `dx` ``(rows, dim)`` and to `dscale`, `dshift` ``(dim,)``."""
    dim = scale.size
    for t in range(rows):
        g, h, d = dy[t], hat[t], dx[t]
        total = np.float32(0.0)
        along = np.float32(0.0)
        for j in range(dim):
            s = g[j] * scale[j]
            total += s
            along += s * h[j]
        total /= np.float32(dim)
        along /= np.float32(dim)
        r = rstd[t]
        for j in range(dim):
            d[j] += r * (g[j] * scale[j] - total - h[j] * along)
            dscale[j] += g[j] * h[j]
            dshift[j] += g[j]


@njit()
def softmax(row, count, width, factor, powers, exponents):
    """Softmax of ``factor * row[:count]`` in place; ``row[count:width]`` becomes zero.

    `powers` float32 and `exponents` int32 are one scratch vector seen in two ways. exp(x) is 2^n · 2^r with
    integer n, made by its bits, and |r| ≤ 1/2, by its series (relative error below 1e-7): a loop that can be
    vectorised, unlike a library's exp.
    """
    top = row[0]
    for j in range(1, count):
        top = max(top, row[j])
    for j in range(count):
        y = max((row[j] - top) * factor * LOG2E, np.float32(-126.0))
        n = np.floor(y + np.float32(0.5))
        r = y - n
        exponents[j] = (np.int32(n) + np.int32(127)) << np.int32(23)
        row[j] = np.float32(1.0) + r * (C1 + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * C7))))))
    total = np.float32(0.0)
    for j in range(count):
        row[j] *= powers[j]
        total += row[j]
    inverse = np.float32(1.0) / total
    for j in range(count):
        row[j] *= inverse
    for j in range(count, width):
        row[j] = np.float32(0.0)


@njit()
def softmax_back(p, dp, width, factor):
    """Turn `dp`, the gradient of the probabilities `p`, into that of the unscaled scores, in place."""
    inner = np.float32(0.0)
    for j in range(width):
        inner += p[j] * dp[j]
    for j in range(width):
        dp[j] = factor * p[j] * (dp[j] - inner)


@njit()
def fill_lanes(words, key, place):
    """Fill `words` uint64 with the draws of row `place` of stream `key`; their 16-bit lanes decide on dropout.

    The lanes are those of :func:`fedsiege.kernels.hashing.fill_dropout` from counter ``place * words.size``.
    """
    fill_words(words, key, np.uint64(place) * np.uint64(words.size))


@njit()
def drop(source, rows, dim, key, place, threshold, scale, words, lanes, out):
    """``out[t] = source[t] * mask[t]`` for the rows of a client; the mask is a function of (key, place + t).

    `words` uint64 and `lanes` uint16 are one scratch vector seen in two ways; `out` may be `source`.
    """
    for t in range(rows):
        src, o = source[t], out[t]
        if threshold == 0:
            for j in range(dim):
                o[j] = src[j]
        else:
            fill_lanes(words, key, place + t)
            for j in range(dim):
                o[j] = src[j] * scale if np.int32(lanes[j]) >= threshold else np.float32(0.0)
