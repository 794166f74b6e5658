"""Kernels over row-sparse uploads: n uploads, each a sorted list of table rows with a vector of values a row.

Layout: upload ``i`` holds entries ``indptr[i] … indptr[i + 1] − 1``; entry ``e`` is table row ``rows[e]`` with the
vector ``values[e]``. "Grouped" kernels take the same entries in order of the row: group ``g`` (one table row)
holds entries ``order[starts[g] … starts[g + 1] − 1]``, and ``owner[e]`` is the upload an entry came from.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit
from fedsiege.kernels.network import ranked, sort_rows, trimmed_column

CHUNKS = 16


@njit()
def owners(indptr):
    """Upload of each entry, int32 ``(nnz,)``."""
    out = np.empty(indptr[-1], np.int32)
    for i in range(indptr.size - 1):
        out[indptr[i] : indptr[i + 1]] = i
    return out


@njit()
def group_by_counting(rows, num_rows):
    """Stable order of entries by row, by counting: O(nnz + num_rows). Returns (unique rows, starts, order)."""
    counts = np.zeros(num_rows + 1, np.int64)
    for e in range(rows.size):
        counts[rows[e] + 1] += 1
    groups = 0
    for r in range(num_rows):
        groups += counts[r + 1] > 0
    unique = np.empty(groups, np.int64)
    starts = np.empty(groups + 1, np.int64)
    starts[0] = 0
    g = 0
    for r in range(num_rows):
        if counts[r + 1] > 0:
            unique[g] = r
            starts[g + 1] = starts[g] + counts[r + 1]
            g += 1
        counts[r + 1] += counts[r]
    order = np.empty(rows.size, np.int64)
    for e in range(rows.size):
        order[counts[rows[e]]] = e
        counts[rows[e]] += 1
    return unique, starts, order


@njit(parallel=True)
def sq_norms(indptr, values):
    """Squared L2 norm of each upload, float64 ``(n,)``."""
    n = indptr.size - 1
    out = np.zeros(n)
    for i in prange(n):
        total = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            part = values[e, 0] * 0
            for j in range(values.shape[1]):
                part += values[e, j] * values[e, j]
            total += np.float64(part)
        out[i] = total
    return out


@njit(parallel=True)
def finite(indptr, values):
    """Whether all values of an upload are finite, bool ``(n,)``."""
    n = indptr.size - 1
    out = np.ones(n, np.bool_)
    for i in prange(n):
        for e in range(indptr[i], indptr[i + 1]):
            # 0 x is 0 for finite x and NaN otherwise, so one sum decides a row.
            probe = values[e, 0] * 0
            for j in range(values.shape[1]):
                probe += values[e, j] * 0
            if probe != 0:
                out[i] = False
                break
    return out


@njit(parallel=True)
def weighted_sum(indptr, rows, values, unique, weights):
    """Sum of weight × value of each of the rows `unique` (all that occur), in the dtype of `values`.

    Uploads are read as they lie in memory, a range of rows at a time: its sums stay in the cache.
    """
    groups = unique.size
    dim = values.shape[1]
    out = np.zeros((groups, dim), values.dtype)
    for c in prange(CHUNKS):
        g0, g1 = groups * c // CHUNKS, groups * (c + 1) // CHUNKS
        if g0 == g1:
            continue
        for i in range(indptr.size - 1):
            w = weights[i]
            if w == 0:
                continue
            e = indptr[i] + np.searchsorted(rows[indptr[i] : indptr[i + 1]], unique[g0])
            g = g0
            while e < indptr[i + 1] and rows[e] <= unique[g1 - 1]:
                while unique[g] < rows[e]:
                    g += 1
                acc, row = out[g], values[e]
                for j in range(dim):
                    acc[j] += w * row[j]
                e += 1
    return out


@njit(parallel=True)
def moments(starts, order, owner, values, n):
    """Mean and population standard deviation of n uploads in each group, implicit zeros counted."""
    groups = starts.size - 1
    dim = values.shape[1]
    mean = np.zeros((groups, dim), values.dtype)
    std = np.zeros((groups, dim), values.dtype)
    for c in prange(CHUNKS):
        centre = np.empty(dim)
        spread = np.empty(dim)
        for g in range(groups * c // CHUNKS, groups * (c + 1) // CHUNKS):
            k0, k1 = starts[g], starts[g + 1]
            zeros = n - (k1 - k0)
            centre[:] = 0.0
            for k in range(k0, k1):
                row = values[order[k]]
                for j in range(dim):
                    centre[j] += row[j]
            for j in range(dim):
                centre[j] /= n
                spread[j] = zeros * centre[j] * centre[j]
            for k in range(k0, k1):
                row = values[order[k]]
                for j in range(dim):
                    delta = row[j] - centre[j]
                    spread[j] += delta * delta
            for j in range(dim):
                mean[g, j] = centre[j]
                std[g, j] = np.sqrt(spread[j] / n)
    return mean, std


@njit(parallel=True)
def gram(starts, order, owner, values, n):
    """Gram matrix of the uploads, float64 ``(n, n)``, from rows that two uploads share only."""
    groups = starts.size - 1
    dim = values.shape[1]
    parts = np.zeros((CHUNKS, n, n))
    for c in prange(CHUNKS):
        tile = np.empty((n, dim), values.dtype)
        who = np.empty(n, np.int64)
        products = np.empty(n * n, values.dtype)
        acc = parts[c]
        for g in range(groups * c // CHUNKS, groups * (c + 1) // CHUNKS):
            k0 = starts[g]
            size = starts[g + 1] - k0
            for a in range(size):
                e = order[k0 + a]
                who[a] = owner[e]
                for j in range(dim):
                    tile[a, j] = values[e, j]
            square = products[: size * size].reshape(size, size)
            np.dot(tile[:size], tile[:size].T, square)  # BLAS: three times faster than loops that numba vectorises
            for a in range(size):
                w = who[a]
                for b in range(a + 1):
                    acc[w, who[b]] += square[a, b]
    out = np.zeros((n, n))
    for c in range(CHUNKS):
        out += parts[c]
    for i in range(n):
        for j in range(i):
            out[j, i] = out[i, j]
    return out


@njit(parallel=True)
def products_with(indptr, rows, values, index, num_rows):
    """Inner products of the uploads `index` with all, float64 ``(len(index), n)``, from shared rows only."""
    n, m, dim = indptr.size - 1, index.size, values.shape[1]
    out = np.zeros((m, n))
    for k in range(m):
        a0, a1 = indptr[index[k]], indptr[index[k] + 1]
        mapped = num_rows <= 8 * rows.size
        place = np.full(num_rows if mapped else 1, -1, np.int64)
        if mapped:
            for e in range(a0, a1):
                place[rows[e]] = e
        for i in prange(n):
            total = 0.0
            own = a0
            for e in range(indptr[i], indptr[i + 1]):
                if mapped:
                    at = place[rows[e]]
                else:
                    while own < a1 and rows[own] < rows[e]:
                        own += 1
                    at = own if own < a1 and rows[own] == rows[e] else -1
                if at >= 0:
                    part = values[e, 0] * 0
                    for j in range(dim):
                        part += values[e, j] * values[at, j]
                    total += np.float64(part)
            out[k, i] = total
    for k in range(m):
        for b in range(k):
            out[k, index[b]] = out[b, index[k]]
    return out


@njit(parallel=True)
def dots(indptr, rows, values, other_rows, other_values):
    """Inner product of each upload with another one, from shared rows only, summed in float64 ``(n,)``."""
    n, m, dim = indptr.size - 1, other_rows.size, values.shape[1]
    out = np.zeros(n)
    for i in prange(n):
        total = 0.0
        at = 0
        for e in range(indptr[i], indptr[i + 1]):
            while at < m and other_rows[at] < rows[e]:
                at += 1
            if at == m:
                break
            if other_rows[at] == rows[e]:
                for j in range(dim):
                    total += np.float64(values[e, j]) * np.float64(other_values[at, j])
        out[i] = total
    return out


@njit()
def sq_distance(indptr, rows, values, a, b):
    """Squared distance of uploads `a` and `b` from their difference, float64: exact where they are near."""
    i, i1 = indptr[a], indptr[a + 1]
    k, k1 = indptr[b], indptr[b + 1]
    total = 0.0
    while i < i1 or k < k1:
        if k >= k1 or (i < i1 and rows[i] < rows[k]):
            for j in range(values.shape[1]):
                x = np.float64(values[i, j])
                total += x * x
            i += 1
        elif i >= i1 or rows[k] < rows[i]:
            for j in range(values.shape[1]):
                x = np.float64(values[k, j])
                total += x * x
            k += 1
        else:
            for j in range(values.shape[1]):
                x = np.float64(values[i, j]) - np.float64(values[k, j])
                total += x * x
            i += 1
            k += 1
    return total


@njit(parallel=True)
def sq_distances(indptr, rows, values, pairs):
    """`sq_distance` of the pairs of uploads ``pairs`` int64 ``(m, 2)``, float64 ``(m,)``."""
    out = np.empty(pairs.shape[0])
    for p in prange(pairs.shape[0]):
        out[p] = sq_distance(indptr, rows, values, pairs[p, 0], pairs[p, 1])
    return out


@njit(parallel=True)
def median(starts, order, values, n):
    """Coordinate-wise median of n uploads in each group; uploads that miss the row count as zero."""
    groups = starts.size - 1
    dim = values.shape[1]
    out = np.zeros((groups, dim), values.dtype)
    for c in prange(CHUNKS):
        tile = np.empty((n, dim), values.dtype)
        for g in range(groups * c // CHUNKS, groups * (c + 1) // CHUNKS):
            size = starts[g + 1] - starts[g]
            if 2 * size < n:
                continue
            for a in range(size):
                tile[a] = values[order[starts[g] + a]]
            sort_rows(tile, size, dim)
            for j in range(dim):
                low = ranked(tile, size, n - size, (n - 1) // 2, j)
                high = ranked(tile, size, n - size, n // 2, j)
                out[g, j] = (low + high) / 2
    return out


@njit(parallel=True)
def trimmed_mean(starts, order, values, n, trim):
    """Coordinate-wise mean without the `trim` smallest and largest of n; missing rows count as zero."""
    groups = starts.size - 1
    dim = values.shape[1]
    out = np.zeros((groups, dim), values.dtype)
    for c in prange(CHUNKS):
        tile = np.empty((n, dim), values.dtype)
        for g in range(groups * c // CHUNKS, groups * (c + 1) // CHUNKS):
            size = starts[g + 1] - starts[g]
            if size <= trim:
                continue
            for a in range(size):
                tile[a] = values[order[starts[g] + a]]
            sort_rows(tile, size, dim)
            for j in range(dim):
                out[g, j] = trimmed_column(tile, size, n - size, trim, j)
    return out


@njit(parallel=True)
def take(indptr, rows, values, indptr2, rows2, values2, index, out_ptr):
    """Copy the uploads `index` of two blocks, counted through, into new arrays whose offsets are `out_ptr`."""
    n = indptr.size - 1
    nnz = out_ptr[-1]
    new_rows = np.empty(nnz, rows.dtype)
    new_values = np.empty((nnz, values.shape[1]), values.dtype)
    for i in prange(index.size):
        t, size = out_ptr[i], out_ptr[i + 1] - out_ptr[i]
        if index[i] < n:
            s = indptr[index[i]]
            for e in range(size):
                new_rows[t + e] = rows[s + e]
                new_values[t + e] = values[s + e]
        else:
            s = indptr2[index[i] - n]
            for e in range(size):
                new_rows[t + e] = rows2[s + e]
                new_values[t + e] = values2[s + e]
    return new_rows, new_values


@njit(parallel=True)
def scatter_dense(indptr, rows, values, out):
    """Write each upload's rows into its slice of the zeroed dense array `out` ``(n, num_rows, dim)``."""
    for i in prange(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            out[i, rows[e]] = values[e]


@njit(parallel=True)
def row_norms(values):
    """L2 norm of each entry's vector, float64 ``(nnz,)``."""
    out = np.empty(values.shape[0])
    for e in prange(values.shape[0]):
        total = 0.0
        for j in range(values.shape[1]):
            total += np.float64(values[e, j]) * np.float64(values[e, j])
        out[e] = np.sqrt(total)
    return out
