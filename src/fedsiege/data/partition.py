"""Who holds which sample: partitions of labelled data over the clients of a federation.

Every function assigns every sample to exactly one client, and the same generator state gives the same partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from fedsiege.data._balance import balanced_counts
from fedsiege.errors import ConfigError, DataError, nearest

Kind = Literal["iid", "dirichlet", "shards"]
MINIMUM = 10
"""Samples that every client of a Dirichlet partition holds at least, unless another number is asked for."""
_TRIES = 1000


@dataclass(frozen=True)
class Partition:
    """Samples of each client, as compressed rows.

    Parameters
    ----------
    ptr : int64 array, shape (clients + 1,)
        Row starts: client ``i`` holds ``index[ptr[i]:ptr[i + 1]]``. Starts at 0, never falls, ends at ``len(index)``.
    index : int64 array, shape (total,)
        Numbers of samples, each at most once.

    Raises
    ------
    DataError
        If `ptr` does not describe rows of `index`, or a sample is negative or assigned twice.
    """

    ptr: np.ndarray
    index: np.ndarray

    def __post_init__(self) -> None:
        ptr, index = np.asarray(self.ptr), np.asarray(self.index)
        if ptr.ndim != 1 or index.ndim != 1 or ptr.dtype.kind not in "iu" or index.dtype.kind not in "iu":
            raise DataError("ptr and index of a partition must be one-dimensional arrays of integers")
        if len(ptr) < 1 or ptr[0] != 0 or ptr[-1] != len(index) or (np.diff(ptr.astype(np.int64)) < 0).any():
            raise DataError(f"ptr of a partition must rise from 0 to the number of samples, {len(index)}")
        if len(index):
            if int(index.min()) < 0:
                raise DataError(f"sample {int(index.min())} of a partition is negative; count from 0")
            values, counts = np.unique(index, return_counts=True)
            if len(values) < len(index):
                raise DataError(f"sample {int(values[counts > 1][0])} is assigned to two clients or twice to one")
        object.__setattr__(self, "ptr", ptr.astype(np.int64, copy=False))
        object.__setattr__(self, "index", index.astype(np.int64, copy=False))

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.ptr) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Number of samples of each client: int64, shape (clients,)."""
        return np.diff(self.ptr)

    def of(self, client: int) -> np.ndarray:
        """Return the samples of one client: int64, ascending if a function of this module made the partition."""
        return self.index[self.ptr[client] : self.ptr[client + 1]]

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """Return how many samples of each class each client holds.

        Parameters
        ----------
        labels : integer array, shape (n,)
            Class in ``[0, num_classes)`` of every sample.
        num_classes : int
            Number of classes.

        Returns
        -------
        int64 array, shape (clients, num_classes)
        """
        owner = np.repeat(np.arange(self.clients), self.sizes)
        flat = np.bincount(owner * num_classes + labels[self.index], minlength=self.clients * num_classes)
        return flat.astype(np.int64).reshape(self.clients, num_classes)


def iid(labels: np.ndarray, clients: int, rng: np.random.Generator) -> Partition:
    """Deal the samples at random, so that the clients' sizes differ by at most one.

    Parameters
    ----------
    labels : integer array, shape (n,)
        Only its length counts.
    clients : int
        In ``[1, n]``.
    rng : numpy Generator
        Advanced by one permutation.

    Raises
    ------
    ConfigError
        If `clients` is out of range.
    """
    _check(labels, clients)
    return _rows(np.array_split(rng.permutation(len(labels)), clients))


def shards(labels: np.ndarray, clients: int, per_client: int, rng: np.random.Generator) -> Partition:
    """Sort by class, cut into equal shards and give each client `per_client` of them at random.

    Source: H. B. McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data,
    AISTATS 2017, section 3 (there 100 clients with two shards each). Within a class the order is random.

    Parameters
    ----------
    labels : integer array, shape (n,)
        Class of every sample.
    clients, per_client : int
        At least 1; their product at most n. Shards differ by at most one sample.
    rng : numpy Generator
        Advanced by two permutations.

    Raises
    ------
    ConfigError
        If there would be more shards than samples.
    """
    _check(labels, clients)
    if not 1 <= per_client <= len(labels) // clients:
        raise ConfigError(
            f"per_client={per_client}: {clients} clients can hold 1 to {len(labels) // clients} shards each of "
            f"{len(labels)} samples"
        )
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = np.array_split(by_class, clients * per_client)
    dealt = rng.permutation(clients * per_client).reshape(clients, per_client)
    return _rows([np.concatenate([pieces[piece] for piece in row]) for row in dealt])


