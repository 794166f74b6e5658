"""The cells of one board as numbers by seed: means, losses, prices, the worst attack, who wins."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from fedsiege.arena import flags
from fedsiege.arena.board import CLEAN, WORST
from fedsiege.arena.board_cells import CLOSED, Cells, Entry, Key, Scale, by_seed, cells, measured, scale
from fedsiege.arena.environment import each_commit
from fedsiege.arena.flags import NONE, Flag
from fedsiege.arena.measures import wanted_high
from fedsiege.arena.names import defaults, label
from fedsiege.arena.stats import ROUNDING, differences, paired, winner

if TYPE_CHECKING:
    from fedsiege.arena.card import Card
    from fedsiege.arena.record import Record

_WHOLE = re.compile(r"(=-?\d+)\.0(?=[,)])")
"""A whole number as a float in a label."""

Values = Mapping[int, float]
"""Scores by seed."""


@dataclass(frozen=True)
class Game:
    """The cells of a board with their scores by seed.

    Parameters
    ----------
    cells : Cells
        Finished runs.
    scale, clean : Scale
        Of the attacked and of the clean runs.
    values, clean_values : mapping
        By cell: scores of `scale`, and of `clean`.
    seeds : tuple of int
        Those of the card; without it all that occur. Who lacks one of them takes part in no comparison.
    counted : frozenset of str
        Labels of the card's attacks, which alone make the worst case; empty: all do.
    controls : mapping
        Scores under noise of an attack's own norm, by the attack's cell.
    """

    cells: Cells
    scale: Scale
    clean: Scale
    values: Mapping[Key, Values]
    clean_values: Mapping[Key, Values]
    seeds: tuple[int, ...] = ()
    counted: frozenset[str] = frozenset()
    controls: Mapping[Key, Values] = field(default_factory=dict)

    @cached_property
    def entries(self) -> list[Entry]:
        """All rows, closed ones first."""
        return sorted({entry for entry, _ in self.cells})

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """Labels of the attacks: the strongest against FedAvg first, those that it did not face at the end."""
        base = Entry(False, (), NONE)
        labels = {label for _, label in self.cells if label != CLEAN}
        harm = {label: -self.mean((base, label)) for label in labels}
        return tuple(sorted(labels, key=lambda a: (math.isnan(harm[a]), 0.0 if math.isnan(harm[a]) else -harm[a], a)))

    @cached_property
    def data(self) -> tuple[str, ...]:
        """Different SHA-256 sums of the data of closed entries, where known; with more than one nothing is comparable.

        Data of several files may be packed or not on different machines; only sums of files of the same names count.
        """
        packed: dict[tuple[str, ...], set[str]] = {}
        for total in {r.data_sha256 for (e, _), runs in self.cells.items() if not e.open for r in runs} - {""}:
            names = tuple(part.partition("=")[0] for part in total.split()) if "=" in total else ()
            packed.setdefault(names, set()).add(total)
        return tuple(sorted(total for sums in packed.values() if len(sums) > 1 for total in sums))

    @cached_property
    def commits(self) -> list[str]:
        """Every commit of FedSiege at which closed entries were run, where known."""
        return each_commit(r.commit for (e, _), runs in self.cells.items() if not e.open for r in runs)

    @cached_property
    def plugins(self) -> Mapping[str, str]:
        """The name of each attack by its label."""
        return {label: runs[0].attack for (_, label), runs in self.cells.items()}

    def played(self, entry: Entry) -> tuple[str, ...]:
        """Return the attacks that any entry of the same division and changes has faced."""
        seen = {a for e, a in self.cells if e.with_defense(NONE) == entry.with_defense(NONE)}
        return tuple(a for a in self.attacks if a in seen)

    def counting(self, entry: Entry) -> tuple[str, ...]:
        """Return those of the attacks of `played` that make the worst case: all if none is the card's."""
        played = self.played(entry)
        return tuple(a for a in played if a in self.counted) or played

    def shown(self, key: Key) -> Values:
        """Return what a cell shows."""
        entry, attack = key
        return self.clean_values.get((entry.unattacked, CLEAN), {}) if attack == CLEAN else self.values.get(key, {})

    def oriented(self, key: Key) -> Values:
        """Return what a cell shows, higher being better for the defender."""
        sign = (self.clean if key[1] == CLEAN else self.scale).sign
        return {seed: sign * value for seed, value in self.shown(key).items()}

    def mean(self, key: Key) -> float:
        """Return the oriented mean of a cell, NaN if it is empty."""
        values = list(self.oriented(key).values())
        return fmean(values) if values else math.nan

    def lost(self, key: Key) -> list[float]:
        """Return the share of the clean FedAvg run's score that is lost, by seed; without seeds that had none."""
        good = {s: self.clean.good(v) for s, v in self.shown((key[0].with_defense(NONE), CLEAN)).items()}
        mine = {s: self.clean.good(v) for s, v in self.clean_values.get(key, {}).items()}
        return [(good[s] - mine[s]) / good[s] for s in sorted(set(good) & set(mine)) if good[s] > 0]

    def price(self, entry: Entry) -> list[float]:
        """Return what an entry costs when nobody attacks, by seed."""
        return differences(self.oriented((entry.with_defense(NONE), CLEAN)), self.oriented((entry, CLEAN)))

    def worst(self, entry: Entry, among: Iterable[str]) -> str:
        """Return the attack with the worst mean, the first of equal ones; empty if the entry faced none."""
        faced = [attack for attack in among if self.shown((entry, attack))]
        return min(faced, key=lambda attack: self.mean((entry, attack)), default="")

    def due(self, entry: Entry) -> frozenset[str]:
        """Return the attacks that an entry must have faced: the card's, without a card those of `played`."""
        return self.counted or frozenset(self.played(entry))

    def whole(self, key: Key) -> bool:
        """Return whether a cell has a score under every seed."""
        return set(self.seeds) <= self.shown(key).keys()

    def whole_under(self, entry: Entry, attacks: Iterable[str]) -> bool:
        """Return whether an entry has a score under every seed of each attack."""
        return all(self.whole((entry, attack)) for attack in attacks)

    def weak(self) -> dict[Key, Flag]:
        """Return the flags of attacks that do no more than noise, by FedAvg's entry and label."""
        found: dict[Key, Flag] = {}
        for base in {entry.with_defense(NONE) for entry in self.entries}:
            for attack in self.played(base):
                noise = self.noise((base, attack))
                flag = flags.only_noise(self.oriented((base, attack)), noise) if noise else None
                if flag and self.plugins[attack] != flags.NOISE:
                    found[base, attack] = flag
        return found

    def noise(self, key: Key) -> Values:
        """Return the oriented scores under noise in an attack's place: of its norm, else of an honest upload's."""
        if own := self.controls.get(key):
            return {seed: self.scale.sign * value for seed, value in own.items()}
        other = next((a for a in self.played(key[0]) if self.plugins[a] == flags.NOISE), None)
        return {} if other is None else self.oriented((key[0], other))

    def tame(self, entry: Entry) -> dict[str, str]:
        """Return the adaptive attacks, by label, that do not count against an entry, and why.

        These are those that are not the card's, where it has some; that lack a seed; and that clearly do less than
        what they adapt, or do good. The search for the strongest upload that is accepted looks at one round; over many
        that may do less than the attack as it is. Clearly means that the interval of the difference, paired by seed,
        lies above zero, or with one seed the difference.
        """
        found: dict[str, str] = {}
        attacks = [a for a in self.played(entry) if self.shown((entry, a))]
        wanted = {a for a in self.counted if flags.adapts(a.partition(" ")[0]) is not None}
        for attack in attacks:
            inner, mine = flags.adapts(self.plugins[attack]), self.oriented((entry, attack))
            if inner is None:
                continue
            if wanted and attack not in wanted:
                found[attack] = f"{attack} is not among the card's attacks"
            elif not entry.open and (lacks := sorted(set(self.seeds) - mine.keys())):
                found[attack] = f"{attack} lacks seed{'s' * (len(lacks) > 1)} {', '.join(map(str, lacks))}"
            rivals = {a: (entry, a) for a in attacks if self.plugins[a] == inner}
            if self.clean is self.scale:
                rivals["no attack"] = (entry, CLEAN)
            for name, key in rivals.items():
                less = paired(mine, self.oriented(key))
                if less.n and (less.positive or (less.n == 1 and less.mean > ROUNDING)):
                    ours, theirs = (self.scale.sign * self.mean(k) for k in ((entry, attack), key))
                    found.setdefault(attack, f"{attack} {ours:.4f}, {name} {theirs:.4f}")
        return found

    def winners(self) -> set[Key]:
        """Return the columns that have a winner, each with it: closed entries alone take part.

        Where one of them has no run of each seed, nobody wins. In the worst case nobody wins who was spared an attack,
        or a seed of one, and nobody as long as an attack of the card has not been played. Where runs are of different
        data, nobody wins anything.
        """
        if self.data:
            return set()
        rivals = [entry for entry in self.entries if not entry.open]
        base = Entry(False, (), NONE)
        attacks, counting = self.played(base), self.counting(base)
        won: set[Key] = set()
        for column in (CLEAN, WORST, *attacks):
            at = [(e, self.worst(e, counting) if column == WORST else column) for e in rivals]
            place = winner([self.oriented(key) for key in at]) if all(map(self.whole, at)) else None
            if place is None:
                continue
            if column != WORST or (self.due(base) <= set(attacks) and self.whole_under(rivals[place], counting)):
                won.add((rivals[place], column))
        return won


