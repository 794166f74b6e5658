"""Products, softmax, norms and masks of the network kernels, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from fedsiege.kernels.hashing import draw, fill_dropout
from fedsiege.kernels.products import add_product, add_rows, transpose_columns
from fedsiege.kernels.rowwise import drop, normalise, normalise_back, softmax, softmax_back

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("cols", [1, 4, 15, 16, 17, 48, 64, 68, 100, 192])
@pytest.mark.parametrize(("rows", "inner"), [(4, 1), (8, 64), (108, 33)])
def test_add_product(rows, inner, cols):
    a, b, c = normal(rows + 3, inner + 2), normal(inner, cols + 5), normal(rows + 4, cols + 7)
    wanted = c.astype(np.float64)
    wanted[:rows, :cols] += a[:rows, :inner].astype(np.float64) @ b[:, 5:].astype(np.float64)
    turned = c.copy()
    add_product(c, a, b, 5, rows, inner, cols)
    np.testing.assert_allclose(c, wanted, rtol=1e-5, atol=1e-4)
    add_product(turned, np.ascontiguousarray(a.T).T, b, 5, rows, inner, cols)
    np.testing.assert_array_equal(turned, c)


def test_add_rows_works_on_a_part():
    a, b, c = normal(12, 30), normal(40, 50), normal(9, 60)
    wanted = c.astype(np.float64)
    wanted[4:8, 10:43] += a[4:8, 6:23].astype(np.float64) @ b[20:37, 3:36].astype(np.float64)
    add_rows(c, 4, 10, a, 6, b, 20, 3, 17, 33)
    np.testing.assert_allclose(c, wanted, rtol=1e-5, atol=1e-4)


def test_transpose_columns_fills_whole_vectors():
    x, out = normal(21, 9), normal(4, 40)
    rest = out[:, 32:].copy()
    transpose_columns(x, 3, 4, 21, out)
    np.testing.assert_array_equal(out[:, :21], x[:, 3:7].T)
    assert not out[:, 21:32].any()
    np.testing.assert_array_equal(out[:, 32:], rest)


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("count", [1, 2, 16, 100])
def test_softmax(count, spread):
    width = count + 3
    row = (spread * normal(width)).astype(np.float32)
    logits = row[:count].astype(np.float64) * np.float32(0.125)
    wanted = np.exp(logits - logits.max())
    exponents = np.empty(width, np.int32)
    softmax(row, count, width, np.float32(0.125), exponents.view(np.float32), exponents)
    np.testing.assert_allclose(row[:count], wanted / wanted.sum(), rtol=3e-5, atol=1e-35)
    assert not row[count:].any()

    upstream = normal(width)
    gradient = upstream.copy()
    softmax_back(row, gradient, width, np.float32(0.125))
    p = row.astype(np.float64)
    jacobian = np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(gradient, 0.125 * jacobian @ upstream, rtol=1e-4, atol=1e-6)


def test_normalise_and_its_gradient():
    x, scale, shift, dy = normal(5, 24), normal(24), normal(24), normal(5, 24)
    hat, out, rstd = np.empty_like(x), np.empty_like(x), np.empty(5, np.float32)
    normalise(x, 5, scale, shift, hat, rstd, out)
    x64 = x.astype(np.float64)
    wanted = (x64 - x64.mean(1, keepdims=True)) / np.sqrt(x64.var(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(out, wanted * scale + shift, rtol=1e-4, atol=1e-5)

    def value(x: np.ndarray) -> float:
        n = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-8)
        return float(((n * scale + shift) * dy).sum())

    dx, dscale, dshift = np.zeros_like(x), np.zeros(24, np.float32), np.zeros(24, np.float32)
    normalise_back(dy, 5, scale, hat, rstd, dscale, dshift, dx)
    for t, j in ((0, 0), (2, 7), (4, 23)):
        step = np.zeros_like(x64)
        step[t, j] = 1e-5
        assert dx[t, j] == pytest.approx((value(x64 + step) - value(x64 - step)) / 2e-5, rel=1e-3, abs=1e-4)
    np.testing.assert_allclose(dscale, (dy * wanted).sum(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dshift, dy.sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [4, 10, 64])
def test_drop_has_the_lanes_of_fill_dropout(dim):
    x = normal(6, dim)
    words = np.empty(-(-dim // 4), np.uint64)
    out = np.empty_like(x)
    key, threshold, scale = np.uint64(12345), 30000, np.float32(1.5)
    drop(x, 6, dim, key, 7, threshold, scale, words, words.view(np.uint16), out)
    mask = np.empty(dim, np.float32)
    for t in range(6):
        first = (7 + t) * words.size
        assert fill_dropout(mask, words, key, np.uint64(first), threshold, scale) == first + words.size
        np.testing.assert_array_equal(out[t], x[t] * mask)
        for j in range(dim):
            lane = int(draw(key, np.uint64(first + j // 4))) >> 16 * (j % 4) & 0xFFFF
            assert mask[j] == (scale if lane >= threshold else 0)
    drop(x, 6, dim, key, 7, 0, scale, words, words.view(np.uint16), out)
    np.testing.assert_array_equal(out, x)
