"""One full-batch gradient of matrix factorisation under BPR, for all clients of a cohort at once."""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.hashing import fill_dropout
from fedsiege.kernels.jit import njit


@njit(parallel=True)
def gather_pairs(indptr, items, negatives, clients):
    """Training pairs of `clients`: ``(ptr (n+1,), pairs int32 (total, 2))`` with positive, negative."""
    n = clients.size
    ptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        ptr[i + 1] = ptr[i] + indptr[clients[i] + 1] - indptr[clients[i]]
    pairs = np.empty((ptr[n], 2), np.int32)
    for i in prange(n):
        s = indptr[clients[i]]
        for k in range(ptr[i + 1] - ptr[i]):
            pairs[ptr[i] + k, 0] = items[s + k]
            pairs[ptr[i] + k, 1] = negatives[s + k]
    return ptr, pairs


@njit(parallel=True)
def gradients(ptr, slots, users, table, indptr, rows, keys, threshold, scale, values):
    """Add the *descent* direction of each client's mean BPR loss to its rows; return loss and user part.

    Parameters
    ----------
    ptr, slots : pairs of each client as places in its own row list, int32 ``(total, 2)``.
    users : float32 ``(n, dim)``, the clients' embeddings.
    table : float32 ``(items, dim)``.
    indptr, rows, values : the clients' row lists and, float32 ``(nnz, dim)``, what they will upload.
    keys : uint64 ``(n,)``, one dropout stream a client.
    threshold, scale : dropout as in :func:`fedsiege.kernels.hashing.fill_dropout`; 0 and 1 switch it off.

    Returns
    -------
    loss : float64 ``(n,)``, mean over a client's pairs of −log(σ(x) + 1e-8).
    user_grad : float32 ``(n, dim)``, the gradient (not its negative) with respect to `users`.
    """
    n, dim = users.shape
    loss = np.zeros(n)
    user_grad = np.zeros((n, dim), np.float32)
    for i in prange(n):
        count = ptr[i + 1] - ptr[i]
        if count == 0:
            continue
        base = indptr[i]
        u = users[i]
        gu = user_grad[i]
        mask_u = np.full(dim, np.float32(1.0))
        mask_p = np.full(dim, np.float32(1.0))
        mask_n = np.full(dim, np.float32(1.0))
        words = np.empty((dim + 3) // 4, np.uint64)
        counter = np.uint64(0)
        total = 0.0
        for k in range(ptr[i], ptr[i + 1]):
            sp = base + slots[k, 0]
            sn = base + slots[k, 1]
            if threshold > 0:
                counter = fill_dropout(mask_u, words, keys[i], counter, threshold, scale)
                counter = fill_dropout(mask_p, words, keys[i], counter, threshold, scale)
                counter = fill_dropout(mask_n, words, keys[i], counter, threshold, scale)
            p = table[rows[sp]]
            q = table[rows[sn]]
            x = np.float32(0.0)
            for j in range(dim):
                x += u[j] * mask_u[j] * (p[j] * mask_p[j] - q[j] * mask_n[j])
            sig = 1.0 / (1.0 + np.exp(-np.float64(x)))
            total -= np.log(sig + 1e-8)
            c = np.float32(sig * (1.0 - sig) / (sig + 1e-8) / count)
            vp = values[sp]
            vn = values[sn]
            for j in range(dim):
                cu = c * u[j] * mask_u[j]
                gu[j] -= c * mask_u[j] * (p[j] * mask_p[j] - q[j] * mask_n[j])
                vp[j] += cu * mask_p[j]
                vn[j] -= cu * mask_n[j]
        loss[i] = total / count
    return loss, user_grad


@njit(parallel=True)
def add_decay(indptr, rows, table, weights, values):
    """Add ``−weights[i] × table[row]`` to each entry of client i (L2 regularisation of the rows it touches)."""
    for i in prange(indptr.size - 1):
        if weights[i] != 0:
            w = np.float32(weights[i])
            for e in range(indptr[i], indptr[i + 1]):
                for j in range(values.shape[1]):
                    values[e, j] -= w * table[rows[e], j]
