"""FedAttack: training on the globally hardest pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase, Knowledge
from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.learners.base import Held, LocalData, Pairs

SCORES_AT_ONCE = 1 << 24


def extremes(users: torch.Tensor, items: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each user's `count` highest-ranked items ``(n, count)`` and lowest-ranked other item ``(n,)``.

    Ranks are of the dot product. Users go in batches, so that memory does not follow n times the catalog.
    """
    batch = max(SCORES_AT_ONCE // max(items.shape[0], 1), 1)
    top, low = [], []
    for part in users.split(batch):
        scores = part @ items.T
        best = scores.topk(count, dim=1).indices
        # Where many scores tie, the lowest must still be another item than the highest.
        scores.scatter_(1, best, torch.inf)
        top.append(best)
        low.append(scores.argmin(1))
    return torch.cat(top), torch.cat(low)


@dataclass(frozen=True)
class FedAttack(AttackBase):
    """FedAttack: malicious clients train honestly on the globally hardest samples.

    Under the received model each malicious client ranks the whole catalog by the dot product with its own
    user vector. In every training pair the positive becomes the lowest-ranked item, and the negative is
    drawn from the 2·K highest-ranked ones without the pair's true positive. Items that the user likes are
    thus pushed away and the farthest one is pulled near.

    Reference: Wu et al., FedAttack, KDD 2022 (hard sampling; the lowest rank as in its published notebook).

    Parameters
    ----------
    k : int
        K ≥ 1: negatives come from the 2·K highest-ranked items.
    table : str
        Name of the shared table of item vectors.
    """

    name: ClassVar[str] = "fedattack"
    needs: ClassVar[frozenset[Capability]] = frozenset({"pairs", "items"})
    knowledge: ClassVar[Knowledge] = Knowledge.MODEL
    poisons_data: ClassVar[bool] = True
    k: int = 1
    table: str = "items"

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_count(self.k) and self.k >= 1, "fedattack.k", self.k, "an int of at least 1")

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs:
        """Return the hardest pairs; a catalog of fewer than two items leaves them as they are."""
        assert isinstance(data, LocalData)
        pairs = data.pairs
        if data.num_items < 2 or not pairs.items.size:
            return pairs
        items = data.model.table(self.table)
        count = min(2 * self.k, data.num_items - 1)
        top, low = (x.numpy() for x in extremes(data.users.to(items.dtype), items, count))
        owner = np.repeat(np.arange(pairs.clients.size), np.diff(pairs.ptr))
        candidates = top[owner]
        known = candidates == pairs.items[:, :1]
        # The true positive is skipped, unless it is the only candidate (a catalog of two items).
        free = np.maximum(count - known.sum(1), 1)
        pick = (rng.random(owner.size) * free).astype(np.int64)
        if count > 1:
            pick += known.any(1) & (pick >= known.argmax(1))
        chosen = np.stack([low[owner], candidates[np.arange(owner.size), pick]], axis=1)
        return Pairs(pairs.clients, pairs.ptr, chosen.astype(pairs.items.dtype))
