"""Stored runs as the cells of one board: which run stands where, what it scored, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedsiege.arena.flags import NONE

if TYPE_CHECKING:
    from fedsiege.arena.record import Record

CLOSED = "closed"

Key = tuple["Entry", str]
"""A cell: its row, and the label of its attack."""
Cells = Mapping[Key, tuple["Record", ...]]
"""Runs by cell, one for each seed, in the order of seeds."""


@dataclass(frozen=True, order=True)
class Entry:
    """One row of a board: a defense, in a division, with what was changed of the card there.

    Parameters
    ----------
    open : bool
        Whether it is in the open division.
    changes : tuple of str
        What differs from the card, with values: another value is another game.
    defense : str
        Label of the defense.
    """

    open: bool
    changes: tuple[str, ...]
    defense: str

    def with_defense(self, defense: str) -> Entry:
        """Return the entry of another defense in the same game."""
        return Entry(self.open, self.changes, defense)

    @property
    def unattacked(self) -> Entry:
        """The entry whose clean runs are those of this one: what attacks may know does not matter to them."""
        changes = tuple(change for change in self.changes if change != "knowledge")
        return Entry(bool(changes), changes, self.defense) if self.open and self.changes else self


@dataclass(frozen=True)
class Scale:
    """How scores of one metric are read.

    Parameters
    ----------
    metric : str
        Name of a test metric, a share in [0, 1].
    higher : bool
        Whether the defender wants it high.
    bottom : float
        The worst value there is, which stands for one that is not finite.
    """

    metric: str
    higher: bool
    bottom: float

    @property
    def sign(self) -> float:
        """Factor that makes higher better for the defender."""
        return 1.0 if self.higher else -1.0

    def good(self, value: float) -> float:
        """Return the share that the defender has: the value, or what is left to 1 if it is to be low."""
        return value if self.higher else 1.0 - value

    def read(self, record: Record) -> float | None:
        """Return the score of a run, `bottom` if it is not finite, None if it was not measured."""
        value = measured(record, self.metric)
        return None if value is None else value if math.isfinite(value) else self.bottom


def measured(record: Record, metric: str) -> float | None:
    """Return a run's test metric after the last round, None if it does not have it."""
    return record.value if metric == record.metric else record.scores.get(metric)


def scale(records: Iterable[Record], metric: str, higher: bool) -> Scale:
    """Return the scale of `metric`: its worst value is 0 (or 1 if low is good), or the worst one seen beyond that."""
    found = [v for r in records if (v := measured(r, metric)) is not None and math.isfinite(v)]
    return Scale(metric, higher, min([0.0, *found]) if higher else max([1.0, *found]))


def entry(record: Record) -> Entry:
    """Return the row to which a run belongs."""
    return Entry(record.division != CLOSED, tuple(sorted(record.changes)), record.defense_label)


def cells(records: Iterable[Record]) -> tuple[Cells, tuple[str, ...]]:
    """Return finished runs by cell, and notes on those left out.

    Of several runs of one cell and seed the first by path counts, whatever the others scored.
    """
    found: dict[Key, dict[int, Record]] = {}
    spare: dict[tuple[str, str], int] = {}
    for record in sorted(records, key=lambda r: (entry(r), r.attack_label, r.seed, r.path)):
        if record.status != "finished":
            continue
        seeds = found.setdefault((entry(record), record.attack_label), {})
        if record.seed in seeds:
            name = (record.defense_label, record.attack_label)
            spare[name] = spare.get(name, 0) + 1
        seeds.setdefault(record.seed, record)
    notes = tuple(
        f"{defense} × {attack}: {n} more run(s) of the same seed are left out; the first by path counts"
        for (defense, attack), n in sorted(spare.items())
    )
    return {key: tuple(seeds.values()) for key, seeds in found.items()}, notes


def by_seed(records: Sequence[Record], scale: Scale) -> dict[int, float]:
    """Return the scores of a cell by seed, of those runs that measured it."""
    return {r.seed: v for r in records if (v := scale.read(r)) is not None}


def missing(
    records: Iterable[Record], scale: Scale, clean: Scale, seeds: Sequence[int], wanted: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return what is not there, in words: for each cell the `seeds` without a finished run that has the metric.

    Cells are all pairs of a defense that occurs in the closed division and an attack that occurs there or is among
    `wanted` (labels), whatever became of their runs. The open division owes nothing; of it only runs that failed or
    are not finished are listed.
    """
    states: dict[Key, dict[int, str]] = {}
    ranks = {"finished": 0, "failed": 1}
    # The best of several runs of one cell and seed is met last, and stays.
    for record in sorted(records, key=lambda r: (ranks.get(r.status, 2), r.path), reverse=True):
        state = "not finished"
        if record.status == "failed":
            state = f"failed ({record.error})" if record.error else "failed"
        elif record.status == "finished":
            here = clean if record.attack == NONE else scale
            state = "" if here.read(record) is not None else f"without {here.metric}"
        states.setdefault((entry(record), record.attack_label), {})[record.seed] = state
    closed = {key for key in states if not key[0].open}
    attacks = {attack for _, attack in closed} | {NONE, *wanted}
    owed = {(e, a): seeds for e in {e for e, _ in closed} | {Entry(False, (), NONE)} for a in attacks}
    owed |= {key: sorted(found) for key, found in states.items() if key[0].open}
    said = []
    for key in sorted(owed):
        if lacks := _lacking(states.get(key, {}), owed[key]):
            where = f" (open: {', '.join(key[0].changes)})" if key[0].open else ""
            said.append(f"{key[0].defense} × {key[1]}{where}: {lacks}")
    return tuple(said)


def _lacking(states: Mapping[int, str], seeds: Sequence[int]) -> str:
    grouped: dict[str, list[int]] = {}
    for seed in seeds:
        if state := states.get(seed, "not run"):
            grouped.setdefault(state, []).append(seed)
    return "; ".join(f"seed{'s' * (len(s) > 1)} {', '.join(map(str, s))} {state}" for state, s in grouped.items())
