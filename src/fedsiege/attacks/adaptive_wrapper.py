"""``adaptive(ATTACK)``: any attack, taken as far as the server's defense lets it go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from fedsiege.attacks.base import AttackView, Knowledge
from fedsiege.attacks.craft import repeat, sound, uploads
from fedsiege.attacks.rays import inner
from fedsiege.attacks.search import best, climb, peak
from fedsiege.attacks.wrapper import Wrapper
from fedsiege.checks import is_count, is_real, require
from fedsiege.learners.base import State
from fedsiege.updates import Delta, DenseBlock, UpdateBatch


@dataclass(frozen=True)
class Adaptive(Wrapper):
    """Adaptive: another attack's uploads, moved to where the defense lets them do most.

    The attacker holds a copy of the defense that answers as the server will: same settings, state and random numbers.
    Every upload c of the wrapped attack becomes one on a path through it, by its position s:

    - s from 0 to 1 interpolates from the mean b of the benign uploads of the round to c: b + s(c − b);
    - s from 1 to 2 enlarges c by ``maximum`` ** (s − 1).

    With ``benign`` all malicious clients of a round take the same position, and the copy judges the whole round.
    Bisection finds how far they may go: up to where fewer of them are accepted than if they had uploaded b (but at
    least one). Strength is how far the aggregate moves from the mean of the benign uploads, along the line to the mean
    of the wrapped attack's uploads. So rules are ranked too that reject nothing, but weigh, trim or clip (Median,
    NormBound, FLTrust): if going as far as accepted is not strongest, the peak below is searched for. Of all positions
    asked about the strongest is used, of equally strong ones the nearest to the benign mean. That takes at most
    2 · ``steps`` + 4 questions a round, each the cost of one step of the defense.

    Without ``benign`` the copy judges the attacker's uploads alone, b is the zero update, and each upload has a
    position of its own, the largest found that is accepted. That fits defenses that judge each upload by itself and
    is much cheaper with them, at most ``steps`` + 2 questions about the malicious uploads only. Algorithm 3 of
    FedREDefense is this search on [1, 5); see ``adaptive-labelflip``.

    An upload for which nothing is found goes out as the wrapped attack made it. Means are of uploads that the server
    does not throw away unread: one client that has diverged is no measure of the others.

    Reference: Xie et al., FedREDefense, ICML 2024, Algorithm 3; Yang et al., A Learning-Based Attack Framework, 2024
    (arXiv 2407.15267), for attacks that know the aggregation rule; the search and its measure are our own.

    Parameters
    ----------
    attack : Attack
        The wrapped attack; its goal, needs, state and poisoned data stay its own.
    maximum : float
        Largest factor, above 1.
    steps : int
        Moves of each search, at least 1: a threshold is found to within 1 / 2 ** ``steps`` of a position.
    benign : bool
        Whether the attacker sees the benign uploads of the round.
    """

    prefix: ClassVar[str] = "adaptive"
    maximum: float = 10.0
    steps: int = 8
    benign: bool = True

    def __post_init__(self) -> None:
        """Check ranges, and that there is an attack to adapt (ConfigError)."""
        fits = not self.attack.honest and not isinstance(self.attack, Adaptive)
        require(fits, "adaptive(ATTACK)", self.attack.name, "an attack that is malicious and not adaptive(…) itself")
        ok = is_real(self.maximum) and self.maximum > 1
        require(ok, f"{self.name}.maximum", self.maximum, "a finite number above 1")
        require(is_count(self.steps) and self.steps >= 1, f"{self.name}.steps", self.steps, "an int of at least 1")

    @property
    def knowledge(self) -> Knowledge:
        """What the wrapped attack may see, and the oracle, with ``benign`` the benign uploads too."""
        return self.attack.knowledge | Knowledge.ORACLE | (Knowledge.BENIGN if self.benign else Knowledge.NONE)

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Let the wrapped attack craft its uploads, with its own knowledge only, and move them."""
        crafted, state = self.attack.step(updates, state, replace(view, grants=view.grants & self.attack.knowledge))
        if crafted.n == 0:
            return crafted, state
        return (self._together if self.benign else self._alone)(crafted, view), state

    def at(self, crafted: UpdateBatch, positions: np.ndarray, mean: Delta | None) -> UpdateBatch:
        """Return uploads at `positions` in [0, 2], float64 ``(n,)``; `mean` None stands for the zero update."""
        factors = np.where(positions > 1, self.maximum ** (positions - 1), positions)
        moved = crafted.scale(factors)
        if mean is None or (positions >= 1).all():
            return moved
        left = np.where(positions < 1, 1 - positions, 0.0)
        return moved.add(uploads(crafted, {name: repeat(block, crafted.n) for name, block in mean.items()}).scale(left))

    def _alone(self, crafted: UpdateBatch, view: AttackView) -> UpdateBatch:
        """Move each upload by itself."""

        def asks(positions: np.ndarray) -> np.ndarray:
            return view.oracle(self.at(crafted, positions, None))

        plain = asks(np.ones(crafted.n))
        far = plain & asks(np.full(crafted.n, 2.0))
        found = np.where(far, 2.0, climb(asks, np.where(plain, 1.0, 0.0), 1.0, self.steps))
        return self.at(crafted, np.where(found > 0, found, 1.0), None)

    def _together(self, crafted: UpdateBatch, view: AttackView) -> UpdateBatch:
        """Move all uploads to the strongest position among those asked about."""
        benign, aimed = sound(view.benign()), sound(crafted)
        if not aimed.n:
            return crafted
        mean = _mean(benign) if benign.n else {name: block.scale(np.zeros(1)) for name, block in _mean(aimed).items()}
        line = {name: block.add(mean[name].scale(-np.ones(1))) for name, block in _mean(aimed).items()}
        start = _along(mean, line)
        counts: dict[float, int] = {}
        gains: dict[float, float] = {}

        def gain(position: float) -> float:
            if position not in gains:
                told = view.rehearse(self.at(crafted, np.full(crafted.n, position), mean))
                counts[position] = int(told.accepted.sum())
                useless = told.aggregate is None or not counts[position]
                gains[position] = -np.inf if useless else _along(told.aggregate, line) - start
            return gains[position]

        def passes(position: float) -> bool:
            gain(position)
            return counts[position] >= max(1, counts[0.0])

        gain(0.0)
        if passes(1.0) and passes(2.0):
            reach = 2.0
        else:
            low = np.array([1.0 if passes(1.0) else 0.0])
            reach = float(climb(lambda at: np.array([passes(float(at[0]))]), low, 1.0, self.steps)[0])
        peak(gain, reach, self.steps)
        found = best(gains)
        return crafted if found is None else self.at(crafted, np.full(crafted.n, found), mean)


def _mean(batch: UpdateBatch) -> Delta:
    return batch.weighted_sum(np.full(batch.n, 1.0 / batch.n))


def _along(delta: Delta | None, line: Delta) -> float:
    """Inner product of two updates; blocks of different kinds are compared made dense."""
    assert delta is not None
    total = 0.0
    for name, block in delta.items():
        pair = (block, line[name])
        if type(pair[0]) is not type(pair[1]):
            pair = (DenseBlock(block.dense()), DenseBlock(line[name].dense()))
        total += float(inner({name: pair[0]}, {name: pair[1]})[0])
    return total