def game(records: Sequence[Record], card: Card | None) -> tuple[Game, tuple[str, ...]]:
    """Return the cells of runs of one card at one degree, and notes on runs that were left out.

    Clean runs are scored by the card's metric if they have it, else (such as ASR) by the model's own.
    """
    found, notes = cells(r for r in records if flags.inner_of(r.attack) is None)
    own = sorted({r.metric for r in records if r.status == "finished"})
    metric = card.metric if card else next(iter(own), "")
    clean_runs = [r for runs in found.values() for r in runs if flags.is_clean(r)]
    runs = [r for kept in found.values() for r in kept]
    main = scale(runs, metric, card.higher_is_better if card else wanted_high(metric))
    shared = not own or metric in own or any(measured(r, metric) is not None for r in clean_runs)
    clean = main if shared else scale(runs, own[0], True)
    values = {key: by_seed(kept, main) for key, kept in found.items()}
    seeds = tuple(card.seeds) if card else tuple(sorted({r.seed for r in runs if r.division == CLOSED}))
    clean_values = {k: by_seed(kept, clean) for k, kept in found.items()}
    played, _ = cells(r for r in records if flags.inner_of(r.attack) is not None)
    controls = {(e, str(flags.inner_of(a))): by_seed(kept, main) for (e, a), kept in played.items()}
    return Game(found, main, clean, values, clean_values, seeds, attacks_of(card, runs), controls), notes


def attacks_of(card: Card | None, records: Iterable[Record] = ()) -> frozenset[str]:
    """Return the labels of a card's attacks, that of nobody attacking left out; empty without a card.

    An attack goes by the label that its runs among `records` have. That may be another than the card's own words give:
    ``z: 1`` is stored as ``1.0``, and of an attack from a user's file, whose defaults are not known here, runs tell all
    settings. Such a one is found where the card names it without any, and its runs have one label.
    """
    specs = [] if card is None else [{"name": spec} if isinstance(spec, str) else spec for spec in card.attacks]
    names: dict[str, set[str]] = {}
    for record in records:
        names.setdefault(record.attack, set()).add(record.attack_label)
    found = set()
    for spec in (s for s in specs if s["name"] != NONE):
        own, seen = label("attacks", spec), names.get(spec["name"], set())
        alike = [other for other in seen if _WHOLE.sub(r"\1", other) == _WHOLE.sub(r"\1", own)]
        if not alike and set(spec) == {"name"} and defaults("attacks", spec["name"]) is None and len(seen) == 1:
            alike = list(seen)
        found.add(min(alike, default=own))
    return frozenset(found)
