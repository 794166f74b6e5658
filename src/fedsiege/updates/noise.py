"""Random numbers in the shape of a block's stored values, addressed by client."""

from __future__ import annotations

import math

import numpy as np
import torch

from fedsiege.errors import UploadError
from fedsiege.kernels import noise as kernels
from fedsiege.rng import client_keys
from fedsiege.updates.block import Block
from fedsiege.updates.dense import DenseBlock
from fedsiege.updates.sparse import RowBlock


def _layout(block: Block) -> tuple[np.ndarray, np.ndarray, int]:
    """Return ``(indptr, rows, columns)``; a dense upload is one row numbered 0."""
    if isinstance(block, RowBlock):
        return *block.arrays[:2], block.shape[1]
    return np.arange(block.n + 1), np.zeros(block.n, np.int64), math.prod(block.shape)


def _values(block: Block) -> np.ndarray:
    """Return the stored values, a row of the table or a dense upload each."""
    if isinstance(block, RowBlock):
        return block.arrays[2]
    assert isinstance(block, DenseBlock)
    return block.flat.cpu().contiguous().numpy()


def _keys(clients: np.ndarray, seed: int, purpose: str, round_: int) -> np.ndarray:
    return client_keys(seed, purpose, round_, np.asarray(clients, np.int64))


def stored(block: Block) -> np.ndarray:
    """Return how many values each upload stores, float64 ``(n,)``."""
    if isinstance(block, RowBlock):
        return np.diff(block.arrays[0]) * float(block.shape[1])
    return np.full(block.n, float(math.prod(block.shape)))


def uniforms(block: RowBlock | DenseBlock, clients: np.ndarray, seed: int, purpose: str, round_: int) -> torch.Tensor:
    """Return U(0, 1) numbers (ends excluded) for each stored value of `block`, float64, where and as its values are.

    A number depends on (seed, purpose, round, client, table row, column) alone.

    Parameters
    ----------
    block : Block
        Block of n uploads.
    clients : numpy.ndarray
        int64 ``(n,)``: whose uploads they are.
    seed, purpose, round_
        Address; see :mod:`fedsiege.rng`. Blocks of one model need purposes of their own.
    """
    out = torch.from_numpy(kernels.uniforms(*_layout(block), _keys(clients, seed, purpose, round_)))
    return out.view(block.values.shape).to(block.values.device)


def laplace_where_flat(
    block: Block,
    later: Block,
    width: np.ndarray,
    clients: np.ndarray,
    seed: int,
    purpose: str,
    round_: int,
) -> Block:
    """Return `block` with Laplace noise on each stored value no farther from `later`'s than the noise.

    Parameters
    ----------
    block, later : Block
        Uploads on the same rows (else UploadError).
    width : numpy.ndarray
        float64 ``(n,)``: parameter b of each upload's noise, whose standard deviation is √2·b.
    clients, seed, purpose, round_
        Address; see `uniforms`.
    """
    indptr, rows, columns = _layout(block)
    other_indptr, other_rows, _ = _layout(later)
    if not (np.array_equal(indptr, other_indptr) and np.array_equal(rows, other_rows)):
        raise UploadError("consecutive updates of a client must be on the same rows; the learner gave other rows")
    keys = _keys(clients, seed, purpose, round_)
    tails = kernels.signed_tails(indptr, rows, columns, keys)
    logs = np.abs(tails)
    np.log(logs, out=logs)  # numpy's is vectorised, numba's is one call of the C library a value
    out = torch.from_numpy(kernels.add_where_flat(indptr, _values(block), _values(later), tails, logs, width))
    if isinstance(block, RowBlock):
        return RowBlock(block.indptr, block.rows, out, block.num_rows)
    assert isinstance(block, DenseBlock)
    return DenseBlock(out.view(block.values.shape).to(block.values.device))
