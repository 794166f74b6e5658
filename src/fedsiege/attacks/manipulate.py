"""What Min-Max and Min-Sum share: the mean, moved as far as a bound on its distances to honest updates allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import check_direction, combined, known, same_for_all, towards, values_of, with_values
from fedsiege.attacks.rays import Ray
from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch


def largest(fits: Callable[[float], bool], start: float, tolerance: float) -> float:
    """Return the largest number that `fits`, below it by at most twice `tolerance`; 0 if none was found.

    `fits` holds up to some number and not beyond. The search tries `start`, then moves by half of it, a quarter
    and so on, up where the trial fits and down where it does not (Shejwalkar & Houmansadr, Algorithm 1). It thus
    reaches no further than twice `start`.
    """
    trial, step, best = start, start, 0.0
    while step > tolerance:
        step /= 2
        if fits(trial):
            best, trial = trial, trial + step
        else:
            trial -= step
    return best


@dataclass(frozen=True)
class Manipulation(AttackBase):
    """The honest mean, moved by λ standard deviations, λ the largest that the bound of a subclass allows."""

    knowledge: ClassVar[Knowledge] = Knowledge.COALITION
    younger: ClassVar[tuple[str, ...]] = ("direction",)
    start: float = 10.0
    tolerance: float = 1e-5
    direction: Literal["gradient", "update"] = "gradient"

    def __post_init__(self) -> None:
        """Check ranges."""
        for field in ("start", "tolerance"):
            value = getattr(self, field)
            require(is_real(value) and value > 0, f"{self.name}.{field}", value, "a finite number above 0")
        check_direction(f"{self.name}.direction", self.direction)

    def allowed(self, sq_distances: np.ndarray) -> float:
        """Return the bound, given the squared distances among honest updates ``(n, n)``."""
        raise NotImplementedError

    def taken(self, sq_distances: np.ndarray) -> float:
        """Return what is bounded, given a crafted update's squared distances to honest ones ``(n,)``."""
        raise NotImplementedError

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by the moved mean."""
        honest = known(view)
        if not honest.n:
            return updates, state
        mean, std = honest.moments()
        sign = towards(self.direction)
        along = {name: with_values(block, sign * values_of(block)) for name, block in std.items()}
        ray, bound = Ray.of(honest, along, mean), self.allowed(honest.sq_distances)
        far = largest(lambda trial: self.taken(ray.sq_distances(trial)) <= bound, self.start, self.tolerance)
        return same_for_all(updates, combined(mean, along, lambda m, s: m + far * s)), state
