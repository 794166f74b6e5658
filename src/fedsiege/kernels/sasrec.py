"""One full-batch gradient of SASRec under BPR, one client after another on each thread.

The bits of a client depend on nothing but its own data, its key and the model.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit
from fedsiege.kernels.transformer import backward, forward, make_scratch, start


@njit(parallel=True)
def gather_positions(indptr, items, negatives, clients, max_len):
    """Input, positive and negative item at each position of `clients`: ``(ptr (n+1,), int32 (total, 3))``.

    At a position the client has seen the input, the positive is the item that came next, and the negative is the
    one stored with that positive. Only the last `max_len` positions are kept.
    """
    n = clients.size
    ptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        size = indptr[clients[i] + 1] - indptr[clients[i]]
        ptr[i + 1] = ptr[i] + min(max(size - 1, 0), max_len)
    triples = np.empty((ptr[n], 3), np.int32)
    for i in prange(n):
        first = indptr[clients[i] + 1] - (ptr[i + 1] - ptr[i])
        for t in range(ptr[i + 1] - ptr[i]):
            triples[ptr[i] + t, 0] = items[first + t - 1]
            triples[ptr[i] + t, 1] = items[first + t]
            triples[ptr[i] + t, 2] = negatives[first + t]
    return ptr, triples


@njit()
def _pair_loss(mine, count, table, rows, values, s):
    """Mean BPR loss of one client given its output ``s.z``; its gradients go to ``s.b`` and `values`, negated."""
    m = mine.shape[0]
    total = 0.0
    s.b[m:count] = np.float32(0.0)
    for t in range(m):
        p, q = table[rows[mine[t, 1]]], table[rows[mine[t, 2]]]
        vp, vq = values[mine[t, 1]], values[mine[t, 2]]
        z, dz = s.z[t], s.b[t]
        x = np.float32(0.0)
        for j in range(z.size):
            x += z[j] * (p[j] - q[j])
        sig = 1.0 / (1.0 + np.exp(-np.float64(x)))
        total -= np.log(sig + 1e-8)
        c = np.float32(sig * (1.0 - sig) / (sig + 1e-8) / m)
        for j in range(z.size):
            dz[j] = c * (p[j] - q[j])
            vp[j] += c * z[j]
            vq[j] -= c * z[j]
    return total / m


@njit()
def _client(w, heads, embed, l2, mine, table, rows, dropout, i, s, grads, values):
    """Loss and gradients of client `i`. Kept out of the parallel loop, whose rewriting by numba 0.68 lost stores."""
    start(w, l2, i, grads)
    m = mine.shape[0]
    if m == 0:
        return 0.0
    count = forward(w, heads, embed, rows[mine[:, 0]], i, dropout, table, s)
    loss = _pair_loss(mine, count, table, rows, values, s)
    backward(w, heads, m, count, i, dropout, s, grads)
    for t in range(m):
        v, dx = values[mine[t, 0]], s.x[t]
        for j in range(dx.size):
            v[j] += embed * dx[j]
    return loss


@njit(parallel=True)
def gradients(w, heads, embed, l2, ptr, slots, table, indptr, rows, dropout, order, bounds, grads, values):
    """Write the *descent* direction of each client's mean BPR loss and L2 term to its uploads; return the losses.

    Parameters
    ----------
    w, heads, embed : the network, its attention heads, and the factor on item embeddings.
    l2 : strength of the L2 term on the network; that on item rows is the caller's.
    ptr, slots : each client's positions: input, positive, negative as places in its own row list,
        int32 ``(total, 3)``.
    table : float32 ``(items, d)``.
    indptr, rows, values : the clients' row lists and, float32 ``(nnz, d)``, what they will upload, added to.
    dropout : see `Dropout`.
    order, bounds : thread k works on the clients ``order[bounds[k]:bounds[k + 1]]``.
    grads : overwritten.

    Returns
    -------
    float64 ``(n,)``: mean over a client's positions of −log(σ(x) + 1e-8), as in the project's MF.
    """
    n = ptr.size - 1
    loss = np.zeros(n)
    longest = 0
    for i in range(n):
        longest = max(longest, ptr[i + 1] - ptr[i])
    for thread in prange(bounds.size - 1):
        s = make_scratch(longest, table.shape[1], w.qkv.shape[0], heads)
        for o in range(bounds[thread], bounds[thread + 1]):
            i = order[o]
            mine = slots[ptr[i] : ptr[i + 1]]
            e = indptr[i]
            loss[i] = _client(w, heads, embed, l2, mine, table, rows[e:], dropout, i, s, grads, values[e:])
    return loss


@njit()
def _last(w, heads, embed, items, i, dropout, table, s, out):
    """Representation at the last position of one sequence."""
    if items.size == 0:
        out[:] = np.float32(0.0)
        return
    forward(w, heads, embed, items, i, dropout, table, s)
    out[:] = s.z[items.size - 1]


@njit(parallel=True)
def represent(w, heads, embed, ptr, items, dropout, table, order, bounds, out):
    """Write the representation at the last position of each sequence ``items[ptr[i]:ptr[i+1]]`` to `out` ``(n, d)``.

    Pass a `dropout` that is off. Sequences are not longer than the position table; an empty one gives zeros.
    """
    longest = 0
    for i in range(ptr.size - 1):
        longest = max(longest, ptr[i + 1] - ptr[i])
    for thread in prange(bounds.size - 1):
        s = make_scratch(longest, table.shape[1], w.qkv.shape[0], heads)
        for o in range(bounds[thread], bounds[thread + 1]):
            i = order[o]
            _last(w, heads, embed, items[ptr[i] : ptr[i + 1]], i, dropout, table, s, out[i])
    return out
