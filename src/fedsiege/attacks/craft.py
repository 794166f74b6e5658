"""What model-poisoning attacks share: a crafted delta as an upload, and moments of honest updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from fedsiege.attacks.base import AttackView
from fedsiege.checks import require
from fedsiege.updates import Delta, DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.block import Block
from fedsiege.updates.noise import uniforms


def repeat(block: Block, n: int) -> Block:
    """Return a block of `n` copies of a single upload."""
    return block.select(np.zeros(n, np.int64))


def values_of(block: Block) -> torch.Tensor:
    """Return the stored values of a block: ``(nnz, dim)`` if row-sparse, ``(n, *shape)`` if dense."""
    assert isinstance(block, RowBlock | DenseBlock)
    return block.values


def with_values(block: Block, values: torch.Tensor) -> Block:
    """Return a block with the same rows and other `values`."""
    if isinstance(block, RowBlock):
        return RowBlock(block.indptr, block.rows, values.to(block.dtype), block.num_rows)
    return DenseBlock(values.to(block.dtype))


def uploads(like: UpdateBatch, blocks: Mapping[str, Block]) -> UpdateBatch:
    """Return crafted `blocks` under the clients and genuine sample counts of `like`."""
    return UpdateBatch(like.clients, like.counts, dict(blocks))


def same_for_all(like: UpdateBatch, delta: Delta) -> UpdateBatch:
    """Return `delta` as the upload of every client of `like`."""
    return uploads(like, {name: repeat(block, like.n) for name, block in delta.items()})


def sound(updates: UpdateBatch) -> UpdateBatch:
    """Return the uploads without those of clients that have diverged, which the server throws away unread."""
    return updates.select(updates.usable)


def known(view: AttackView) -> UpdateBatch:
    """Return the coalition's honest updates that an attacker can reckon with; needs ``Knowledge.COALITION``.

    They are those of as many malicious clients as a cohort holds (or all, if there are fewer), sampled in
    this round or not. Clients that have diverged are left out, and if all have, nothing is left.
    """
    return sound(view.honest(view.pool(limit=view.cohort)))


def coalition(view: AttackView) -> tuple[Delta, Delta]:
    """Return mean and standard deviation of the coalition's honest updates; needs ``Knowledge.COALITION``.

    They are those of `known`; if that is nothing, dense blocks are NaN. Rows that none of them touches have no
    entry, so a crafted upload leaves them untouched.
    """
    return known(view).moments()


def each(
    like: UpdateBatch,
    mean: Delta,
    std: Delta,
    view: AttackView,
    purpose: str,
    craft: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> UpdateBatch:
    """Return an upload of its own for every client of `like`: ``craft(mean, std, uniforms)``, value by value.

    ``uniforms`` are U(0, 1) in float64, addressed by seed, purpose, block, round and client.
    """
    blocks: dict[str, Block] = {}
    for name, block in mean.items():
        spread = repeat(block, like.n)
        assert isinstance(spread, RowBlock | DenseBlock)
        u = uniforms(spread, like.clients, view.seed, f"{purpose}/{name}", view.round)
        values = craft(values_of(spread).double(), values_of(repeat(std[name], like.n)).double(), u)
        blocks[name] = with_values(spread, values)
    return uploads(like, blocks)


def check_direction(field: str, value: object) -> None:
    """Check in what a deviation is subtracted: in gradients or in updates."""
    require(value in ("gradient", "update"), field, value, "'gradient' or 'update'")


def towards(direction: str) -> float:
    """Return the sign of a deviation in updates that is subtracted in gradients or in updates: 1 or −1."""
    return -1.0 if direction == "update" else 1.0


def combined(mean: Delta, std: Delta, craft: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> dict[str, Block]:
    """Return ``craft(mean, std)``, value by value, as one update."""
    return {name: with_values(block, craft(values_of(block), values_of(std[name]))) for name, block in mean.items()}
