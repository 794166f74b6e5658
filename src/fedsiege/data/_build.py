"""From columns of users, items and times to compressed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedsiege.data.interactions import Interactions, Order, RawInteractions
from fedsiege.errors import DataError

if TYPE_CHECKING:
    import polars as pl


def first_seen(values: NDArray | pl.Series) -> tuple[NDArray[np.int64], NDArray]:
    """Return codes in first-seen order and the label of each code.

    Parameters
    ----------
    values : integer array or polars string series, shape (n,)
        The file's own ids.

    Returns
    -------
    codes : int64 array, shape (n,)
        ``labels[codes]`` equals `values`; the first value has code 0, the next new one code 1, and so on.
    labels : array, shape (distinct,)
        Integers for an integer array, ``str`` objects for a string series.
    """
    if isinstance(values, np.ndarray):
        if not len(values):
            return np.zeros(0, np.int64), values
        low, high = int(values.min()), int(values.max())
        if high - low <= 8 * len(values) + 1024:
            # Dense ids: a table of first places is linear, where np.unique would sort.
            shifted = values - low
            first = np.full(high - low + 1, -1, np.int64)
            first[shifted[::-1]] = np.arange(len(values) - 1, -1, -1)
            present = np.flatnonzero(first >= 0)
            present = present[np.argsort(first[present])]
            rank = np.empty(high - low + 1, np.int64)
            rank[present] = np.arange(len(present))
            return rank[shifted], present + low
        labels, first_place, inverse = np.unique(values, return_index=True, return_inverse=True)
        by_place = np.argsort(first_place)
        rank = np.empty(len(labels), np.int64)
        rank[by_place] = np.arange(len(labels))
        return rank[inverse], labels[by_place]
    import polars as pl

    distinct = values.unique(maintain_order=True)
    codes = values.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int64)
    return codes, np.asarray(distinct.to_list(), dtype=object)


def rows(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    times: NDArray | None,
    num_users: int,
    num_items: int,
    keep_repeats: bool = False,
) -> Interactions:
    """Return compressed rows, stably sorted by time within each user.

    A repeated (user, item) pair is kept at its first time alone, unless `keep_repeats`.

    Parameters
    ----------
    users, items : int64 arrays, shape (n,)
        Codes, in file order.
    times : array, shape (n,), or None
        Any sortable numbers; ties and None keep the file's order.
    """
    if times is None:
        by_user = np.argsort(users, kind="stable") if np.any(users[1:] < users[:-1]) else slice(None)
    else:
        by_user = np.lexsort((times, users))
    users, items = users[by_user], items[by_user]
    if not keep_repeats and len(users):
        joint = users * num_items + items
        order = np.argsort(joint, kind="stable")
        repeated = joint[order[1:]] == joint[order[:-1]]
        if repeated.any():
            keep = np.ones(len(users), bool)
            keep[order[1:][repeated]] = False
            users, items = users[keep], items[keep]
    indptr = np.zeros(num_users + 1, np.int64)
    np.cumsum(np.bincount(users, minlength=num_users), out=indptr[1:])
    return Interactions(indptr, items.astype(np.int32), num_items)


def assemble(
    user_ids: NDArray | pl.Series,
    item_ids: NDArray | pl.Series,
    times: NDArray | None,
    *,
    order: Order,
    exact_last: bool = False,
    keep_repeats: bool = False,
) -> RawInteractions:
    """Return `RawInteractions` from a file's columns, ids remapped in first-seen order."""
    users, user_labels = first_seen(user_ids)
    items, item_labels = first_seen(item_ids)
    if not len(users):
        raise DataError("there is no interaction to build a data set from; check the file or relax the filter")
    table = rows(users, items, times, len(user_labels), len(item_labels), keep_repeats)
    return RawInteractions(table, order, user_labels, item_labels, exact_last)
