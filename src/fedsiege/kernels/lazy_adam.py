"""Adam on rows of a table, with the steps of zero gradient put off until a row is read.

Dense Adam moves a row in every step, by its momentum, even when the row's gradient is zero. Those moves depend
on the row alone, so they can be replayed when the row is next needed: same values, cost by touched rows only.
``m`` and ``v`` are kept as of step ``touched``; ``w`` is current up to step ``fresh``. Whatever the moments at
which a row is read, the same moves happen in the same order, hence the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit

POWERS = 256


@njit()
def _replay_row(w, m, v, touched, fresh, clock, lr, beta1, beta2, eps, cut):
    last = min(clock, touched + cut)
    for t in range(fresh + 1, last + 1):
        k = t - touched
        c1 = np.float32(lr * beta1**k / (1.0 - beta1**t))
        c2 = np.float32(np.sqrt(beta2**k / (1.0 - beta2**t)))
        e = np.float32(eps)
        for j in range(w.size):
            w[j] -= c1 * m[j] / (np.sqrt(v[j]) * c2 + e)


@njit(parallel=True)
def replay(w, m, v, touched, fresh, rows, clock, lr, beta1, beta2, eps, cut):
    """Bring ``w[rows]`` up to step `clock`; rows must be distinct."""
    for i in prange(rows.size):
        r = rows[i]
        if touched[r] >= 0 and fresh[r] < clock:
            _replay_row(w[r], m[r], v[r], touched[r], fresh[r], clock, lr, beta1, beta2, eps, cut)
            fresh[r] = clock


@njit(parallel=True)
def step(w, m, v, touched, fresh, rows, grad, clock, lr, beta1, beta2, eps, cut):
    """Replay ``rows`` to step ``clock − 1``, then take step `clock` with gradient `grad` ``(len(rows), dim)``."""
    c1 = np.float32(lr / (1.0 - beta1**clock))
    c2 = np.float32(1.0 / np.sqrt(1.0 - beta2**clock))
    e = np.float32(eps)
    a1 = np.float32(1.0 - beta1)
    a2 = np.float32(1.0 - beta2)
    for i in prange(rows.size):
        r = rows[i]
        wr, mr, vr, g = w[r], m[r], v[r], grad[i]
        d1 = np.float32(0.0)
        d2 = np.float32(0.0)
        if touched[r] >= 0:
            if fresh[r] < clock - 1:
                _replay_row(wr, mr, vr, touched[r], fresh[r], clock - 1, lr, beta1, beta2, eps, cut)
            k = clock - touched[r]
            d1 = np.float32(beta1**k)
            d2 = np.float32(beta2**k)
        for j in range(wr.size):
            mr[j] = d1 * mr[j] + a1 * g[j]
            vr[j] = d2 * vr[j] + a2 * g[j] * g[j]
            wr[j] -= c1 * mr[j] / (np.sqrt(vr[j]) * c2 + e)
        touched[r] = clock
        fresh[r] = clock


@njit(parallel=True)
def look_ahead(m, v, touched, rows, update, clock, lr, beta1, beta2, eps):
    """Move that step `clock` would make in ``rows`` under gradient ``−update``, float32, nothing changed."""
    out = np.empty(update.shape, np.float32)
    # Powers are looked up: a row was mostly touched a few steps ago, and a power costs more than the row's move.
    near = np.arange(POWERS)
    powers1 = (beta1**near).astype(np.float32)
    powers2 = (beta2**near).astype(np.float32)
    c1 = np.float32(lr / (1.0 - beta1**clock))
    c2 = np.float32(1.0 / np.sqrt(1.0 - beta2**clock))
    a1 = np.float32(1.0 - beta1)
    a2 = np.float32(1.0 - beta2)
    e = np.float32(eps)
    for i in prange(rows.size):
        r = rows[i]
        d1 = np.float32(0.0)
        d2 = np.float32(0.0)
        if touched[r] >= 0:
            k = clock - touched[r]
            d1 = powers1[k] if k < POWERS else np.float32(beta1**k)
            d2 = powers2[k] if k < POWERS else np.float32(beta2**k)
        u, mr, vr, o = update[i], m[r], v[r], out[i]
        for j in range(u.size):
            g = -np.float32(u[j])
            o[j] = -c1 * (d1 * mr[j] + a1 * g) / (np.sqrt(d2 * vr[j] + a2 * g * g) * c2 + e)
    return out


@njit(parallel=True)
def idle_ahead(m, v, touched, rows, clock, lr, beta1, beta2, eps):
    """Move that step `clock` would make in ``rows`` without a gradient, float32, nothing changed."""
    out = np.zeros((rows.size, m.shape[1]), np.float32)
    e = np.float32(eps)
    for i in prange(rows.size):
        r = rows[i]
        if touched[r] < 0:
            continue
        k = clock - touched[r]
        c1 = np.float32(lr * beta1**k / (1.0 - beta1**clock))
        c2 = np.float32(np.sqrt(beta2**k / (1.0 - beta2**clock)))
        for j in range(m.shape[1]):
            out[i, j] = -c1 * m[r, j] / (np.sqrt(v[r, j]) * c2 + e)
    return out
