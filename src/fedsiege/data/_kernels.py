"""Compiled loops over users.

They are serial and release the interpreter's lock; `on_blocks` runs them in threads. So no numba threading
layer is needed (its OpenMP layer does not survive a fork), they compile fast and are cached on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


def on_blocks(work: Callable[[int, int], object], indptr: NDArray[np.int64]) -> None:
    """Run ``work(low, high)`` on blocks of users with about equal numbers of items, a thread per core."""
    users, total = len(indptr) - 1, int(indptr[-1])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if cores == 1 or total < 100_000:
        work(0, users)
        return
    # Several blocks per core even out users of unequal cost.
    blocks = 4 * cores
    cuts = np.searchsorted(indptr, np.linspace(0, total, blocks + 1)[1:-1])
    edges = [0, *(int(cut) for cut in cuts), users]
    with ThreadPoolExecutor(cores) as pool:
        for result in [pool.submit(work, low, high) for low, high in pairwise(edges) if low < high]:
            result.result()


@njit(nogil=True, cache=True, inline="always")
def mix(key: np.uint64, count: np.uint64) -> np.uint64:
    """Return draw number `count` of the stream `key` (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    z = key + (count + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@njit(nogil=True, cache=True, inline="always")
def below(bits: np.uint64, bound: np.uint64) -> np.int64:
    """Return the high word of ``bits * bound``: uniform in ``[0, bound)`` for ``bound < 2**32``."""
    return np.int64(((bits >> _S32) * bound + (((bits & _LOW) * bound) >> _S32)) >> _S32)


@njit(nogil=True, cache=True)
def negatives(indptr, items, spared, num_items, keys, out, full, low, high):
    """Fill ``out`` for users in ``[low, high)``; flag in ``full`` those without any untouched item."""
    extra = spared.shape[0]
    size = 0
    for user in range(low, high):
        size = max(size, indptr[user + 1] - indptr[user])
    scratch = np.empty(size + extra, np.int32)
    for user in range(low, high):
        start, stop = indptr[user], indptr[user + 1]
        if start == stop:
            continue
        filled = stop - start
        scratch[:filled] = items[start:stop]
        for row in range(extra):
            if spared[row, user] >= 0:
                scratch[filled] = spared[row, user]
                filled += 1
        touched = scratch[:filled]
        touched.sort()
        distinct = 1
        for place in range(1, filled):
            if touched[place] != touched[distinct - 1]:
                touched[distinct] = touched[place]
                distinct += 1
        if distinct >= num_items:
            full[user] = True
            continue
        free = np.uint64(num_items - distinct)
        for place in range(start, stop):
            rank = below(mix(keys[user], np.uint64(place - start)), free)
            # touched[k] - k counts the untouched items below touched[k]; the answer lies behind the last k
            # with touched[k] - k <= rank.
            left, right = np.int64(0), np.int64(distinct)
            while left < right:
                middle = (left + right) >> 1
                if touched[middle] - middle <= rank:
                    left = middle + 1
                else:
                    right = middle
            out[place] = rank + left


@njit(nogil=True, cache=True)
def zipf_rows(indptr, keys, names, shift, taken, low, high):
    """Fill ``taken`` for users in ``[low, high)`` with distinct items, probability of rank r as 1 / (r +
    shift).

    Ranks come from the inverse of the continuous distribution; a rank that the user has already is drawn
    again. A user takes at most half of the catalog, so that ends.
    """
    items = len(names)
    growth = np.log((items + shift) / shift)
    size = 1
    for user in range(low, high):
        while size < 2 * (indptr[user + 1] - indptr[user]):
            size *= 2
    seen = np.empty(size, np.int32)  # Open addressing, at most half full.
    for user in range(low, high):
        start, stop = indptr[user], indptr[user + 1]
        slots = np.int64(1)
        while slots < 2 * (stop - start):
            slots *= 2
        seen[:slots] = -1
        count = np.uint64(0)
        place = start
        while place < stop:
            uniform = np.float64(mix(keys[user], count) >> np.uint64(11)) * 2.0**-53
            count += np.uint64(1)
            rank = min(np.int64(shift * np.exp(growth * uniform) - shift), items - 1)
            slot = (rank * np.int64(0x9E3779B1)) & (slots - 1)
            while seen[slot] >= 0 and seen[slot] != rank:
                slot = (slot + 1) & (slots - 1)
            if seen[slot] < 0:
                seen[slot] = rank
                taken[place] = names[rank]
                place += 1
