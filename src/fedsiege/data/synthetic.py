"""Generated implicit feedback: the embedded default data set, and a cheap one for scale tests.

`synthetic` has the shape of ML-100K and a structure that recommenders can learn; `synthetic_scale` makes tens
of millions of interactions in seconds and promises nothing but counts, distinct items per user and
long-tailed popularity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsiege.data.interactions import Interactions, RawInteractions
from fedsiege.errors import DataError
from fedsiege.rng import client_keys, generator

MIN_LENGTH = 20
"""Least number of interactions of a user, as in MovieLens, where the total allows it."""

_CLUSTERS = 14
_PHASE = 8  # Interactions after which a user's taste has moved on.
_DRIFT = 0.35  # Chance that the interest of the moment is drawn anew between two phases.
_LONG_TERM = 0.5  # Weight of the lasting taste against the interest of the moment.
_BREADTH = 1.8  # About how many clusters a user likes.
_SHARPNESS = 8.0  # How strongly taste decides; 0 would leave popularity alone.
_ZIPF = 1.3  # Exponent of popularity over ranks.
_ZIPF_SHIFT = 12.0  # Flattens the head: the top item is not twice as popular as the second.
_SPREAD = 1.1  # Deviation of the logarithm of activity: median 70, mean 106 at the shape of ML-100K.
_SCALE_SHIFT = 50.0  # The same for `synthetic_scale`: 0.2 % for the top one of a million items.


def synthetic(
    users: int = 943,
    items: int = 1_682,
    interactions: int = 100_000,
    dim: int = 8,
    seed: int = 0,
) -> RawInteractions:
    """Generate implicit feedback with the shape of ML-100K.

    Items lie around the centres of clusters on the unit sphere of a latent space and have a long-tailed
    popularity (Zipf-Mandelbrot). A user likes a few clusters, unequally. The taste of a moment is the mean of
    that lasting taste and of one of the clusters, which stays for some phases of eight interactions and is
    then drawn anew from the user's own. In each phase the user takes items without replacement with
    probability proportional to ``popularity * exp(sharpness * taste . item)``. So what comes next can be told
    from the history and, better, from the last few items.

    Parameters
    ----------
    users, items : int
        At least 1 and 2.
    interactions : int
        Exact total, between ``3 * users`` and half of ``users * items``.
    dim : int
        Dimension of the latent space, at least 1.
    seed : int
        Same seed, same data.

    Returns
    -------
    RawInteractions
        Order "time"; every user has at least `MIN_LENGTH` interactions where the total allows it; labels are
        the ids themselves; items that nobody took stay in the catalog.

    Raises
    ------
    DataError
        If the counts cannot be met.
    """
    if dim < 1:
        raise DataError(f"dim must be at least 1, not {dim}")
    lengths = _lengths(users, items, interactions, generator(seed, "synthetic.activity"))
    rng = generator(seed, "synthetic.items")
    centres = _unit(rng.standard_normal((_CLUSTERS, dim)))
    factors = _unit(centres[rng.integers(_CLUSTERS, size=items)] + 0.45 * _unit(rng.standard_normal((items, dim))))
    popularity = (1.0 + rng.permutation(items) + _ZIPF_SHIFT) ** -_ZIPF

    rng = generator(seed, "synthetic.users")
    # A few clusters with unequal weights each, and now and then one that is none of the user's.
    interests = 0.9 * rng.dirichlet(np.full(_CLUSTERS, _BREADTH / _CLUSTERS), size=users) + 0.1 / _CLUSTERS
    lasting = _unit(interests @ centres + 0.1 * _unit(rng.standard_normal((users, dim))))
    indptr = np.zeros(users + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    taken = np.empty(interactions, np.int32)
    log_popularity = np.log(popularity)
    for user in range(users):
        row = taken[indptr[user] : indptr[user + 1]]
        phases = -(-len(row) // _PHASE)
        tastes = _drifting(lasting[user], interests[user], centres, phases, generator(seed, "synthetic.drift", user))
        weights = np.exp(_SHARPNESS * tastes @ factors.T + log_popularity)
        # The smallest of exponential clocks at the given rates are a weighted sample without replacement, in
        # order.
        clocks = generator(seed, "synthetic.take", user).standard_exponential((phases, items)) / weights
        for phase in range(phases):
            clock = clocks[phase]
            clock[row[: phase * _PHASE]] = np.inf
            part = row[phase * _PHASE : (phase + 1) * _PHASE]
            first = np.argpartition(clock, len(part) - 1)[: len(part)]
            part[:] = first[np.argsort(clock[first])]
    return RawInteractions(Interactions(indptr, taken, items), "time", np.arange(users), np.arange(items))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _drifting(
    lasting: NDArray[np.float64],
    interests: NDArray[np.float64],
    centres: NDArray[np.float64],
    phases: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the taste in each phase, shape ``(phases, dim)``, unit length."""
    drawn = rng.choice(len(centres), size=phases, p=interests)
    moved = rng.random(phases) < _DRIFT
    moved[0] = True
    # Between moves the last drawn interest goes on.
    current = drawn[np.maximum.accumulate(np.where(moved, np.arange(phases), 0))]
    return _unit(_LONG_TERM * lasting + (1 - _LONG_TERM) * centres[current])


