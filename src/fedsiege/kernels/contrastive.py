"""InfoNCE over a client's items: draws, loss and gradient, for all clients of a cohort at once."""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.hashing import below, draw
from fedsiege.kernels.jit import njit

MAPPED = 1 << 17


@njit(parallel=True)
def draw_contrasts(indptr, items, clients, keys, negatives, num_items):
    """Draw, for each item of each client, a positive among the client's other items and negatives elsewhere.

    Returns ``(ptr (n+1,), draws int32 (anchors, 2 + negatives))`` with anchor, positive, negatives; negatives are
    distinct within an anchor and never items of the client. A client with fewer than two items draws nothing. An item
    that stands in a row more than once is an anchor, and comes up as a positive, as often.
    """
    n = clients.size
    ptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        first, last = indptr[clients[i]], indptr[clients[i] + 1]
        ptr[i + 1] = ptr[i]
        for e in range(first + 1, last):
            if items[e] != items[first]:
                ptr[i + 1] += last - first
                break
    out = np.empty((ptr[n], 2 + negatives), np.int32)
    for i in prange(n):
        size = ptr[i + 1] - ptr[i]
        if size == 0:
            continue
        mine = items[indptr[clients[i]] : indptr[clients[i] + 1]]
        mapped = num_items <= MAPPED
        held = np.zeros(num_items if mapped else 1, np.bool_)
        ordered = mine
        if mapped:
            for k in range(size):
                held[mine[k]] = True
        else:
            ordered = np.sort(mine)
        counter = np.uint64(0)
        for k in range(size):
            row = out[ptr[i] + k]
            row[0] = mine[k]
            row[1] = row[0]
            while row[1] == row[0]:
                other = below(draw(keys[i], counter), size - 1)
                counter += np.uint64(1)
                row[1] = mine[other + 1 if other >= k else other]
            found = 0
            while found < negatives:
                item = below(draw(keys[i], counter), num_items)
                counter += np.uint64(1)
                if mapped:
                    taken = held[item]
                else:
                    at = np.searchsorted(ordered, item)
                    taken = at < size and ordered[at] == item
                if not taken:
                    for f in range(found):
                        if row[2 + f] == item:
                            taken = True
                            break
                if not taken:
                    row[2 + found] = item
                    found += 1
    return ptr, out


@njit(parallel=True)
def add_gradients(ptr, slots, table, indptr, rows, alpha, values):
    """Add ``−alpha ×`` the gradient of each client's mean InfoNCE loss to its rows; return the losses.

    ``slots`` int32 ``(anchors, 2 + negatives)`` are the draws as places in the client's own row list. Similarity
    is the raw inner product.
    """
    n = ptr.size - 1
    width = slots.shape[1] - 1
    dim = table.shape[1]
    loss = np.zeros(n)
    for i in prange(n):
        count = ptr[i + 1] - ptr[i]
        if count == 0:
            continue
        base = indptr[i]
        logits = np.empty(width, np.float32)
        x = np.empty(dim, np.float32)
        near = np.empty((width, dim), np.float32)
        ga = np.empty(dim, np.float32)
        total = 0.0
        scale = np.float32(alpha / count)
        for k in range(ptr[i], ptr[i + 1]):
            anchor = base + slots[k, 0]
            # Copies, so that the loops below read one block that nothing else writes to.
            r = rows[anchor]
            for j in range(dim):
                x[j] = table[r, j]
                ga[j] = np.float32(0.0)
            for c in range(width):
                r = rows[base + slots[k, 1 + c]]
                for j in range(dim):
                    near[c, j] = table[r, j]
            top = np.float32(-np.inf)
            for c in range(width):
                s = np.float32(0.0)
                for j in range(dim):
                    s += x[j] * near[c, j]
                logits[c] = s
                top = max(top, s)
            norm = np.float32(0.0)
            first = logits[0] - top
            for c in range(width):
                logits[c] = np.exp(logits[c] - top)
                norm += logits[c]
            total += np.log(np.float64(norm)) - np.float64(first)
            for c in range(width):
                weight = logits[c] / norm
                if c == 0:
                    weight -= np.float32(1.0)
                weight *= scale
                e = base + slots[k, 1 + c]
                for j in range(dim):
                    ga[j] += weight * near[c, j]
                for j in range(dim):
                    values[e, j] -= weight * x[j]
            for j in range(dim):
                values[anchor, j] -= ga[j]
        loss[i] = total / count
    return loss
