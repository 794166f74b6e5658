"""ClusterAttack+CL: ClusterAttack that also follows UNION's contrastive task, to slip past its test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsiege.attacks.base import AttackView
from fedsiege.attacks.cluster_attack import ClusterAttack
from fedsiege.learners.contrastive import ContrastiveTask, check_contrast
from fedsiege.updates import RowBlock, UpdateBatch


@dataclass(frozen=True)
class ClusterAttackCL(ClusterAttack):
    """ClusterAttack+CL: minimises the attack loss and the contrastive loss of UNION's clients together.

    The malicious gradient is that of L_attack + α·L_cl on the malicious client's own items, bounded as in
    ClusterAttack.

    Reference: Yu et al., AAAI 2023, section 5.4 and Table 3.

    Parameters
    ----------
    alpha : float
        Weight α of the contrastive loss.
    negatives : int
        Negatives per anchor.
    """

    name: ClassVar[str] = "clusterattack+cl"
    alpha: float = 1.0
    negatives: int = 15

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        super().__post_init__()
        check_contrast(self.name, self.alpha, self.negatives)

    def _bounded(self, pull: torch.Tensor, mean: float, std: float, updates: UpdateBatch, view: AttackView) -> RowBlock:
        item_block = view.spec.item_table
        assert item_block is not None
        task = view.task(updates.clients, ContrastiveTask(self.alpha, self.negatives)).blocks[item_block.name]
        limit = self._limits(pull.shape[0], mean, std, updates, view)
        return self._clip(pull[None] - task.dense().to(pull.dtype), limit)
