"""A self-attentive network over one client's sequence, forward and backward, for use inside a kernel.

Written out by hand because every client needs a gradient of its own: no padding to the longest client, and a
client's working set (about a megabyte) stays in cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedsiege.kernels.attention import attend, attend_back
from fedsiege.kernels.jit import njit
from fedsiege.kernels.products import LANES, add_product, out_of_line
from fedsiege.kernels.rowwise import drop, normalise, normalise_back, rescale


class Weights(NamedTuple):
    """A network, float32; d is the embedding size. `qkv_t` and `ffn_t` are the transposes of `qkv` and `ffn`."""

    position: np.ndarray  # (max_len, d)
    norm: np.ndarray  # (2 layers + 1, 2, d): scale and shift
    qkv: np.ndarray  # (layers, d, 3 d)
    qkv_t: np.ndarray  # (layers, 3 d, d)
    ffn: np.ndarray  # (layers, 2, d, d)
    ffn_t: np.ndarray  # (layers, 2, d, d)
    bias: np.ndarray  # (layers, 2, d)


class Gradients(NamedTuple):
    """What n clients will upload for the network, float32, each parameter contiguous over the clients."""

    position: np.ndarray  # (n, max_len, d)
    norm: np.ndarray  # (2 layers + 1, 2, n, d)
    qkv: np.ndarray  # (layers, 3, n, d, d)
    ffn: np.ndarray  # (layers, 2, n, d, d)
    bias: np.ndarray  # (layers, 2, n, d)


class Dropout(NamedTuple):
    """One stream of draws a client; `threshold` 0 switches dropout off. See `rowwise.drop`."""

    keys: np.ndarray  # uint64 (n,)
    threshold: int
    scale: np.float32


class Scratch(NamedTuple):
    """One thread's buffers; t counts positions, padded to whole vectors."""

    x: np.ndarray  # (t, d): the residual stream, backward its gradient
    z: np.ndarray  # (t, d): output
    hat: np.ndarray  # (2 layers + 1, t, d): normalised activations
    rstd: np.ndarray  # (2 layers + 1, t)
    qkv: np.ndarray  # (layers, t, 3 d)
    prob: np.ndarray  # (layers, heads, t, t): attention
    hidden: np.ndarray  # (layers, t, d): after the rectifier
    a: np.ndarray  # (t, d)
    b: np.ndarray  # (t, d)
    wide: np.ndarray  # (t, 3 d)
    turned: np.ndarray  # (d, t)
    square: np.ndarray  # (t, t)
    powers: np.ndarray  # float32 (t,), the same memory as exponents
    exponents: np.ndarray  # int32 (t,)
    words: np.ndarray  # uint64 (d / 4,), the same memory as lanes
    lanes: np.ndarray  # uint16


