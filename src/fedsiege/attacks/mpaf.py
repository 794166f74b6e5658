"""MPAF: draw the model back to where it started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import repeat, uploads
from fedsiege.checks import is_real, require
from fedsiege.learners.base import ModelView, State
from fedsiege.updates import DenseBlock, ModelSpec, RowBlock, UpdateBatch
from fedsiege.updates.block import Block


def _shared(model: ModelView, spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Return a copy of all shared parameters."""
    return {
        block.name: (model.table(block.name) if block.axis == "items" else model.param(block.name)).detach().clone()
        for block in spec.blocks
    }


@dataclass(frozen=True)
class MPAF(AttackBase):
    """MPAF: upload scale × (base model − current model), so that training returns to the base model.

    The base model is the one that the attacker has seen first, which is the initial model if it takes part from the
    start. In that first round the two models are equal and every upload is exactly zero. Of an item table a client
    uploads the rows that its honest upload would touch, so that cost follows the cohort and not the catalog; dense
    blocks are complete. All malicious clients of a round follow the same difference.

    Reference: Cao & Gong, MPAF, CVPR Workshops 2022 (base model as in Xie et al., FedREDefense, ICML
    2024, appendix A.2).

    Parameters
    ----------
    scale : float
        How many times the difference is uploaded, above 0.
    """

    name: ClassVar[str] = "mpaf"
    knowledge: ClassVar[Knowledge] = Knowledge.MODEL
    scale: float = 3.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_real(self.scale) and self.scale > 0, "mpaf.scale", self.scale, "a finite number above 0")

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by the scaled difference, and remember the first model."""
        if not state:
            state = {"base": _shared(view.model, view.spec)}
        blocks: dict[str, Block] = {}
        for name, block in updates.blocks.items():
            assert isinstance(block, RowBlock | DenseBlock)
            base = state["base"][name].to(block.values.device)  # A state read from disk is on the CPU.
            if isinstance(block, RowBlock):
                rows = np.unique(block.arrays[1])
                now = view.model.table(name, rows)
                values = self.scale * (base[block.rows] - now[block.rows])
                blocks[name] = RowBlock(block.indptr, block.rows, values.to(block.dtype), block.num_rows)
            else:
                values = self.scale * (base - view.model.param(name))
                blocks[name] = repeat(DenseBlock(values.to(block.dtype)[None]), updates.n)
        return uploads(updates, blocks), state