def _lengths(users: int, items: int, interactions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return heavy-tailed numbers of interactions per user that sum to `interactions` exactly."""
    if users < 1 or items < 2:
        raise DataError(f"generated data need at least 1 user and 2 items, not {users} and {items}")
    most = items // 2
    if interactions < 3 * users or interactions > users * most:
        raise DataError(
            f"{interactions} interactions do not fit {users} users and {items} items: between {3 * users} "
            f"(3 per user) and {users * most} (half of the catalog each) are possible"
        )
    least = min(MIN_LENGTH, max(3, interactions // (2 * users)), most)
    activity = rng.lognormal(0.0, _SPREAD, users)
    lengths = np.full(users, least, np.int64)
    while (left := interactions - int(lengths.sum())) > 0:
        # Users at the cap drop out; what they could not take is shared among the others.
        share = np.where(lengths < most, activity, 0.0)
        ideal = left * share / share.sum()
        add = np.floor(ideal).astype(np.int64)
        # Largest remainders get what rounding left: a pass in which nobody reaches the cap is the last.
        rest = left - int(add.sum())
        add[np.argsort(add - ideal, kind="stable")[:rest]] += 1
        lengths = np.minimum(lengths + add, most)
    return lengths


def synthetic_scale(users: int, items: int, interactions: int, seed: int = 0) -> RawInteractions:
    """Generate many interactions cheaply: distinct items per user, Zipf-like popularity, no taste.

    Parameters
    ----------
    users, items, interactions : int
        As for `synthetic`. A million users, a million items and fifty million interactions take seconds;
        beyond the result (4 bytes an interaction) memory is a few arrays of the length of `users`.
    seed : int
        A user's items depend on ``(seed, user)``, the number of them and the size of the catalog alone.

    Returns
    -------
    RawInteractions
        Order "time", item ids shuffled so that an id says nothing about popularity.

    Raises
    ------
    DataError
        If the counts cannot be met.
    """
    from fedsiege.data._kernels import on_blocks, zipf_rows

    lengths = _lengths(users, items, interactions, generator(seed, "scale.activity"))
    indptr = np.zeros(users + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    keys = client_keys(seed, "scale.items", 0, np.arange(users))
    names = generator(seed, "scale.names").permutation(items).astype(np.int32)
    taken = np.empty(interactions, np.int32)
    on_blocks(lambda low, high: zipf_rows(indptr, keys, names, _SCALE_SHIFT, taken, low, high), indptr)
    return RawInteractions(Interactions(indptr, taken, items), "time", np.arange(users), np.arange(items))
