"""Data poisoning that knows the defense: uploads enlarged as far as it would still accept them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.search import climb
from fedsiege.attacks.targeted_label_flip import TargetedLabelFlip
from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


@dataclass(frozen=True)
class AdaptiveScaling(AttackBase):
    """The search of Algorithm 3: each upload times the largest λ that the defense is found to accept.

    It is the bisection of `fedsiege.attacks.adaptive_wrapper` on [1, 1 + 2·first_step), without a benign mean.

    λ starts at 1. As long as δ is at least `last_step`, λ + δ is kept if the defense accepts it and taken back if
    not, and δ is halved. Every client has a λ of its own; all are asked about at once. An upload that the defense
    rejects even as it is goes out as it is, with λ = 1.
    """

    knowledge: ClassVar[Knowledge] = Knowledge.ORACLE
    first_step: float = 2.0
    last_step: float = 0.125

    def __post_init__(self) -> None:
        """Check ranges."""
        ok = is_real(self.last_step) and self.last_step > 0
        require(ok, f"{self.name}.last_step", self.last_step, "a finite number above 0")
        ok = is_real(self.first_step) and self.first_step > 0
        require(ok, f"{self.name}.first_step", self.first_step, "a finite number above 0")

    def factors(self, updates: UpdateBatch, view: AttackView) -> np.ndarray:
        """Return λ of every upload, float64 ``(n,)``."""
        steps, step = 0, self.first_step
        while step >= self.last_step:
            steps, step = steps + 1, step / 2
        return climb(lambda at: view.oracle(updates.scale(at)), np.ones(updates.n), 2 * self.first_step, steps)

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Enlarge every upload by its factor."""
        return updates.scale(self.factors(updates, view)), state


@dataclass(frozen=True)
class AdaptiveLabelFlip(AdaptiveScaling, LabelFlip):
    """Adaptive LabelFlip: LabelFlip with each upload enlarged as far as the defense still accepts it.

    The attacker runs the server's defense on its own uploads, with all of its settings.

    Reference: Xie et al., FedREDefense, ICML 2024, section 6.1, Algorithm 3.

    Parameters
    ----------
    first_step : float
        First δ of the search, above 0.
    last_step : float
        The search ends when δ falls below this, above 0.
    """

    name: ClassVar[str] = "adaptive-labelflip"


@dataclass(frozen=True)
class AdaptiveTargetedLabelFlip(AdaptiveScaling, TargetedLabelFlip):
    """Adaptive targeted flip: TargetedLabelFlip with each upload enlarged as far as the defense still accepts it.

    The attacker runs the server's defense on its own uploads, with all of its settings.

    Reference: Xie et al., FedREDefense, ICML 2024, section 6.1, Algorithm 3.

    Parameters
    ----------
    source : int
        Class whose samples are relabelled.
    target : int
        The label that they get, another class.
    first_step : float
        First δ of the search, above 0.
    last_step : float
        The search ends when δ falls below this, above 0.
    """

    name: ClassVar[str] = "adaptive-targeted-labelflip"

    def __post_init__(self) -> None:
        """Check ranges."""
        AdaptiveScaling.__post_init__(self)
        TargetedLabelFlip.__post_init__(self)
