"""What every block of uploads can do, whether dense or row-sparse."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import torch


class Block(Protocol):
    """n uploads of one parameter block. All methods are pure; n may be 0."""

    @property
    def n(self) -> int:
        """Number of uploads."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter itself (of one upload made dense)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the values."""
        ...

    def select(self, index: np.ndarray) -> Self:
        """Return the uploads at the integer positions `index`, in that order."""
        ...

    def replace(self, index: np.ndarray, other: Self) -> Self:
        """Return a copy in which upload ``index[k]`` is ``other``'s upload k."""
        ...

    def scale(self, factors: np.ndarray) -> Self:
        """Return the uploads multiplied by one factor each, ``factors`` float64 ``(n,)``."""
        ...

    def add(self, other: Self) -> Self:
        """Return the sums, upload by upload."""
        ...

    def sq_norms(self) -> np.ndarray:
        """Return squared L2 norms, float64 ``(n,)``."""
        ...

    def finite(self) -> np.ndarray:
        """Return whether each upload holds finite values only, bool ``(n,)``."""
        ...

    def gram(self) -> np.ndarray:
        """Return all inner products, float64 ``(n, n)``."""
        ...

    def products_with(self, index: np.ndarray) -> np.ndarray:
        """Return the inner products of the uploads at `index` with all, float64 ``(len(index), n)``.

        Those among the uploads at `index` are symmetric.
        """
        ...

    def sq_distance(self, a: int, b: int) -> float:
        """Return the squared distance of two uploads from their difference, in float64."""
        ...

    def sq_distances(self, pairs: np.ndarray) -> np.ndarray:
        """Return squared distances of pairs of uploads, ``(m, 2)``, from their differences, float64 ``(m,)``."""
        ...

    def weighted_sum(self, weights: np.ndarray) -> Self:
        """Return Σ weight × upload as a block of one upload, ``weights`` float64 ``(n,)``."""
        ...

    def moments(self) -> tuple[Self, Self]:
        """Return mean and population standard deviation over uploads, each a block of one upload."""
        ...

    def median(self) -> Self:
        """Return the coordinate-wise median as a block of one upload."""
        ...

    def trimmed_mean(self, trim: int) -> Self:
        """Return the coordinate-wise mean without the `trim` smallest and largest, ``0 ≤ 2 trim < n``."""
        ...

    def dense(self) -> torch.Tensor:
        """Return the uploads as one tensor ``(n, *shape)``."""
        ...
