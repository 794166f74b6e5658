"""Which table rows each client touches, and where in its own list each of its draws stands."""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit


@njit()
def _sorted_unique(drawn, out):
    """Write the distinct values of `drawn`, ascending, into `out`; return how many there are."""
    ordered = np.sort(drawn)
    count = 0
    for i in range(ordered.size):
        if count == 0 or ordered[i] != out[count - 1]:
            out[count] = ordered[i]
            count += 1
    return count


@njit(parallel=True)
def row_sets(ptr_a, a, ptr_b, b, num_rows):
    """Distinct rows of each client over two kinds of draws, ascending, and each draw's place among them.

    Client i draws the table rows ``a[ptr_a[i]:ptr_a[i+1]]`` and ``b[ptr_b[i]:ptr_b[i+1]]`` (flat int32).
    Returns ``(indptr int64 (n+1,), rows int64, slot_a int32, slot_b int32)``.
    """
    n = ptr_a.size - 1
    slot_a = np.empty(a.size, np.int32)
    slot_b = np.empty(b.size, np.int32)
    room = np.empty(n + 1, np.int64)
    for i in range(n + 1):
        room[i] = ptr_a[i] + ptr_b[i]
    buffer = np.empty(room[n], np.int32)
    sizes = np.zeros(n, np.int64)
    for i in prange(n):
        out = buffer[room[i] : room[i + 1]]
        mine_a = a[ptr_a[i] : ptr_a[i + 1]]
        mine_b = b[ptr_b[i] : ptr_b[i + 1]]
        place_a = slot_a[ptr_a[i] : ptr_a[i + 1]]
        place_b = slot_b[ptr_b[i] : ptr_b[i + 1]]
        # A map over the table beats sorting when the client touches a fair share of it.
        if 16 * out.size >= num_rows:
            where = np.full(num_rows, -1, np.int32)
            for k in range(mine_a.size):
                where[mine_a[k]] = 0
            for k in range(mine_b.size):
                where[mine_b[k]] = 0
            count = 0
            for r in range(num_rows):
                if where[r] == 0:
                    where[r] = count
                    out[count] = r
                    count += 1
            for k in range(mine_a.size):
                place_a[k] = where[mine_a[k]]
            for k in range(mine_b.size):
                place_b[k] = where[mine_b[k]]
        else:
            both = np.empty(out.size, np.int32)
            both[: mine_a.size] = mine_a
            both[mine_a.size :] = mine_b
            count = _sorted_unique(both, out)
            for k in range(mine_a.size):
                place_a[k] = np.searchsorted(out[:count], mine_a[k])
            for k in range(mine_b.size):
                place_b[k] = np.searchsorted(out[:count], mine_b[k])
        sizes[i] = count
    indptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        indptr[i + 1] = indptr[i] + sizes[i]
    rows = np.empty(indptr[n], np.int64)
    for i in prange(n):
        for k in range(sizes[i]):
            rows[indptr[i] + k] = buffer[room[i] + k]
    return indptr, rows, slot_a, slot_b
