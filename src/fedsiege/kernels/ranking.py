"""Counts from which the rank of a held-out item follows, without sorting a single score."""

from __future__ import annotations

import numpy as np
from numba import prange

from fedsiege.kernels.jit import njit


@njit(parallel=True)
def count_above(scores, targets, ptr, masked, greater, equal):
    """For each row of `scores` ``(users, items)`` count candidates above and level with the target's score.

    ``masked[ptr[i]:ptr[i+1]]`` are items of user i that are no candidates; a repeat counts once. A target of −1
    (nothing held out), a target whose score is NaN or any NaN among the candidates counts as ranked last:
    ``greater`` = number of items.
    """
    users, items = scores.shape
    for i in prange(users):
        row = scores[i]
        t = targets[i]
        if t < 0 or np.isnan(row[t]):
            greater[i] = items
            equal[i] = 0
            continue
        level = row[t]
        above = 0
        ties = 0
        unknown = 0
        for j in range(items):
            above += row[j] > level
            ties += row[j] == level
            unknown += np.isnan(row[j])
        gone = np.zeros(items, np.bool_)
        for k in range(ptr[i], ptr[i + 1]):
            j = masked[k]
            if j != t and not gone[j]:
                gone[j] = True
                above -= row[j] > level
                ties -= row[j] == level
                unknown -= np.isnan(row[j])
        if unknown > 0:
            greater[i] = items
            equal[i] = 0
            continue
        greater[i] = above
        equal[i] = ties - 1
