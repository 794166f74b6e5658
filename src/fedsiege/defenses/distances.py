"""What rules share that rest on distances between uploads or on a number of attackers."""

from __future__ import annotations

import numpy as np

from fedsiege.checks import share_of


def krum_scores(sq_distances: np.ndarray, byzantine: int) -> np.ndarray:
    """Return each upload's sum of its ``n − f − 2`` smallest squared distances to others, float64 ``(n,)``.

    Where n is too small for the rule, one neighbour is used; a single upload scores 0.
    """
    n = sq_distances.shape[0]
    if n <= 1:
        return np.zeros(n)
    neighbours = min(max(n - byzantine - 2, 1), n - 1)
    others = sq_distances + np.diag(np.full(n, np.inf))
    return np.sort(others, axis=1)[:, :neighbours].sum(1)


def by_score(scores: np.ndarray, clients: np.ndarray) -> np.ndarray:
    """Return positions in ascending order of score; among equal scores the lower client id comes first."""
    return np.lexsort((clients, scores))


def assumed(byzantine: int | float | None, n: int, told: int | None) -> int:
    """Return the number of Byzantine clients among n that a rule works with.

    An int is that number, a float a fraction of n rounded up; None takes what the threat model grants, else a
    tenth of n. Never more than n − 1.
    """
    if byzantine is None:
        byzantine = told if told is not None else 0.1
    return min(max(share_of(byzantine, n), 0), n - 1)
