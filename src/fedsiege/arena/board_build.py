"""From the runs of one card at one degree to its board."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fedsiege.arena import flags
from fedsiege.arena.board import CLEAN, Board, Row, Score
from fedsiege.arena.board_cells import CLOSED, Entry, Key, measured, missing
from fedsiege.arena.board_game import Game, game
from fedsiege.arena.clean_data import clean_data
from fedsiege.arena.flags import NONE, RULES, Flag
from fedsiege.arena.stats import Estimate, estimates

if TYPE_CHECKING:
    from fedsiege.arena.card import Card
    from fedsiege.arena.record import Record

BASE = Entry(False, (), NONE)
"""The row of FedAvg as the card has it."""
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)
_SUM = re.compile(r"([0-9a-f]{12})[0-9a-f]{52}")


def _detection(records: Sequence[Record]) -> dict[str, float]:
    """Return means over seeds of the rates that are finite."""
    names = dict.fromkeys(name for record in records for name in record.detection)
    kept = {n: [v for r in records if (v := r.detection.get(n)) is not None and math.isfinite(v)] for n in names}
    return {name: fmean(values) for name, values in kept.items() if values}


NO_CARD = "The card of these runs is not at hand: there is no reference band, and seeds are those that occur"
"""Note of a board whose card is unknown."""


def _ratios(runs: Sequence[Record], base: Sequence[Record]) -> list[float]:
    """Return seconds per round over those of `base` by seed, of runs of one commit on the same hardware."""
    timed = {r.seed: r for r in base if r.seconds_per_round > 0}
    pairs = [(r, timed[r.seed]) for r in runs if r.seed in timed and math.isfinite(r.seconds_per_round)]
    alike = [(r, b) for r, b in pairs if (r.commit, r.hardware) == (b.commit, b.hardware)]
    return [r.seconds_per_round / b.seconds_per_round for r, b in alike]


def _scores(table: Game, weak: Mapping[Key, Flag], card: Card | None, degree: str) -> dict[Key, Score]:
    """Return the score of every cell, with its flags."""
    keys = list(table.cells)
    values = estimates([table.shown(key).values() for key in keys])
    losses = estimates([table.lost(key) for key in keys])
    scores = {}
    for key, value, lost in zip(keys, values, losses):
        records = table.cells[key]
        found = [*flags.of_runs(records), weak.get((key[0].with_defense(NONE), key[1]))]
        if key == (BASE, CLEAN) and card:
            raw = {r.seed: v for r in records if (v := measured(r, table.clean.metric)) is not None}
            found.append(flags.outside_band(raw, card.bands.get(degree)))
        mine = {flag.code: flag for flag in found if flag}
        ordered = tuple(mine[code] for code in RULES if code in mine)
        scores[key] = Score(key[1], value, lost, _detection(records), ordered, records)
    return scores


def _merged(scores: Sequence[Score], clean: Score, whole: Flag | None) -> tuple[Flag, ...]:
    """Return one flag for each code of a row, with the attacks where it was raised.

    Noise counts only if nothing that the defense faced does more.
    """
    where: dict[str, list[str]] = {}
    for score in (clean, *scores):
        for flag in score.flags:
            where.setdefault(flag.code, []).append("no attack" if score is clean else score.attack)
    if len(where.get("noise", ())) < sum(score.records[0].attack != flags.NOISE for score in scores):
        where.pop("noise", None)
    said = {code: Flag(code, f"{RULES[code]} (under {', '.join(names)})") for code, names in where.items()}
    if whole:
        said[whole.code] = whole
    return tuple(said[code] for code in RULES if code in said)


def _costs(table: Game) -> dict[Entry, Estimate]:
    """Return what each entry's clean runs take of FedAvg's time."""
    clean = {entry: table.cells.get((entry.unattacked, CLEAN), ()) for entry in table.entries}
    base = {e: table.cells.get((e.unattacked.with_defense(NONE), CLEAN), ()) for e in clean}
    return dict(zip(clean, estimates([_ratios(clean[e], base[e]) for e in clean])))


def _row(table: Game, entry: Entry, scores: Mapping[Key, Score], price: Estimate, cost: Estimate) -> Row:
    """Return one row, without what it wins."""
    attacks = table.played(entry)
    mine = {a: scores[entry, a] for a in attacks if table.shown((entry, a))}
    clean = scores.get((entry.unattacked, CLEAN), Score("", UNKNOWN, UNKNOWN))
    counted = table.counting(entry)
    worst = table.worst(entry, counted)
    adaptive = table.worst(entry, [a for a in attacks if table.plugins[a].startswith("adaptive")])
    every = [r for a in (CLEAN, *attacks) for r in table.cells.get((entry, a), ())]
    due = table.due(entry)
    return Row(
        defense=entry.defense,
        clean=clean,
        price=price,
        scores=mine,
        worst=worst,
        worst_score=mine.get(worst, Score("", UNKNOWN, UNKNOWN)),
        adaptive=mine.get(adaptive),
        wins=frozenset(),
        faced=len(due & mine.keys()),
        due=len(due),
        cost=cost,
        told=bool(flags.told_counts(every)),
        clean_data=clean_data(entry.defense),
        division="open" if entry.open else CLOSED,
        changes=entry.changes,
        flags=_merged(list(mine.values()), clean, flags.never_adaptive(every, table.tame(entry))),
    )


def _notes(table: Game, card: Card | None, seeds: Sequence[int], degree: str) -> list[str]:
    """Return what a reader must know that no number says."""
    said = []
    if card is None:
        said.append(NO_CARD)
    else:
        if degree not in card.bands:
            said.append("The card has no reference band for the clean run")
        if absent := sorted(table.counted - set(table.attacks)):
            said.append(f"Attacks of the card without a finished run: {', '.join(absent)}")
        if table.counted & set(table.attacks) and (others := sorted(set(table.attacks) - table.counted)):
            said.append(f"Not attacks of the card, and so not in the worst case: {', '.join(others)}")
        if beyond := sorted(set(seeds) - set(card.seeds)):
            said.append(f"Seeds beyond those of the card: {', '.join(map(str, beyond))}")
    if table.data:
        sums = ", ".join(_SUM.sub(r"\1", total) for total in table.data)
        said.append(f"Runs are of different data (SHA-256 {sums}), so nothing wins; run those of old data again")
    changed = sum(commit.endswith("+changes") for commit in table.commits)
    if len(table.commits) > 1:
        those = f", {changed} of them with uncommitted changes" if changed else ""
        said.append(f"Runs were made at {len(table.commits)} commits of FedSiege{those}")
    elif changed:
        said.append("Runs were made at a commit of FedSiege with uncommitted changes")
    attacks = [a for a in table.attacks if table.shown((BASE, a)) and table.plugins[a] != flags.NOISE]
    if alone := [a for a in attacks if not table.noise((BASE, a))]:
        said.append(f"For want of a run of noise against FedAvg, not compared with noise: {', '.join(alone)}")
    if loose := [a for a in attacks if table.noise((BASE, a)) and not table.controls.get((BASE, a))]:
        said.append(f"Compared with noise of an honest upload's norm, not of their own: {', '.join(loose)}")
    return said


def build(records: Sequence[Record], card_id: str, card_hash: str, degree: str, card: Card | None) -> Board:
    """Return the board of the runs of one card (None: unknown) at one degree."""
    table, notes = game(records, card)
    weak, won, entries = table.weak(), table.winners(), table.entries
    scores = _scores(table, weak, card, degree)
    prices = dict(zip(entries, estimates([table.price(entry) for entry in entries])))
    costs = _costs(table)
    rows = {
        e: replace(_row(table, e, scores, prices[e], costs[e]), wins=frozenset(c for w, c in won if w == e))
        for e in entries
    }

    def rank(entry: Entry) -> tuple[Any, ...]:
        mean = table.mean((entry, rows[entry].worst))
        return entry.open, -rows[entry].faced, math.isnan(mean), 0.0 if math.isnan(mean) else -mean, entry

    seeds = tuple(sorted({run.seed for runs in table.cells.values() for run in runs}))
    wanted = sorted(card.seeds) if card and card.seeds else sorted({r.seed for r in records})
    band = [f for f in scores[BASE, CLEAN].flags if f.code == "band"] if (BASE, CLEAN) in scores else []
    seen = {a: {r.knowledge for (_, b), runs in table.cells.items() if a == b for r in runs} for a in table.attacks}
    return Board(
        card=card_id,
        card_hash=card_hash,
        degree=degree,
        metric=table.scale.metric,
        clean_metric=table.clean.metric,
        higher_is_better=table.scale.higher,
        seeds=seeds,
        attacks=table.attacks,
        knowledge={attack: " / ".join(sorted(levels)) for attack, levels in seen.items()},
        rows=tuple(rows[entry] for entry in sorted(entries, key=rank)),
        missing=missing(
            (r for r in records if flags.inner_of(r.attack) is None), table.scale, table.clean, wanted, table.counted
        ),
        notes=(*notes, *_notes(table, card, seeds, degree)),
        flags=(*band, *(Flag("noise", f"{a}: {weak[BASE, a].message}") for a in table.attacks if (BASE, a) in weak)),
        tuning=card.tuning if card else "",
    )