@njit()
def make_scratch(longest, dim, layers, heads):
    """Allocate one thread's buffers for up to `longest` positions."""
    t = (longest + LANES - 1) // LANES * LANES
    f = np.float32
    exponents = np.empty(t, np.int32)
    words = np.empty((dim + 3) // 4, np.uint64)
    return Scratch(
        np.empty((t, dim), f),
        np.empty((t, dim), f),
        np.empty((2 * layers + 1, t, dim), f),
        np.empty((2 * layers + 1, t), f),
        np.empty((layers, t, 3 * dim), f),
        np.empty((layers, heads, t, t), f),
        np.empty((layers, t, dim), f),
        np.empty((t, dim), f),
        np.empty((t, dim), f),
        np.empty((t, 3 * dim), f),
        np.empty((dim, t), f),
        np.empty((t, t), f),
        exponents.view(np.float32),
        exponents,
        words,
        words.view(np.uint16),
    )


@njit()
def start(w, l2, i, grads):
    """Set the uploads of client `i` to the descent direction of ``l2 / 2 · ‖network‖²``."""
    out_of_line()
    f = np.float32(-l2)
    dim = w.position.shape[1]
    for t in range(w.position.shape[0]):
        for j in range(dim):
            grads.position[i, t, j] = f * w.position[t, j]
    for k in range(w.norm.shape[0]):
        for part in range(2):
            for j in range(dim):
                grads.norm[k, part, i, j] = f * w.norm[k, part, j]
    for layer in range(w.qkv.shape[0]):
        for part in range(2):
            for j in range(dim):
                grads.bias[layer, part, i, j] = f * w.bias[layer, part, j]
        for r in range(dim):
            for part in range(3):
                for j in range(dim):
                    grads.qkv[layer, part, i, r, j] = f * w.qkv[layer, r, part * dim + j]
            for part in range(2):
                for j in range(dim):
                    grads.ffn[layer, part, i, r, j] = f * w.ffn[layer, part, r, j]


@njit()
def forward(w, heads, embed, rows, i, dropout, table, s):
    """Run client `i`'s input `rows` ``(m,)`` through the network into ``s.z``; return the padded count.

    Item embeddings are multiplied by `embed`. The last row always sits at the last position, as in the source.
    """
    out_of_line()
    key, threshold, scale = dropout.keys[i], dropout.threshold, dropout.scale
    m = rows.size
    count = (m + 3) // 4 * 4
    dim = w.position.shape[1]
    layers = w.qkv.shape[0]
    width = dim // heads
    place = w.position.shape[0] - m
    site = w.position.shape[0]
    s.x[m:count] = np.float32(0.0)
    for t in range(m):
        e, p, x = table[rows[t]], w.position[place + t], s.x[t]
        for j in range(dim):
            x[j] = embed * e[j] + p[j]
    drop(s.x, m, dim, key, 0, threshold, scale, s.words, s.lanes, s.x)
    for layer in range(layers):
        n1, n2 = w.norm[2 * layer], w.norm[2 * layer + 1]
        normalise(s.x, count, n1[0], n1[1], s.hat[2 * layer], s.rstd[2 * layer], s.a)
        s.qkv[layer, :count] = np.float32(0.0)
        add_product(s.qkv[layer], s.a, w.qkv[layer], 0, count, dim, 3 * dim)
        s.b[:count] = np.float32(0.0)
        for h in range(heads):
            attend(s.qkv[layer], h, count, width, dim, s.turned, s.powers, s.exponents, s.prob[layer, h], s.b)
        drop(s.b, count, dim, key, (2 * layer + 1) * site, threshold, scale, s.words, s.lanes, s.b)
        for t in range(count):
            x, y = s.x[t], s.b[t]
            for j in range(dim):
                x[j] += y[j]
        normalise(s.x, count, n2[0], n2[1], s.hat[2 * layer + 1], s.rstd[2 * layer + 1], s.a)
        for t in range(count):
            s.hidden[layer, t] = w.bias[layer, 0]
            s.b[t] = w.bias[layer, 1]
        add_product(s.hidden[layer], s.a, w.ffn[layer, 0], 0, count, dim, dim)
        for t in range(count):
            y = s.hidden[layer, t]
            for j in range(dim):
                y[j] = max(y[j], np.float32(0.0))
        add_product(s.b, s.hidden[layer], w.ffn[layer, 1], 0, count, dim, dim)
        drop(s.b, count, dim, key, (2 * layer + 2) * site, threshold, scale, s.words, s.lanes, s.b)
        for t in range(count):
            x, y = s.x[t], s.b[t]
            for j in range(dim):
                x[j] += y[j]
    last = w.norm[2 * layers]
    normalise(s.x, count, last[0], last[1], s.hat[2 * layers], s.rstd[2 * layers], s.z)
    return count


@njit()
def _add_columns(x, rows, out):
    for t in range(rows):
        y = x[t]
        for j in range(out.size):
            out[j] += y[j]


@njit()
def backward(w, heads, m, count, i, dropout, s, grads):
    """Carry ``s.b``, the gradient of the output, back; add up client `i`'s gradients, leave the input's in ``s.x``."""
    out_of_line()
    key, threshold, scale = dropout.keys[i], dropout.threshold, dropout.scale
    dim = w.position.shape[1]
    layers = w.qkv.shape[0]
    width = dim // heads
    site = w.position.shape[0]
    dx = s.x
    dx[:count] = np.float32(0.0)
    g = grads.norm[2 * layers]
    normalise_back(s.b, count, w.norm[2 * layers, 0], s.hat[2 * layers], s.rstd[2 * layers], g[0, i], g[1, i], dx)
    for back in range(layers):
        layer = layers - 1 - back
        n1, n2 = w.norm[2 * layer], w.norm[2 * layer + 1]
        dy, dh = s.b, s.a
        drop(dx, count, dim, key, (2 * layer + 2) * site, threshold, scale, s.words, s.lanes, dy)
        dh[:count] = np.float32(0.0)
        add_product(dh, dy, w.ffn_t[layer, 1], 0, count, dim, dim)
        for t in range(count):
            y, kept = dh[t], s.hidden[layer, t]
            for j in range(dim):
                y[j] = y[j] if kept[j] > 0 else np.float32(0.0)
        add_product(grads.ffn[layer, 1, i], s.hidden[layer].T, dy, 0, dim, count, dim)
        _add_columns(dy, count, grads.bias[layer, 1, i])
        _add_columns(dh, count, grads.bias[layer, 0, i])
        rescale(s.hat[2 * layer + 1], count, n2[0], n2[1], dy)
        add_product(grads.ffn[layer, 0, i], dy.T, dh, 0, dim, count, dim)
        dy[:count] = np.float32(0.0)
        add_product(dy, dh, w.ffn_t[layer, 0], 0, count, dim, dim)
        g = grads.norm[2 * layer + 1]
        normalise_back(dy, count, n2[0], s.hat[2 * layer + 1], s.rstd[2 * layer + 1], g[0, i], g[1, i], dx)

        drop(dx, count, dim, key, (2 * layer + 1) * site, threshold, scale, s.words, s.lanes, s.b)
        s.wide[:count] = np.float32(0.0)
        for h in range(heads):
            attend_back(s.qkv[layer], h, count, width, dim, s.turned, s.prob[layer, h], s.square, s.b, s.wide)
        rescale(s.hat[2 * layer], count, n1[0], n1[1], s.a)
        for part in range(3):
            add_product(grads.qkv[layer, part, i], s.a.T, s.wide, part * dim, dim, count, dim)
        s.a[:count] = np.float32(0.0)
        add_product(s.a, s.wide, w.qkv_t[layer], 0, count, 3 * dim, dim)
        g = grads.norm[2 * layer]
        normalise_back(s.a, count, n1[0], s.hat[2 * layer], s.rstd[2 * layer], g[0, i], g[1, i], dx)
    drop(dx, m, dim, key, 0, threshold, scale, s.words, s.lanes, dx)
    position = grads.position[i]
    place = w.position.shape[0] - m
    for t in range(m):
        for j in range(dim):
            position[place + t, j] += dx[t, j]
