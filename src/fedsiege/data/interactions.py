"""The containers of implicit feedback: who touched what, in which order, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedsiege.errors import DataError

Order = Literal["time", "file", "none"]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


def _integers(values: NDArray, name: str) -> NDArray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} must be a one-dimensional array, not of shape {array.shape}")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} must hold integers, not {array.dtype}")
    return array


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions of users with items as compressed rows, one row per user, in the user's order of time.

    Parameters
    ----------
    indptr : int64 array, shape (num_users + 1,)
        Row starts: user ``u`` owns ``items[indptr[u]:indptr[u + 1]]``. Starts at 0, never falls, ends at
        ``len(items)``.
    items : int32 array, shape (nnz,)
        Item ids in ``[0, num_items)``.
    num_items : int
        Size of the catalog, at least 0; items that nobody touched count too.

    Raises
    ------
    DataError
        If the rows are not as described above.
    """

    indptr: Int64
    items: Int32
    num_items: int

    def __post_init__(self) -> None:
        indptr, items = _integers(self.indptr, "indptr"), _integers(self.items, "items")
        if self.num_items < 0 or self.num_items > np.iinfo(np.int32).max:
            raise DataError(f"num_items must lie in [0, 2^31), not {self.num_items}")
        if len(indptr) < 1 or indptr[0] != 0:
            raise DataError("indptr must start with 0 (and have one entry more than there are users)")
        falls = np.flatnonzero(indptr[1:] < indptr[:-1])
        if len(falls):
            user = int(falls[0])
            raise DataError(f"indptr falls at user {user}: {int(indptr[user])} to {int(indptr[user + 1])}")
        if indptr[-1] != len(items):
            raise DataError(f"indptr ends at {int(indptr[-1])}, yet there are {len(items)} items")
        if len(items) and (int(items.min()) < 0 or int(items.max()) >= self.num_items):
            place = int(np.flatnonzero((items < 0) | (items >= self.num_items))[0])
            user = int(np.searchsorted(indptr, place, side="right")) - 1
            raise DataError(f"item {int(items[place])} of user {user} lies outside the catalog [0, {self.num_items})")
        object.__setattr__(self, "indptr", np.ascontiguousarray(indptr, np.int64))
        object.__setattr__(self, "items", np.ascontiguousarray(items, np.int32))
        object.__setattr__(self, "num_items", int(self.num_items))

    @property
    def num_users(self) -> int:
        """Number of users, those without any interaction included."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of interactions."""
        return len(self.items)

    def counts(self) -> Int64:
        """Return the number of interactions of each user, int64, shape ``(num_users,)``."""
        return np.diff(self.indptr)

    def of(self, user: int) -> Int32:
        """Return the items of one user in order of time, int32; a view, not a copy."""
        if not 0 <= user < self.num_users:
            raise DataError(f"user {user} lies outside [0, {self.num_users})")
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def users(self) -> Int32:
        """Return the user of each interaction, int32, shape ``(nnz,)``."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), self.counts())

    def sorted_items(self) -> Interactions:
        """Return a copy in which each row ascends by item id (so the order of time is lost)."""
        # One sort of user * num_items + item instead of a loop over rows: NumPy sorts int64 with SIMD.
        base = np.repeat(np.arange(self.num_users, dtype=np.int64) * self.num_items, self.counts())
        joint = base + self.items
        joint.sort()
        return Interactions(self.indptr, (joint - base).astype(np.int32), self.num_items)

    def popularity(self) -> Int64:
        """Return the number of interactions of each item, int64, shape ``(num_items,)``."""
        return np.bincount(self.items, minlength=self.num_items).astype(np.int64, copy=False)


@dataclass(frozen=True, eq=False)
class RawInteractions:
    """What a loader returns: every interaction of a file, before any split.

    Parameters
    ----------
    interactions : Interactions
        Each user's items, in order of time if it is known. Ids are remapped in first-seen order.
    order : {"time", "file", "none"}
        What the order within a row means: timestamps of the file, the order of the file's lines, or nothing.
    user_labels, item_labels : arrays, shapes (num_users,) and (num_items,)
        The file's own ids (integers or strings) of the remapped ones.
    exact_last : bool
        Whether the last item of each row truly is the user's latest. True for order "time"; a file without
        timestamps may still promise it.
    """

    interactions: Interactions
    order: Order
    user_labels: NDArray
    item_labels: NDArray
    exact_last: bool = False

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise DataError(f"order must be one of {', '.join(get_args(Order))}, not {self.order!r}")
        for name, labels, count in (
            ("user_labels", self.user_labels, self.interactions.num_users),
            ("item_labels", self.item_labels, self.interactions.num_items),
        ):
            if len(labels) != count:
                raise DataError(f"{name} has {len(labels)} entries for {count} ids")
        if self.order == "time" and not self.exact_last:
            object.__setattr__(self, "exact_last", True)


@dataclass(frozen=True, eq=False)
class RecDataset:
    """A data set ready for a federation: training rows and at most one validation and test item per user.

    Parameters
    ----------
    name : str
        Catalog name, or the file's name for a user's own file.
    train : Interactions
        Training interactions, in each user's order of time.
    valid, test : int32 arrays, shape (num_users,)
        The held-out item of each user, -1 where there is none.
    order : {"time", "file", "none"}
        What the order within a row means.
    info : dict of str to str or int
        Where the data came from: ``source``, ``sha256``, ``split``, counts.
    """

    name: str
    train: Interactions
    valid: Int32
    test: Int32
    order: Order
    info: dict[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("valid", "test"):
            held = _integers(getattr(self, name), name)
            if len(held) != self.num_users:
                raise DataError(f"{name} has {len(held)} entries for {self.num_users} users")
            if len(held) and (int(held.min()) < -1 or int(held.max()) >= self.num_items):
                raise DataError(f"{name} must hold -1 or item ids in [0, {self.num_items})")
            object.__setattr__(self, name, np.ascontiguousarray(held, np.int32))

    @property
    def num_users(self) -> int:
        """Number of users."""
        return self.train.num_users

    @property
    def num_items(self) -> int:
        """Size of the catalog."""
        return self.train.num_items

    @cached_property
    def repeated(self) -> dict[str, np.ndarray]:
        """By split, which users have a held-out item that a ranking masks, bool ``(num_users,)``.

        That is one which is in the training row as well, or, on the test split, is the validation item too.
        """
        owner = self.train.users()
        found = {}
        for split, held in (("valid", self.valid), ("test", self.test)):
            found[split] = np.zeros(self.num_users, bool)
            found[split][owner[self.train.items == held[owner]]] = True
        found["test"] |= (self.test >= 0) & (self.test == self.valid)
        return found
