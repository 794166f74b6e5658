"""Fang: beyond the range of honest updates, on the wrong side of zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import coalition, each
from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class Fang(AttackBase):
    """Fang: deviate each coordinate against the direction in which honest updates would move it.

    With partial knowledge the attacker estimates mean and standard deviation of each coordinate from the
    coalition's honest updates and uploads mean − sign(mean)·U(low, high)·std, drawn anew for every
    coordinate and client. The rule reads the same in gradients and in updates, since both mean and sign
    change theirs. Where the mean is zero there is no direction to oppose, and the coordinate stays zero.

    Reference: Fang et al., USENIX Security 2020, section 3.3 (trimmed mean, partial knowledge).

    Parameters
    ----------
    low, high : float
        Range of the deviation in standard deviations, 0 ≤ low ≤ high.
    """

    name: ClassVar[str] = "fang"
    knowledge: ClassVar[Knowledge] = Knowledge.COALITION
    low: float = 3.0
    high: float = 4.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require(is_real(self.low) and self.low >= 0, "fang.low", self.low, "a finite number of at least 0")
        ok = is_real(self.high) and self.high >= self.low
        require(ok, "fang.high", self.high, "a finite number of at least fang.low")

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by a deviated mean."""
        mean, std = coalition(view)

        def deviate(m: torch.Tensor, s: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
            return m - m.sign() * (self.low + (self.high - self.low) * u) * s

        return each(updates, mean, std, view, "fang", deviate), state
