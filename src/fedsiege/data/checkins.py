"""Raw check-ins as SNAP publishes them for Gowalla, filtered to the 10-core.

Source: E. Cho, S. A. Myers and J. Leskovec, Friendship and Mobility: User Movement in Location-Based Social
Networks, KDD 2011; files at https://snap.stanford.edu/data/loc-gowalla.html.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsiege.data._build import assemble, first_seen
from fedsiege.data._text import read_lines
from fedsiege.data.interactions import RawInteractions
from fedsiege.errors import DataError


def load_checkins(path: Path | str, *, core: int = 10, keep_repeats: bool = False) -> RawInteractions:
    """Return check-ins as interactions of users with places, in order of time.

    Parameters
    ----------
    path : Path
        Lines ``user, time, latitude, longitude, place`` parted by tabs, time as ``2010-10-19T23:55:27Z``, in
        any order. Plain or ``.gz``.
    core : int
        Users and places are kept as long as they have at least this many distinct partners among those kept
        (the filter is repeated until nothing changes). 0 or 1 keeps all.
    keep_repeats : bool
        Whether a user's second visit to a place stays in the row. The filter counts distinct pairs either
        way.

    Returns
    -------
    RawInteractions
        Order "time"; ids in first-seen order of the check-ins that were kept.

    Raises
    ------
    DataError
        With file, line number and value of the first bad record; or if the filter leaves nothing.
    """
    path = Path(path)
    table = read_lines(path).split("\t", ["user", "time", "latitude", "longitude", "place"])
    times = table.instants("time", "%Y-%m-%dT%H:%M:%SZ", "2010-10-19T23:55:27Z")
    table.floats("latitude")
    table.floats("longitude")
    user_ids, place_ids = table.integers("user"), table.tokens("place")
    users, user_labels = first_seen(user_ids)
    places, place_labels = first_seen(place_ids)
    kept = k_core(users, places, len(user_labels), len(place_labels), core)
    if not kept.any():
        raise DataError(f"{path}: no user or place has {core} partners; use a larger file or a smaller core")
    raw = assemble(users[kept], places[kept], times[kept], order="time", keep_repeats=keep_repeats)
    return RawInteractions(raw.interactions, raw.order, user_labels[raw.user_labels], place_labels[raw.item_labels])


def k_core(
    users: NDArray[np.int64], items: NDArray[np.int64], num_users: int, num_items: int, core: int
) -> NDArray[np.bool_]:
    """Return which records lie in the k-core: every user and item left has at least `core` distinct partners.

    The k-core is unique, so the order of removals does not matter; users and items are removed together in
    each pass until a pass removes nothing.

    Parameters
    ----------
    users, items : int64 arrays, shape (n,)
        Codes; a pair may occur more than once and then counts once.
    """
    pairs, record_pair = np.unique(users * num_items + items, return_inverse=True)
    pair_users, pair_items = np.divmod(pairs, num_items)
    alive = np.arange(len(pairs))
    while True:
        user_degree = np.bincount(pair_users[alive], minlength=num_users)
        item_degree = np.bincount(pair_items[alive], minlength=num_items)
        stays = (user_degree[pair_users[alive]] >= core) & (item_degree[pair_items[alive]] >= core)
        if stays.all():
            break
        alive = alive[stays]
    left = np.zeros(len(pairs), bool)
    left[alive] = True
    return left[record_pair]
