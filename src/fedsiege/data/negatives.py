"""Training negatives: one item per positive that the user never touched, drawn once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedsiege.data.interactions import Int32, Interactions
from fedsiege.errors import DataError
from fedsiege.rng import client_keys


def draw_negatives(train: Interactions, forbidden: Sequence[NDArray[np.int32]], seed: int) -> Int32:
    """Draw one negative per training positive, uniformly from the items that the user never touched.

    Two protocols, chosen by the caller: ``paper`` passes ``(valid, test)``, so held-out items are spared as
    in the public code of ClusterAttack; ``fair`` passes ``()``, so only training items are excluded and
    nothing about the held-out items leaks into training.

    Parameters
    ----------
    train : Interactions
        Training rows; rows need not be sorted and may hold repeats.
    forbidden : sequence of int32 arrays, each of shape (num_users,)
        Further items to spare, one per user and array; negative entries mean none.
    seed : int
        The draws of a user depend on ``(seed, user)`` and the user's own items alone.

    Returns
    -------
    int32 array, shape (nnz,)
        Aligned with ``train.items``; draws are independent, so a negative may occur twice.

    Raises
    ------
    DataError
        If a user with training items touched every item, or `forbidden` does not fit.

    Notes
    -----
    No rejection: the r-th untouched item is found by binary search in the sorted touched ones, so the cost of
    a draw is ``O(log touched)`` however much of the catalog the user knows.
    """
    from fedsiege.data._kernels import negatives, on_blocks

    spared = np.full((len(forbidden), train.num_users), -1, np.int32)
    for row, held in enumerate(forbidden):
        if np.shape(held) != (train.num_users,):
            raise DataError(f"forbidden[{row}] has shape {np.shape(held)}, not ({train.num_users},)")
        if train.num_users and int(np.max(held)) >= train.num_items:
            raise DataError(f"forbidden[{row}] holds an item outside the catalog [0, {train.num_items})")
        spared[row] = held
    keys = client_keys(seed, "negatives", 0, np.arange(train.num_users))
    out = np.empty(train.nnz, np.int32)
    full = np.zeros(train.num_users, np.bool_)
    on_blocks(
        lambda low, high: negatives(train.indptr, train.items, spared, train.num_items, keys, out, full, low, high),
        train.indptr,
    )
    if full.any():
        user = int(np.argmax(full))
        raise DataError(
            f"user {user} touched all {train.num_items} items, so there is no negative to draw; "
            "remove such users or enlarge the catalog"
        )
    return out
