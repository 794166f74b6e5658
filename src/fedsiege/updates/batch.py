"""The uploads of one round: who sent them, how many samples they claim, and their parameter blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from fedsiege.errors import UploadError
from fedsiege.updates.block import Block
from fedsiege.updates.spec import ModelSpec

Delta = Mapping[str, Block]
"""One update of the whole model: every block holds a single upload."""

NEAR = 1e-3

LARGEST = 1e15
"""Norm above which an upload counts as non-finite: its square would overflow float32 sums."""


def _norms(updates: UpdateBatch) -> np.ndarray:
    return np.sqrt(sum((block.sq_norms() for block in updates.blocks.values()), np.zeros(updates.n)))


@dataclass(frozen=True)
class Origin:
    """Where the uploads of a batch come from, so that what is known of them there need not be worked out again.

    Parameters
    ----------
    batch : UpdateBatch
        Another batch.
    places : numpy.ndarray
        int64 ``(n,)``: the place of each upload in it, −1 for one that is not in it.
    """

    batch: UpdateBatch
    places: np.ndarray

    @property
    def fresh(self) -> np.ndarray:
        """Places, in the batch of which this is the origin, of the uploads that are new."""
        return np.flatnonzero(self.places < 0)


@dataclass(frozen=True)
class UpdateBatch:
    """n uploads. The update of a client is what it would add to the model (w_i − w).

    Parameters
    ----------
    clients : numpy.ndarray
        int64 ``(n,)``: client ids.
    counts : numpy.ndarray
        float64 ``(n,)``: the sample counts that the clients declare.
    blocks : mapping of str to Block
        One block of n uploads for each shared parameter block.
    origin : Origin, optional
        The batch from which uploads were taken over as they are; `norms`, `gram` and `recall` use what it knows.
    """

    clients: np.ndarray
    counts: np.ndarray
    blocks: Mapping[str, Block] = field(repr=False)
    origin: Origin | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that all parts speak of the same n uploads (UploadError)."""
        for name, block in self.blocks.items():
            if not block.n == self.n == self.counts.shape[0]:
                raise UploadError(
                    f"block {name!r} holds {block.n} uploads, but there are {self.n} clients and "
                    f"{self.counts.shape[0]} sample counts"
                )

    @property
    def n(self) -> int:
        """Number of uploads."""
        return self.clients.shape[0]

    def _map(self, fn: Callable[[str, Block], Block]) -> dict[str, Block]:
        return {name: fn(name, block) for name, block in self.blocks.items()}

    def select(self, index: np.ndarray) -> UpdateBatch:
        """Return the uploads at `index` (integer positions or a bool mask), in that order."""
        index = np.flatnonzero(index) if np.asarray(index).dtype == bool else np.asarray(index, np.int64)
        if index.size == self.n and (index == np.arange(self.n)).all():
            return self
        origin = Origin(self, index) if self.origin else None
        return self._take(index, origin)

    def _take(self, index: np.ndarray, origin: Origin | None) -> UpdateBatch:
        blocks = self._map(lambda _, block: block.select(index))
        return UpdateBatch(self.clients[index], self.counts[index], blocks, origin)

    def replace(self, index: np.ndarray, other: UpdateBatch, again: bool = False) -> UpdateBatch:
        """Return a copy in which upload ``index[k]`` (values and sample count) is ``other``'s upload k.

        With `again` this batch works out once, for all such copies, what is asked about the uploads that stay; inner
        products may then be rounded otherwise.
        """
        counts = self.counts.copy()
        counts[index] = other.counts
        origin = None
        if again:
            places = np.arange(self.n)
            places[index] = -1
            origin = Origin(self, places)
        blocks = self._map(lambda name, block: block.replace(index, other.blocks[name]))
        return UpdateBatch(self.clients, counts, blocks, origin)

    def recall(self, key: Hashable, each: Callable[[UpdateBatch], np.ndarray], given: object = None) -> np.ndarray:
        """Return ``each(self)``, for uploads taken over from another batch as it was answered there.

        Parameters
        ----------
        key : hashable
            What is asked.
        each : callable
            Answers for each upload of a batch by itself, ``(n,)``: no upload changes what another is answered.
        given : object
            What the answer depends on besides key and uploads; it counts as the same only if it is the same object.
        """
        known = self._known.get(key)
        if known is None or known[0] is not given:
            if self.origin is None:
                found = each(self)
            else:
                fresh = self.origin.fresh
                found = self.origin.batch.recall(key, each, given)[self.origin.places]
                if fresh.size:
                    found[fresh] = each(self._take(fresh, None))
            known = self._known[key] = (given, found)
        return known[1]

    @cached_property
    def _known(self) -> dict[Hashable, tuple[object, np.ndarray]]:
        return {}

    def scale(self, factors: np.ndarray) -> UpdateBatch:
        """Return the uploads multiplied by one factor each, float64 ``(n,)``."""
        return UpdateBatch(self.clients, self.counts, self._map(lambda _, block: block.scale(factors)))

    def add(self, other: UpdateBatch) -> UpdateBatch:
        """Return the sums, upload by upload (clients and counts of the left side)."""
        return UpdateBatch(self.clients, self.counts, self._map(lambda name, block: block.add(other.blocks[name])))

    @property
    def norms(self) -> np.ndarray:
        """L2 norm of each whole upload, float64 ``(n,)``."""
        return self.recall("norms", _norms)

    @cached_property
    def finite(self) -> np.ndarray:
        """Whether each upload holds finite values only, bool ``(n,)``."""
        ok = np.ones(self.n, bool)
        for block in self.blocks.values():
            ok &= block.finite()
        return ok

    @property
    def usable(self) -> np.ndarray:
        """Whether each upload is finite and no longer than float32 sums bear (`LARGEST`), bool ``(n,)``."""
        # The norm of an upload with a NaN or an infinity is neither finite nor small, so it alone decides.
        with np.errstate(over="ignore", invalid="ignore"):
            return self.norms < LARGEST

    @cached_property
    def gram(self) -> np.ndarray:
        """Inner products of whole uploads, float64 ``(n, n)``."""
        if self.origin is None:
            return sum((block.gram() for block in self.blocks.values()), np.zeros((self.n, self.n)))
        places, fresh = self.origin.places, self.origin.fresh
        out = self.origin.batch.gram[np.ix_(places, places)]
        if fresh.size:
            rows = sum((block.products_with(fresh) for block in self.blocks.values()), np.zeros((fresh.size, self.n)))
            out[:, fresh], out[fresh] = rows.T, rows
        return out

    @cached_property
    def sq_distances(self) -> np.ndarray:
        """Squared L2 distances between uploads, float64 ``(n, n)``, zero diagonal, never negative.

        They come from the Gram matrix of the *updates*; pairs so near each other that ‖x‖² + ‖y‖² − 2xy
        would cancel are computed again from their difference.
        """
        sq = np.diag(self.gram)
        distances = sq[:, None] + sq[None, :] - 2 * self.gram
        near = np.argwhere(np.triu(distances < NEAR * (sq[:, None] + sq[None, :]), 1))
        if near.size:
            exact = sum((block.sq_distances(near) for block in self.blocks.values()), np.zeros(len(near)))
            distances[near[:, 0], near[:, 1]] = distances[near[:, 1], near[:, 0]] = exact
        np.fill_diagonal(distances, 0.0)
        return np.maximum(distances, 0.0)

    def weighted_sum(self, weights: np.ndarray) -> Delta:
        """Return Σ weight × upload, ``weights`` float64 ``(n,)``; uploads of weight 0 are not even read."""
        return self._map(lambda _, block: block.weighted_sum(weights))

    def moments(self) -> tuple[Delta, Delta]:
        """Return coordinate-wise mean and population standard deviation over the uploads."""
        pairs = {name: block.moments() for name, block in self.blocks.items()}
        return {k: v[0] for k, v in pairs.items()}, {k: v[1] for k, v in pairs.items()}

    def median(self) -> Delta:
        """Return the coordinate-wise median over the uploads."""
        return self._map(lambda _, block: block.median())

    def trimmed_mean(self, trim: int) -> Delta:
        """Return the coordinate-wise mean without the `trim` smallest and largest, ``0 ≤ 2 trim < n``."""
        return self._map(lambda _, block: block.trimmed_mean(trim))

    def flat(self) -> torch.Tensor:
        """Return the uploads as one dense matrix ``(n, parameters)``; for tests, plots and small models."""
        return torch.cat(
            [block.dense().reshape(self.n, math.prod(block.shape)) for block in self.blocks.values()], dim=1
        )

    def check(self, spec: ModelSpec) -> None:
        """Raise UploadError unless names, order and shapes are those of `spec`."""
        if tuple(self.blocks) != spec.names:
            raise UploadError(f"an upload has blocks {tuple(self.blocks)}, the model has {spec.names}")
        for block in spec.blocks:
            shape = self.blocks[block.name].shape
            if shape != block.shape:
                raise UploadError(f"block {block.name!r} has shape {shape}, the model has {block.shape}")
