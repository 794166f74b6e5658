"""Fang's attack on Krum: the longest step against the honest direction that Krum still selects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import known, repeat, same_for_all, values_of, with_values
from fedsiege.attacks.rays import Ray
from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import Delta, DenseBlock, RowBlock, UpdateBatch
from fedsiege.updates.noise import uniforms


def _heads(distances: np.ndarray) -> np.ndarray:
    """Return sums of the first 0, 1, … entries along the last axis."""
    return np.concatenate([np.zeros((*distances.shape[:-1], 1)), distances.cumsum(-1)], axis=-1)


@dataclass(frozen=True)
class Contest:
    """Krum on p honest updates and `copies` of one crafted update, decided without reading a parameter.

    Krum's score is the sum of the p − 2 (at least one) smallest squared distances to others: among p + `copies`
    uploads, `copies` of them Byzantine, it counts (p + copies) − copies − 2 neighbours.

    Parameters
    ----------
    others : numpy.ndarray
        float64 ``(p, p − 1)``: each honest update's squared distances to the other honest ones, ascending.
    """

    others: np.ndarray

    @classmethod
    def among(cls, sq_distances: np.ndarray) -> Contest:
        """Return the contest among honest updates with these squared distances ``(p, p)``."""
        p = sq_distances.shape[0]
        return cls(np.sort(sq_distances + np.diag(np.full(p, np.inf)), axis=1)[:, : p - 1])

    @property
    def neighbours(self) -> int:
        """How many distances a score sums."""
        return max(self.others.shape[0] - 2, 1)

    def bound(self, ray: Ray, copies: int) -> float:
        """Return the upper bound on λ of Theorem 1, honest updates standing for benign ones.

        There m = p + copies models hold c = copies crafted ones, so m − 2c − 1 is p − copies − 1. Where that is
        below 1 the theorem says nothing, and 1 is taken.
        """
        p = self.others.shape[0]
        nearest = np.sqrt(self.others[:, : self.neighbours]).sum(1).min()
        root = math.sqrt(ray.length)
        return float(nearest / (max(p - copies - 1, 1) * root) + np.sqrt(ray.start.max()) / root)

    def won(self, sq_distances: np.ndarray, copies: int) -> bool:
        """Tell whether Krum selects a crafted update at these squared distances from the honest ones ``(p,)``.

        A tie counts as won, as it does in the paper, where the crafted update comes first.
        """
        count = self.neighbours
        mine = _heads(np.sort(sq_distances))[max(count - copies + 1, 0)]
        # Of an honest update's neighbours, those nearer than the crafted ones come first, then the copies.
        nearer = (self.others < sq_distances[:, None]).sum(1)
        used = np.clip(count - nearer, 0, copies)
        theirs = np.take_along_axis(_heads(self.others), (count - used)[:, None], axis=1)[:, 0]
        return bool(mine <= (theirs + used * sq_distances).min())


@dataclass(frozen=True)
class FangKrum(AttackBase):
    """Fang (Krum): go against the sign of the honest mean, as far as Krum still selects the upload.

    The crafted update is −λ·s, s the sign of each coordinate of the mean of the coalition's honest updates. (The paper
    writes the same for models: w − λ·s.) With partial knowledge the attacker runs Krum on those honest updates and the
    crafted one: λ starts at the upper bound of Theorem 1 and is halved until Krum selects the crafted update. If λ
    falls below `threshold` first, the search starts again with one more copy of the crafted update, with at most as
    many as there are malicious clients in the round; if none wins, the last λ is used. Where the mean is zero there is
    no direction to oppose, and the coordinate stays zero.

    Reference: Fang et al., USENIX Security 2020, section 3.2 (Krum, partial knowledge).

    Parameters
    ----------
    threshold : float
        Smallest λ that is tried, above 0.
    epsilon : float
        All malicious clients but the one with the lowest id upload the crafted update plus a random vector of this
        length of their own (the paper draws them from a ball, which in many dimensions is its surface). 0: all upload
        the same.
    """

    name: ClassVar[str] = "fang-krum"
    knowledge: ClassVar[Knowledge] = Knowledge.COALITION
    threshold: float = 1e-5
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        ok = is_real(self.threshold) and self.threshold > 0
        require(ok, "fang-krum.threshold", self.threshold, "a finite number above 0")
        ok = is_real(self.epsilon) and self.epsilon >= 0
        require(ok, "fang-krum.epsilon", self.epsilon, "a finite number of at least 0")

    def search(self, contest: Contest, ray: Ray, limit: int) -> float:
        """Return λ for at most `limit` copies of the crafted update, 0 where the bound is not finite."""
        far = 0.0
        if ray.length == 0:
            return far
        for copies in range(1, limit + 1):
            far = contest.bound(ray, copies)
            if not math.isfinite(far):
                # Halving would never end.
                return 0.0
            while not contest.won(ray.sq_distances(far), copies):
                if far / 2 < self.threshold:
                    break
                far /= 2
            else:
                break
        return far

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace every upload by a step against the honest direction."""
        honest = known(view)
        if not honest.n:
            return updates, state
        weights = np.full(honest.n, 1 / honest.n)
        against = {
            name: with_values(block, -values_of(block).sign()) for name, block in honest.weighted_sum(weights).items()
        }
        far = self.search(Contest.among(honest.sq_distances), Ray.of(honest, against), updates.n)
        crafted = same_for_all(updates, against).scale(np.full(updates.n, far))
        return (crafted.add(self._scatter(updates, against, view)) if self.epsilon else crafted), state

    def _scatter(self, updates: UpdateBatch, like: Delta, view: AttackView) -> UpdateBatch:
        """Return a random vector of length ε for each client, zero for the lowest id, on the coordinates of `like`."""
        blocks = {}
        for name, block in like.items():
            spread = repeat(block, updates.n)
            assert isinstance(spread, RowBlock | DenseBlock)
            u = uniforms(spread, updates.clients, view.seed, f"{self.name}/{name}", view.round)
            blocks[name] = with_values(spread, torch.special.ndtri(u))
        noise = UpdateBatch(updates.clients, updates.counts, blocks)
        factors = self.epsilon / np.maximum(noise.norms, np.finfo(np.float64).tiny)
        factors[np.argmin(updates.clients)] = 0.0
        return noise.scale(factors)