def dirichlet(
    labels: np.ndarray,
    clients: int,
    beta: float,
    rng: np.random.Generator,
    *,
    minimum: int = MINIMUM,
    balanced: bool = True,
) -> Partition:
    """Give each client classes in random proportions; the smaller `beta`, the fewer classes a client holds.

    Parameters
    ----------
    labels : integer array, shape (n,)
        Class of every sample, at least 0. A class without samples is left out.
    clients : int
        In ``[1, n]``.
    beta : float
        Concentration, above 0.
    rng : numpy Generator
        Advanced by the draws of proportions and a permutation for each class.
    minimum : int
        Samples that every client must hold.
    balanced : bool
        True: each client's proportions over the classes are drawn from Dirichlet(beta, ..., beta) (T. Lin et al.,
        Ensemble Distillation for Robust Model Fusion in Federated Learning, NeurIPS 2020) and balanced by
        Sinkhorn's iteration, so that the clients' sizes differ by at most one and each class is used up.
        False: each class is cut in proportions over the clients that are drawn from Dirichlet(beta, ..., beta)
        (M. Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks, ICML 2019; after
        T.-M. H. Hsu et al., arXiv:1909.06335, 2019), redrawn until each client has `minimum` samples.

    Raises
    ------
    ConfigError
        If a value is out of range.
    DataError
        If the clients cannot have `minimum` samples each, or did not in 1,000 draws.
    """
    _check(labels, clients)
    if not (np.isfinite(beta) and beta > 0):
        raise ConfigError(f"beta={beta}: it must be a finite number above 0 (0.1 is uneven, 100 is nearly even)")
    if minimum < 0:
        raise ConfigError(f"minimum={minimum}: it must be at least 0")
    if len(labels) // clients < minimum:
        most = len(labels) // minimum
        fewer = f"at most {most} clients or " if most else ""
        raise DataError(
            f"{len(labels)} samples do not give {clients} clients {minimum} each; use {fewer}a smaller `minimum`"
        )
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    sizes = np.array([len(members) for members in classes])
    counts = (_even if balanced else _uneven)(sizes, clients, beta, rng, minimum)
    rows: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for members, column in zip(classes, counts.T):
        for row, part in zip(rows, np.split(rng.permutation(members), np.cumsum(column)[:-1])):
            row.append(part)
    return _rows([np.concatenate(row) for row in rows])


def make(
    kind: Kind,
    labels: np.ndarray,
    clients: int,
    rng: np.random.Generator,
    *,
    beta: float = 0.5,
    per_client: int = 2,
    minimum: int = MINIMUM,
    balanced: bool = True,
) -> Partition:
    """Return the partition of a kind; arguments that it does not use are ignored.

    Raises
    ------
    ConfigError
        If there is no such kind, or as `iid`, `dirichlet` and `shards`.
    DataError
        As `dirichlet`.
    """
    if kind == "iid":
        return iid(labels, clients, rng)
    if kind == "shards":
        return shards(labels, clients, per_client, rng)
    if kind == "dirichlet":
        return dirichlet(labels, clients, beta, rng, minimum=minimum, balanced=balanced)
    raise ConfigError(f"unknown partition {kind!r}; {nearest(kind, get_args(Kind))}")


def _even(sizes: np.ndarray, clients: int, beta: float, rng: np.random.Generator, minimum: int) -> np.ndarray:
    total = int(sizes.sum())
    each = np.full(clients, total // clients)
    each[: total % clients] += 1
    return balanced_counts(rng.dirichlet(np.full(len(sizes), beta), size=clients), each, sizes)


def _uneven(sizes: np.ndarray, clients: int, beta: float, rng: np.random.Generator, minimum: int) -> np.ndarray:
    best = -1
    for _ in range(_TRIES):
        shares = rng.dirichlet(np.full(clients, beta), size=len(sizes))
        ends = np.floor(np.cumsum(shares, axis=1) * sizes[:, None]).astype(np.int64)
        ends[:, -1] = sizes  # A sum of shares can end just below 1.
        counts = np.diff(np.minimum(ends, sizes[:, None]), axis=1, prepend=0).T
        least = int(counts.sum(axis=1).min())
        if least >= minimum:
            return counts
        best = max(best, least)
    raise DataError(
        f"in {_TRIES} draws with beta={beta} some of {clients} clients always had fewer than {minimum} samples (at "
        f"best {best}); use balanced=True, a larger beta, fewer clients or a smaller `minimum`"
    )


def _check(labels: np.ndarray, clients: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"labels must be a one-dimensional array of integers, not {labels.dtype} of {labels.shape}")
    if not 1 <= clients <= len(labels):
        raise ConfigError(f"clients={clients}: {len(labels)} samples can be parted among 1 to {len(labels)} clients")


def _rows(rows: list[np.ndarray]) -> Partition:
    ptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Partition(ptr, np.concatenate([np.sort(row) for row in rows]).astype(np.int64))
