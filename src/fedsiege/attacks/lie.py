"""LIE: the mean of honest updates, shifted by as little as honest updates differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import ndtri

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import check_direction, coalition, combined, same_for_all, towards
from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch

FALLBACK = 1.5


def z_max(n: int, m: int) -> float:
    """Return the number of standard deviations that `m` malicious clients among `n` may shift the mean.

    The attacker needs s = ⌊n/2 + 1⌋ − m honest supporters, so z is the normal quantile of (n − m − s) / (n
    − m). That shifts nothing away from the mean (z ≤ 0, as with one attacker among fifty) or is not defined
    (a coalition with a majority needs no supporters) in some cohorts; there z is 1.5, as in the paper's
    experiments on MNIST.
    """
    honest = n - m
    if honest <= 0:
        return FALLBACK
    supporters = n // 2 + 1 - m
    z = float(ndtri((honest - supporters) / honest))
    return z if np.isfinite(z) and z > 0 else FALLBACK


@dataclass(frozen=True)
class LIE(AttackBase):
    """LIE: a little is enough; upload the honest mean, shifted by z standard deviations.

    That is mean − z·std, coordinate by coordinate over the coalition's honest gradients or updates. All malicious
    clients of a round upload the same vector. The paper's formula gives z for m attackers in a cohort of n. With
    fewer attackers than it needs (one or two of 50, one of 51) it is not positive, which allows no shift, and 1.5 is
    used, the paper's value for MNIST. The third attacker of 50 makes it 0.03: more attackers may do less.

    Reference: Baruch et al., A Little Is Enough, NeurIPS 2019, section 3 (preventing convergence).

    Parameters
    ----------
    z : float, optional
        Number of standard deviations; None takes the paper's formula for this cohort, or 1.5, as said above.
    direction : {"gradient", "update"}
        Of what z·std is subtracted. An update is minus a gradient, so with gradients updates are moved up: to mean +
        z·std. Xie et al., FedREDefense, ICML 2024 (appendix A.2), write the formula for updates.
    """

    name: ClassVar[str] = "lie"
    knowledge: ClassVar[Knowledge] = Knowledge.COALITION
    younger: ClassVar[tuple[str, ...]] = ("direction",)
    z: float | None = None
    direction: Literal["gradient", "update"] = "gradient"

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.z is None or is_real(self.z), "lie.z", self.z, "a finite number or None")
        check_direction("lie.direction", self.direction)

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by the shifted mean."""
        z = z_max(view.cohort, updates.n) if self.z is None else self.z
        mean, std = coalition(view)
        shift = towards(self.direction) * z
        return same_for_all(updates, combined(mean, std, lambda m, s: m + shift * s)), state
