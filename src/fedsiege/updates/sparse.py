"""A block whose uploads touch some rows of a large table, such as the items a client has seen.

A rule over row-sparse uploads gives exactly what it would give over dense ones in which the untouched rows are
zero, at a cost that follows the touched rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fedsiege.kernels import rows as kernels


@dataclass(frozen=True)
class Grouping:
    """The entries of a `RowBlock` in order of their table row (see :mod:`fedsiege.kernels.rows`)."""

    unique: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    owner: np.ndarray


@dataclass(frozen=True)
class RowBlock:
    """n row-sparse uploads of a table.

    Parameters
    ----------
    indptr : torch.Tensor
        int64 ``(n + 1,)``: upload i holds entries ``indptr[i]`` to ``indptr[i + 1] - 1``.
    rows : torch.Tensor
        int64 ``(nnz,)``: the table row of each entry, strictly ascending within an upload.
    values : torch.Tensor
        Floating ``(nnz, dim)``.
    num_rows : int
        Rows of the whole table.
    """

    indptr: torch.Tensor
    rows: torch.Tensor
    values: torch.Tensor
    num_rows: int

    @classmethod
    def from_dense(cls, dense: torch.Tensor, rows: torch.Tensor | None = None, num_rows: int | None = None) -> RowBlock:
        """Make a block in which every upload lists the same `rows` (default: all), values ``(n, len(rows), dim)``."""
        n, count, dim = dense.shape
        if rows is None:
            rows = torch.arange(count)
        return cls(
            torch.arange(n + 1) * count,
            rows.repeat(n),
            dense.reshape(n * count, dim),
            count if num_rows is None else num_rows,
        )

    @property
    def n(self) -> int:
        """Number of uploads."""
        return self.indptr.shape[0] - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the table."""
        return (self.num_rows, self.values.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the values."""
        return self.values.dtype

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(indptr, rows, values)`` as NumPy views."""
        return self.indptr.numpy(), self.rows.numpy(), self.values.numpy()

    @cached_property
    def grouping(self) -> Grouping:
        """Entries by table row, made once."""
        indptr, rows, _ = self.arrays
        owner = kernels.owners(indptr)
        if self.num_rows <= 8 * rows.size:
            unique, starts, order = kernels.group_by_counting(rows, self.num_rows)
        else:
            order = np.argsort(rows, kind="stable")
            unique, first = np.unique(rows[order], return_index=True)
            starts = np.append(first, rows.size)
        return Grouping(unique, starts, order, owner)

    def _one(self, rows: np.ndarray, values: np.ndarray) -> RowBlock:
        return RowBlock(torch.tensor([0, rows.size]), torch.from_numpy(rows), torch.from_numpy(values), self.num_rows)

    def select(self, index: np.ndarray) -> RowBlock:
        """Return the uploads at the integer positions `index`, in that order."""
        indptr, rows, values = self.arrays
        return self._take((indptr[:1], rows[:0], values[:0]), np.asarray(index, np.int64))

    def replace(self, index: np.ndarray, other: RowBlock) -> RowBlock:
        """Return a copy in which upload ``index[k]`` is ``other``'s upload k."""
        new = other.indptr.numpy(), other.rows.numpy(), other.values.to(self.dtype).numpy()
        picked = np.arange(self.n)
        picked[np.asarray(index, np.int64)] = self.n + np.arange(other.n)
        return self._take(new, picked)

    def _take(self, new: tuple[np.ndarray, np.ndarray, np.ndarray], index: np.ndarray) -> RowBlock:
        """Return the uploads at `index` of this block and of another's arrays, counted through."""
        sizes = np.concatenate([np.diff(self.arrays[0]), np.diff(new[0])])
        indptr = np.concatenate([[0], np.cumsum(sizes[index])])
        rows, values = kernels.take(*self.arrays, *new, index, indptr)
        return RowBlock(torch.from_numpy(indptr), torch.from_numpy(rows), torch.from_numpy(values), self.num_rows)

    def scale(self, factors: np.ndarray) -> RowBlock:
        """Return the uploads multiplied by one factor each."""
        per_entry = torch.as_tensor(factors, dtype=self.dtype).repeat_interleave(self.indptr.diff())
        return RowBlock(self.indptr, self.rows, self.values * per_entry[:, None], self.num_rows)

    def add(self, other: RowBlock) -> RowBlock:
        """Return the sums, upload by upload; rows of either side."""
        both = RowBlock(
            torch.cat([self.indptr, self.indptr[-1] + other.indptr[1:]]),
            torch.cat([self.rows, other.rows]),
            torch.cat([self.values, other.values.to(self.dtype)]),
            self.num_rows,
        )
        owner = torch.from_numpy(kernels.owners(both.indptr.numpy()).astype(np.int64)) % max(self.n, 1)
        cell, inverse = torch.unique(owner * self.num_rows + both.rows, return_inverse=True)
        values = torch.zeros(cell.shape[0], self.values.shape[1], dtype=self.dtype)
        values.index_add_(0, inverse, both.values)
        counts = torch.bincount(cell // self.num_rows, minlength=self.n)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        return RowBlock(indptr, cell % self.num_rows, values, self.num_rows)

    def sq_norms(self) -> np.ndarray:
        """Return squared L2 norms, float64 ``(n,)``."""
        indptr, _, values = self.arrays
        return kernels.sq_norms(indptr, values)

    def row_norms(self) -> np.ndarray:
        """Return the L2 norm of each entry, float64 ``(nnz,)``."""
        return kernels.row_norms(self.arrays[2])

    def finite(self) -> np.ndarray:
        """Return whether each upload holds finite values only."""
        indptr, _, values = self.arrays
        return kernels.finite(indptr, values)

    def gram(self) -> np.ndarray:
        """Return all inner products, float64, from co-touched rows only."""
        g = self.grouping
        return kernels.gram(g.starts, g.order, g.owner, self.arrays[2], self.n)

    def products_with(self, index: np.ndarray) -> np.ndarray:
        """Return the inner products of the uploads at `index` with all, float64 ``(len(index), n)``."""
        return kernels.products_with(*self.arrays, np.asarray(index, np.int64), self.num_rows)

    def sq_distance(self, a: int, b: int) -> float:
        """Return the squared distance of two uploads from their difference, in float64."""
        return float(kernels.sq_distance(*self.arrays, a, b))

    def sq_distances(self, pairs: np.ndarray) -> np.ndarray:
        """Return squared distances of pairs of uploads, ``(m, 2)``, from their differences, float64 ``(m,)``."""
        return kernels.sq_distances(*self.arrays, np.asarray(pairs, np.int64))

    def weighted_sum(self, weights: np.ndarray) -> RowBlock:
        """Return Σ weight × upload; uploads of weight 0 are not read."""
        g = self.grouping
        w = np.asarray(weights, self.arrays[2].dtype)
        return self._one(g.unique, kernels.weighted_sum(*self.arrays, g.unique, w))

    def moments(self) -> tuple[RowBlock, RowBlock]:
        """Return mean and population standard deviation over uploads, untouched rows counted as zero."""
        g = self.grouping
        mean, std = kernels.moments(g.starts, g.order, g.owner, self.arrays[2], self.n)
        return self._one(g.unique, mean), self._one(g.unique.copy(), std)

    def median(self) -> RowBlock:
        """Return the coordinate-wise median; a row that fewer than half the uploads touch is zero."""
        g = self.grouping
        return self._one(g.unique, kernels.median(g.starts, g.order, self.arrays[2], self.n))

    def trimmed_mean(self, trim: int) -> RowBlock:
        """Return the coordinate-wise trimmed mean, untouched rows counted as zero."""
        g = self.grouping
        return self._one(g.unique, kernels.trimmed_mean(g.starts, g.order, self.arrays[2], self.n, trim))

    def dense(self) -> torch.Tensor:
        """Return the uploads as one tensor ``(n, num_rows, dim)``."""
        out = torch.zeros(self.n, *self.shape, dtype=self.dtype)
        kernels.scatter_dense(*self.arrays, out.numpy())
        return out
