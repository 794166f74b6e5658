"""Uploads of a round as one `UpdateBatch`: what was received minus what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedsiege.flower.layout import ArrayInfo, Layout
from fedsiege.updates import DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.block import Block


def working_dtype(info: ArrayInfo) -> type[np.floating]:
    """Return the dtype that an array's updates are computed and kept in: float64 for float64, else float32.

    The difference of two float32 numbers, rounded once, is the float64 difference rounded to float32: small updates
    of large weights lose nothing. Differences of float16 are exact or rounded once, too.
    """
    return np.float64 if info.dtype == "float64" else np.float32


def difference(received: np.ndarray, sent: np.ndarray, out: np.ndarray) -> None:
    """Write ``received − sent`` to `out`, computed in the dtype of `out`."""
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(received, sent, out=out, dtype=out.dtype)


def rows_of(info: ArrayInfo, received: Sequence[np.ndarray], sent: np.ndarray) -> RowBlock:
    """Return uploads of the item table, of which each lists the rows that it changes."""
    dtype, dim = working_dtype(info), info.shape[1]
    rows, values = [], []
    move = np.empty(info.shape, dtype)
    for value in received:
        difference(value, sent, move)
        touched = np.flatnonzero(move.any(1))
        rows.append(touched)
        values.append(move[touched])
    ends = np.cumsum([0, *(r.size for r in rows)])
    return RowBlock(
        torch.from_numpy(ends.astype(np.int64)),
        torch.from_numpy(np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64)),
        torch.from_numpy(np.concatenate([*values, np.empty((0, dim), dtype)])),
        info.shape[0],
    )


def stack(
    layout: Layout,
    sent: Mapping[str, np.ndarray],
    received: Sequence[Mapping[str, np.ndarray]],
    clients: Sequence[int],
    counts: np.ndarray,
) -> UpdateBatch:
    """Return well-formed uploads as updates.

    Parameters
    ----------
    layout : Layout
        The model's arrays.
    sent : mapping of str to numpy.ndarray
        The model that the clients started from.
    received : sequence of mappings
        The learnt arrays of each upload, shaped as the model's.
    clients : sequence of int
        Client numbers, ascending.
    counts : numpy.ndarray
        float64 ``(n,)``: sample counts to weigh with.
    """
    blocks: dict[str, Block] = {}
    for info in layout.learnt:
        mine = [values[info.name] for values in received]
        if info.name == layout.items:
            blocks[info.name] = rows_of(info, mine, sent[info.name])
            continue
        out = np.empty((len(mine), *info.shape), working_dtype(info))
        for place, value in enumerate(mine):
            difference(value, sent[info.name], out[place, ...])
        blocks[info.name] = DenseBlock(torch.from_numpy(out))
    return UpdateBatch(np.asarray(clients, np.int64), np.asarray(counts, np.float64), blocks)
