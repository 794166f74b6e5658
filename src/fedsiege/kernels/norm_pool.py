"""Instance norm, ReLU and 2 × 2 average pooling of planes in one pass, forward and backward.

A plane fits in the first cache, so each is read from memory once; as three operations they read and write it nine
times over.
"""

from __future__ import annotations

import numba
import numpy as np

from fedsiege.kernels.jit import njit

QUARTER = np.float32(0.25)


@njit(parallel=True)
def norm_pool(x, scale, shift, eps, mean, rstd, out):
    """Fill `out` ``(p, h // 2, w // 2)`` from planes `x` ``(p, h, w)``, and each plane's `mean` and `rstd` ``(p,)``.

    Plane k belongs to channel k mod c of `scale` and `shift` ``(c,)``; the variance is that of the population.
    """
    planes, height, width = x.shape
    size = np.float32(height * width)
    for k in numba.prange(planes):
        channel = k % scale.size
        total = np.float32(0.0)
        for i in range(height):
            row = x[k, i]
            for j in range(width):
                total += row[j]
        centre = total / size
        square = np.float32(0.0)
        for i in range(height):
            row = x[k, i]
            for j in range(width):
                square += (row[j] - centre) * (row[j] - centre)
        r = np.float32(1.0) / np.sqrt(square / size + eps)
        mean[k], rstd[k] = centre, r
        a, b = r * scale[channel], shift[channel]
        for i in range(height // 2):
            top, low, into = x[k, 2 * i], x[k, 2 * i + 1], out[k, i]
            for j in range(width // 2):
                total = np.float32(0.0)
                # NaN is not below zero, so it stays.
                for v in (top[2 * j], top[2 * j + 1], low[2 * j], low[2 * j + 1]):
                    y = (v - centre) * a + b
                    total += np.float32(0.0) if y < np.float32(0.0) else y
                into[j] = total * QUARTER


@njit(parallel=True)
def norm_pool_back(x, scale, shift, mean, rstd, dout, dx, dscale, dshift):
    """Fill `dx` ``(p, h, w)``, and each plane's part of the gradients `dscale` and `dshift` ``(p,)``, from `dout`."""
    planes, height, width = x.shape
    size = np.float32(height * width)
    for k in numba.prange(planes):
        channel = k % scale.size
        r, centre = rstd[k], mean[k]
        a, b = r * scale[channel], shift[channel]
        total = np.float32(0.0)
        along = np.float32(0.0)
        for i in range(height // 2 * 2):
            row, into, above = x[k, i], dx[k, i], dout[k, i // 2]
            for j in range(width // 2):
                for q in (2 * j, 2 * j + 1):
                    g = above[j] * QUARTER if (row[q] - centre) * a + b > np.float32(0.0) else np.float32(0.0)
                    into[q] = g
                    total += g
                    along += g * (row[q] - centre)
            for j in range(width // 2 * 2, width):
                into[j] = np.float32(0.0)
        for i in range(height // 2 * 2, height):
            for j in range(width):
                dx[k, i, j] = np.float32(0.0)
        dshift[k] = total
        dscale[k] = along * r
        total /= size
        along *= r * r / size
        for i in range(height):
            row, into = x[k, i], dx[k, i]
            for j in range(width):
                into[j] = a * (into[j] - total - (row[j] - centre) * along)
