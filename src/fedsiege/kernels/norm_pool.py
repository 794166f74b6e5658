"""Instance norm, ReLU and 2 × 2 average pooling in one pass: forward, backward, and backward of the backward.

Images lie channel by channel at each pixel (NHWC), so that every loop over channels is one of vectors. An image fits in
the second cache, so it is read from memory once; as three operations it is read and written nine times over.

With N pixels in a plane (one image's channel), x̂ = (x − μ)·r, r = 1 / √(σ² + ε), y = s·x̂ + t and P the pooling:

    out = P max(y, 0)
    g   = [y > 0] · Pᵀdout               dt = Σ g     ds = Σ g·x̂
    dx  = s·r·(g − mean g − x̂·mean(g·x̂))

`norm_pool_twice` is the gradient of ⟨a, dx⟩ + ⟨b, ds⟩ + ⟨c, dt⟩ in `dout`, `x` and `s`.
"""

from __future__ import annotations

import numba
import numpy as np

from fedsiege.kernels.jit import njit


@njit(parallel=True)
def norm_pool(x, scale, shift, eps, mean, rstd, out):
    """Fill `out` ``(n, h // 2, w // 2, c)`` from `x` ``(n, h, w, c)``, and each plane's `mean` and `rstd` ``(n, c)``.

    `scale` and `shift` are ``(c,)``; the variance is that of the population. All have the type of `x`, `eps` too.
    """
    images, height, width, channels = x.shape
    zero, quarter = x.dtype.type(0), x.dtype.type(0.25)
    size = x.dtype.type(height * width)
    for k in numba.prange(images):
        centre, square = mean[k], rstd[k]
        centre[:] = zero
        square[:] = zero
        for i in range(height):
            for j in range(width):
                pixel = x[k, i, j]
                for q in range(channels):
                    centre[q] += pixel[q]
        for q in range(channels):
            centre[q] /= size
        for i in range(height):
            for j in range(width):
                pixel = x[k, i, j]
                for q in range(channels):
                    square[q] += (pixel[q] - centre[q]) * (pixel[q] - centre[q])
        slope = np.empty(channels, x.dtype)
        for q in range(channels):
            square[q] = x.dtype.type(1) / np.sqrt(square[q] / size + eps)
            slope[q] = square[q] * scale[q]
        for i in range(height // 2):
            for j in range(width // 2):
                into = out[k, i, j]
                into[:] = zero
                for u in range(2):
                    for v in range(2):
                        pixel = x[k, 2 * i + u, 2 * j + v]
                        for q in range(channels):
                            y = (pixel[q] - centre[q]) * slope[q] + shift[q]
                            # NaN is not below zero, so it stays.
                            into[q] += zero if y < zero else y
                for q in range(channels):
                    into[q] *= quarter


@njit()
def _through(image, centre, slope, shift, dout, g, total, along):
    """Fill `g` ``(h, w, c)`` with what of `dout` ReLU lets through; `total` and `along` are Σ g and Σ g·(x − μ)."""
    height, width, channels = image.shape
    zero, quarter = image.dtype.type(0), image.dtype.type(0.25)
    total[:] = zero
    along[:] = zero
    for i in range(height // 2):
        for j in range(width // 2):
            above = dout[i, j]
            for u in range(2):
                for v in range(2):
                    pixel, into = image[2 * i + u, 2 * j + v], g[2 * i + u, 2 * j + v]
                    for q in range(channels):
                        away = pixel[q] - centre[q]
                        into[q] = above[q] * quarter if away * slope[q] + shift[q] > zero else zero
                        total[q] += into[q]
                        along[q] += into[q] * away
    # What no window of two by two covers.
    for i in range(height // 2 * 2, height):
        g[i] = zero
    for j in range(width // 2 * 2, width):
        g[:, j] = zero


@njit(parallel=True)
def norm_pool_back(x, scale, shift, mean, rstd, dout, dx, dscale, dshift):
    """Fill `dx` like `x`, and each image's part of the gradients `dscale` and `dshift` ``(n, c)``, from `dout`."""
    images, height, width, channels = x.shape
    size = x.dtype.type(height * width)
    for k in numba.prange(images):
        centre, r, total, along = mean[k], rstd[k], dshift[k], dscale[k]
        slope, steep = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for q in range(channels):
            slope[q] = r[q] * scale[q]
        _through(x[k], centre, slope, shift, dout[k], dx[k], total, along)
        for q in range(channels):
            along[q] *= r[q]
            steep[q] = along[q] * r[q] / size
        for i in range(height):
            for j in range(width):
                pixel, into = x[k, i, j], dx[k, i, j]
                for q in range(channels):
                    into[q] = slope[q] * (into[q] - total[q] / size - (pixel[q] - centre[q]) * steep[q])


@njit(parallel=True)
def norm_pool_twice(x, scale, shift, mean, rstd, dout, a, b, c, ddout, dx, dscale):
    """Fill `ddout` like `dout`, `dx` like `x` and each image's part of `dscale` ``(n, c)``; see the module.

    `a` is like `x`, `b` and `c` are ``(c,)``.
    """
    images, height, width, channels = x.shape
    zero, quarter = x.dtype.type(0), x.dtype.type(0.25)
    size = x.dtype.type(height * width)
    for k in numba.prange(images):
        centre, r = mean[k], rstd[k]
        slope = np.empty(channels, x.dtype)
        for q in range(channels):
            slope[q] = r[q] * scale[q]
        # Means over the plane of a, g, a·x̂, g·x̂ and a·g; `dx` holds g meanwhile.
        moments = np.zeros((5, channels), x.dtype)
        ma, mg, max_, mgx, mag = moments[0], moments[1], moments[2], moments[3], moments[4]
        _through(x[k], centre, slope, shift, dout[k], dx[k], mg, mgx)
        for i in range(height):
            for j in range(width):
                pixel, given, g = x[k, i, j], a[k, i, j], dx[k, i, j]
                for q in range(channels):
                    ma[q] += given[q]
                    max_[q] += given[q] * (pixel[q] - centre[q])
                    mag[q] += given[q] * g[q]
        base, tilt = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for q in range(channels):
            ma[q] /= size
            mg[q] /= size
            mag[q] /= size
            max_[q] *= r[q] / size
            mgx[q] *= r[q] / size
            part = mag[q] - ma[q] * mg[q] - max_[q] * mgx[q]
            dscale[k, q] = size * r[q] * part
            # The gradient in x̂ is −s·r·(a·mgx + g·max) + b·g; these are its mean, and its mean times x̂ with what
            # goes by way of r.
            base[q] = -slope[q] * (ma[q] * mgx[q] + mg[q] * max_[q]) + b[q] * mg[q]
            twice = max_[q] * mgx[q]
            tilt[q] = slope[q] * (part - twice - twice) + b[q] * mgx[q]
        for i in range(height // 2):
            for j in range(width // 2):
                into = ddout[k, i, j]
                into[:] = zero
                for u in range(2):
                    for v in range(2):
                        pixel, given = x[k, 2 * i + u, 2 * j + v], a[k, 2 * i + u, 2 * j + v]
                        for q in range(channels):
                            away = pixel[q] - centre[q]
                            hat = away * r[q]
                            h = slope[q] * (given[q] - ma[q] - max_[q] * hat) + b[q] * hat + c[q]
                            into[q] += h if away * slope[q] + shift[q] > zero else zero
                for q in range(channels):
                    into[q] *= quarter
        for i in range(height):
            for j in range(width):
                pixel, given, into = x[k, i, j], a[k, i, j], dx[k, i, j]
                for q in range(channels):
                    hat = (pixel[q] - centre[q]) * r[q]
                    along = -slope[q] * (given[q] * mgx[q] + into[q] * max_[q]) + b[q] * into[q]
                    into[q] = r[q] * (along - base[q] - hat * tilt[q])
