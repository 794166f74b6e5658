"""A block whose uploads are full tensors, such as a network's weight matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from fedsiege.kernels import columns, matrix

GRAM_COLUMNS = 1 << 16

COMPILED = (torch.float32, torch.float64)


@dataclass(frozen=True)
class DenseBlock:
    """n dense uploads of one parameter.

    Parameters
    ----------
    values : torch.Tensor
        Shape ``(n, *shape)``, floating.
    """

    values: torch.Tensor

    @property
    def n(self) -> int:
        """Number of uploads."""
        return self.values.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        return tuple(self.values.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Floating dtype of the values."""
        return self.values.dtype

    @property
    def flat(self) -> torch.Tensor:
        """The uploads as a matrix ``(n, size)``."""
        return self.values.reshape(self.n, math.prod(self.shape))

    def select(self, index: np.ndarray) -> DenseBlock:
        """Return the uploads at the integer positions `index`, in that order."""
        return DenseBlock(self.values[torch.from_numpy(np.asarray(index, np.int64))])

    def replace(self, index: np.ndarray, other: DenseBlock) -> DenseBlock:
        """Return a copy in which upload ``index[k]`` is ``other``'s upload k."""
        values = self.values.clone()
        values[torch.from_numpy(np.asarray(index, np.int64))] = other.values.to(values.dtype)
        return DenseBlock(values)

    def _factors(self, factors: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(factors, dtype=self.dtype, device=self.values.device)

    def scale(self, factors: np.ndarray) -> DenseBlock:
        """Return the uploads multiplied by one factor each."""
        return DenseBlock(self.values * self._factors(factors).view(-1, *[1] * len(self.shape)))

    def add(self, other: DenseBlock) -> DenseBlock:
        """Return the sums, upload by upload."""
        return DenseBlock(self.values + other.values)

    @property
    def compiled(self) -> bool:
        """Whether kernels can read the values where they are; torch does the work otherwise."""
        return self.values.device.type == "cpu" and self.dtype in COMPILED

    def sq_norms(self) -> np.ndarray:
        """Return squared L2 norms, float64 ``(n,)``."""
        if self.compiled:
            return matrix.sq_norms(self.flat.numpy())
        return self.flat.double().square().sum(1).cpu().numpy()

    def finite(self) -> np.ndarray:
        """Return whether each upload holds finite values only."""
        if not self.compiled:
            return torch.isfinite(self.flat).all(1).cpu().numpy()
        # Only a square that overflows float64 makes the sum of finite values infinite.
        ok = np.isfinite(self.sq_norms())
        for i in np.flatnonzero(~ok):
            ok[i] = bool(torch.isfinite(self.flat[i]).all())
        return ok

    def gram(self) -> np.ndarray:
        """Return all inner products, float64, symmetric; only products of a piece have the values' dtype."""
        out = torch.zeros(self.n, self.n, dtype=torch.float64, device=self.values.device)
        for piece in self.flat.split(GRAM_COLUMNS, dim=1):
            out += (piece @ piece.T).double()
        # A matrix product may round x·y and y·x differently; one half decides.
        return (out.triu() + out.triu(1).T).cpu().numpy()

    def products_with(self, index: np.ndarray) -> np.ndarray:
        """Return the inner products of the uploads at `index` with all, float64 ``(len(index), n)``."""
        own = torch.from_numpy(np.asarray(index, np.int64)).to(self.values.device)
        out = torch.zeros(own.shape[0], self.n, dtype=torch.float64, device=self.values.device)
        for piece in self.flat.split(GRAM_COLUMNS, dim=1):
            out += (piece[own] @ piece.T).double()
        among = out[:, own]
        out[:, own] = among.triu() + among.triu(1).T
        return out.cpu().numpy()

    def sq_distance(self, a: int, b: int) -> float:
        """Return the squared distance of two uploads from their difference, in float64."""
        return float(self.sq_distances(np.array([[a, b]]))[0])

    def sq_distances(self, pairs: np.ndarray) -> np.ndarray:
        """Return squared distances of pairs of uploads, ``(m, 2)``, from their differences, float64 ``(m,)``."""
        flat = self.flat
        if self.compiled:
            return matrix.sq_distances(flat.numpy(), np.asarray(pairs, np.int64))
        gaps = [(flat[a].double() - flat[b].double()).square().sum() for a, b in pairs.tolist()]
        return np.array([float(gap) for gap in gaps])

    def products(self, param: torch.Tensor) -> np.ndarray:
        """Return inner products with one vector of the parameter's size, summed in float64, ``(n,)``."""
        flat, other = self.flat, param.reshape(-1)
        if self.compiled and param.device.type == "cpu" and param.dtype in COMPILED:
            return matrix.dots(flat.numpy(), other.numpy())
        total = torch.zeros(self.n, dtype=torch.float64)
        for piece, part in zip(flat.split(GRAM_COLUMNS, dim=1), other.split(GRAM_COLUMNS)):
            total += (piece.double() * part.to(piece.device, torch.float64)).sum(1).cpu()
        return total.numpy()

    def weighted_sum(self, weights: np.ndarray) -> DenseBlock:
        """Return Σ weight × upload as a block of one upload; uploads of weight 0 are not read.

        Summed in float64 and rounded once where kernels can read the values, in the values' dtype elsewhere.
        """
        if self.compiled:
            total = torch.from_numpy(matrix.weighted_sum(self.flat.numpy(), weights))
        else:
            used = torch.from_numpy(np.flatnonzero(weights)).to(self.values.device)
            total = self._factors(weights)[used] @ self.flat[used]
        return DenseBlock(total.view(1, *self.shape))

    def moments(self) -> tuple[DenseBlock, DenseBlock]:
        """Return mean and population standard deviation over uploads."""
        mean = self.values.mean(0, keepdim=True)
        return DenseBlock(mean), DenseBlock((self.values - mean).square().mean(0, keepdim=True).sqrt())

    def median(self) -> DenseBlock:
        """Return the coordinate-wise median (mean of the middle two for even n)."""
        if self.compiled:
            result = torch.from_numpy(columns.median(self.flat.numpy()))
        else:
            ordered = self.flat.sort(0).values
            result = (ordered[(self.n - 1) // 2] + ordered[self.n // 2]) / 2
        return DenseBlock(result.view(1, *self.shape))

    def trimmed_mean(self, trim: int) -> DenseBlock:
        """Return the coordinate-wise mean without the `trim` smallest and largest."""
        if self.compiled:
            result = torch.from_numpy(columns.trimmed_mean(self.flat.numpy(), trim))
        else:
            result = self.flat.sort(0).values[trim : self.n - trim].mean(0)
        return DenseBlock(result.view(1, *self.shape))

    def dense(self) -> torch.Tensor:
        """Return the uploads as one tensor ``(n, *shape)``."""
        return self.values
