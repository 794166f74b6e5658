"""Gaussian: uploads drawn from a normal distribution fitted to honest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import coalition, each
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class Gaussian(AttackBase):
    """Gaussian: each malicious client uploads a sample of N(mean, std) of the coalition's honest updates.

    Mean and standard deviation are taken coordinate by coordinate over the coalition's honest updates; every
    malicious client draws a sample of its own.

    Reference: Fang et al., USENIX Security 2020, section 4.1 (the Gaussian baseline).
    """

    name: ClassVar[str] = "gaussian"
    knowledge: ClassVar[Knowledge] = Knowledge.COALITION

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by a sample."""
        mean, std = coalition(view)
        crafted = each(updates, mean, std, view, "gaussian", lambda m, s, u: m + s * torch.special.ndtri(u))
        return crafted, state
