"""Composition as a value: filters in front of one aggregation rule, such as ``union+multikrum``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fedsiege.capabilities import Capability
from fedsiege.defenses.base import (
    ClientHalf,
    Defense,
    DefenseView,
    Filter,
    Grant,
    Outcome,
    Verdicts,
    heeded,
    never_rejects,
    shares,
)
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.updates import ModelSpec, UpdateBatch


@dataclass(frozen=True)
class Halves(ClientHalf):
    """The client halves of several defenses as one: at most one extra task, transforms one after another."""

    parts: tuple[ClientHalf, ...] = ()

    @property
    def transforms(self) -> bool:
        """Whether any part transforms uploads."""
        return any(part.transforms for part in self.parts)

    @property
    def wants_next(self) -> bool:
        """Whether any part needs the next local step."""
        return any(part.wants_next for part in self.parts)

    def transform(self, updates: UpdateBatch, next_updates: UpdateBatch | None, seed: int, round_: int) -> UpdateBatch:
        """Apply the parts in order."""
        for part in self.parts:
            if part.transforms:
                updates = part.transform(updates, next_updates, seed, round_)
        return updates


@dataclass(frozen=True)
class Pipeline:
    """Filters in order, then a rule on what they accepted.

    A filter marked ``joint`` lets the filters behind it judge all uploads; what any of them rejects is dropped. One
    that stands last and aggregates in its own way (FLAME, CONTRA, AFA) gets what the others accepted.

    Parameters
    ----------
    parts : tuple of Defense
        Two or more; all but the last must be filters.
    """

    parts: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Check that filters come first (ConfigError)."""
        for part in self.parts[:-1]:
            if not isinstance(part, Filter):
                raise ConfigError(f"{part.name!r} aggregates by itself and can only stand last in {self.name!r}")
        tasks = [h for p in self.parts if (h := p.client_half()) and h.task]
        if len(tasks) > 1:
            raise ConfigError(f"more than one part of {self.name!r} asks clients for an extra task")

    @property
    def name(self) -> str:
        """Names of the parts joined by ``+``."""
        return "+".join(part.name for part in self.parts)

    @property
    def needs(self) -> frozenset[Capability]:
        """What any part needs of the model."""
        return frozenset[Capability]().union(*(part.needs for part in self.parts))

    @property
    def expels(self) -> bool:
        """Whether any part expels clients."""
        return any(part.expels for part in self.parts)

    @property
    def never_rejects(self) -> bool:
        """Whether no part rejects any upload."""
        return all(map(never_rejects, self.parts))

    @property
    def heeds(self) -> frozenset[Grant]:
        """What any part heeds of that which a threat model may grant."""
        return frozenset[Grant]().union(*(heeded(part) for part in self.parts))

    @property
    def models(self) -> int:
        """Number of global models of the rule that stands last."""
        return int(self.parts[-1].models)

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the states of the parts by position."""
        return {str(i): part.init(spec, rng) for i, part in enumerate(self.parts)}

    def client_half(self) -> ClientHalf | None:
        """Return the parts' halves as one."""
        halves = tuple(h for part in self.parts if (h := part.client_half()) is not None)
        if not halves:
            return None
        return Halves(next((h.task for h in halves if h.task), None), halves)

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Filter, then aggregate; the first part to reject an upload gives the reason, and its score stays."""
        n = updates.n
        alive = np.ones(n, bool)
        score = np.full(n, np.nan)
        reason = np.array([""] * n, dtype=object)
        info: dict[str, Any] = {}
        new_state: State = {}
        expelled = np.zeros(n, bool) if self.expels else None
        restart = joint = False
        absent: set[int] = set()
        last: Defense = self.parts[-1]
        fronts = self.parts if joint_all(self.parts) else self.parts[:-1]
        for i, part in enumerate(fronts):
            seen = np.ones(n, bool) if joint else alive.copy()
            if not seen.any():
                new_state[str(i)] = state[str(i)]
                continue
            verdicts, new_state[str(i)], extra = part.judge(updates.select(seen), state[str(i)], view)
            places = np.flatnonzero(seen)
            score[places] = np.where(np.isnan(score[places]), verdicts.score, score[places])
            dropped = places[~verdicts.accepted & alive[places]]
            reason[dropped] = [verdicts.reason[k] for k in np.flatnonzero(~verdicts.accepted & alive[places])]
            alive[dropped] = False
            restart = restart or verdicts.restart
            absent.update(verdicts.absent)
            if expelled is not None and verdicts.expelled is not None:
                expelled[places] |= verdicts.expelled
            info.update({f"{part.name}.{key}": value for key, value in extra.items()})
            joint = joint or getattr(part, "joint", False)
        away = tuple(sorted(absent))
        if len(fronts) == len(self.parts):
            weight = shares(updates, alive, last.weighting)  # type: ignore[attr-defined]
            delta = updates.weighted_sum(weight) if alive.any() else None
            verdicts = Verdicts(alive, score, weight, tuple(reason), expelled, restart, away)
            return Outcome(delta, verdicts.among(updates.clients), info), new_state
        where = str(len(self.parts) - 1)
        if not alive.any():
            new_state[where] = state[where]
            verdicts = Verdicts(alive, score, np.zeros(n), tuple(reason), expelled, restart, away)
            return Outcome(None, verdicts.among(updates.clients), info), new_state
        outcome, new_state[where] = last.step(updates.select(alive), state[where], view)
        inner = outcome.verdicts
        places = np.flatnonzero(alive)
        weight = np.zeros(n)
        weight[places] = inner.weight
        score[places] = np.where(np.isnan(score[places]), inner.score, score[places])
        reason[places] = inner.reason
        alive[places] = inner.accepted
        info.update({f"{last.name}.{key}": value for key, value in outcome.info.items()})
        if expelled is not None and inner.expelled is not None:
            expelled[places] |= inner.expelled
        away = tuple(sorted({*away, *inner.absent}))
        verdicts = Verdicts(alive, score, weight, tuple(reason), expelled, restart or inner.restart, away)
        return Outcome(outcome.delta, verdicts.among(updates.clients), info), new_state


def joint_all(parts: tuple[Any, ...]) -> bool:
    """Return whether the last part judges all uploads too, because a filter before it is ``joint``.

    A filter that clips, adds noise or has weights of its own does more than judge, and aggregates what is left.
    """
    last = parts[-1]
    plain = isinstance(last, Filter) and type(last).step is Filter.step
    return plain and any(getattr(part, "joint", False) for part in parts[:-1])


def compose(parts: Mapping[str, Defense] | tuple[Defense, ...]) -> Defense:
    """Return one defense from one or more parts in order."""
    values = tuple(parts.values()) if isinstance(parts, Mapping) else parts
    return values[0] if len(values) == 1 else cast(Defense, Pipeline(values))
