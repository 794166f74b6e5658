"""Leave-one-out: the last item of each user is the test, the one before it the validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsiege.data.interactions import Int32, Interactions, RawInteractions
from fedsiege.rng import client_keys

MIN_LENGTH = 3
"""Users with fewer interactions keep all of them for training."""


def leave_one_out(raw: RawInteractions, seed: int) -> tuple[Interactions, Int32, Int32]:
    """Split each user's interactions into training, one validation item and one test item.

    By time or file order, the last item is the test, the one before it the validation, the rest training.
    Where the order means nothing, test and validation are two different places drawn at random; the draw of a
    user depends on ``(seed, user)`` and the user's number of interactions alone.

    Parameters
    ----------
    raw : RawInteractions
        A loader's result.
    seed : int
        Used only with order "none".

    Returns
    -------
    train : Interactions
        Rows in the same order as in `raw`.
    valid, test : int32 arrays, shape (num_users,)
        Held-out items; -1 for users with fewer than `MIN_LENGTH` interactions.

    Notes
    -----
    If `raw` keeps repeats, a held-out item may be in the user's training row as well, as in the public code
    of ClusterAttack on Gowalla. It is masked with the training items, so no ranking hits it, and its user counts.
    """
    table = raw.interactions
    counts = table.counts()
    users = np.flatnonzero(counts >= MIN_LENGTH)
    starts, lengths = table.indptr[users], counts[users]
    if raw.order == "none":
        last = _below(client_keys(seed, "split.test", 0, users), lengths)
        before = _below(client_keys(seed, "split.valid", 0, users), lengths - 1)
        before += before >= last  # Uniform over the places that are not the test's.
    else:
        last, before = lengths - 1, lengths - 2
    test_at, valid_at = starts + last, starts + before

    test = np.full(table.num_users, -1, np.int32)
    valid = np.full(table.num_users, -1, np.int32)
    test[users], valid[users] = table.items[test_at], table.items[valid_at]

    keep = np.ones(table.nnz, bool)
    keep[test_at] = False
    keep[valid_at] = False
    left = counts.copy()
    left[users] -= 2
    indptr = np.zeros(table.num_users + 1, np.int64)
    np.cumsum(left, out=indptr[1:])
    return Interactions(indptr, table.items[keep], table.num_items), valid, test


def _below(keys: NDArray[np.uint64], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one integer per key, uniform in ``[0, bound)`` up to ``bound / 2**32``."""
    return (((keys >> np.uint64(32)) * bounds.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
