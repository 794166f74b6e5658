"""A leaderboard: defenses of one card ranked by their worst case, each with its price, intervals and flags."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedsiege.arena.flags import Flag
from fedsiege.arena.stats import Estimate

if TYPE_CHECKING:
    from fedsiege.arena.record import Record

CLEAN, WORST = "none", "worst"
"""Names of the columns beside the attacks: nobody attacks, and the worst case."""


@dataclass(frozen=True)
class Score:
    """One defense under one attack (or under none).

    Parameters
    ----------
    attack : str
        Label of the attack; ``"none"`` for the clean run, empty if there is no run.
    value : Estimate
        The metric after the last round, over seeds; a value that is not finite counts as the worst there is.
    lost : Estimate
        Share of the clean FedAvg run's score that is lost, paired by seed, in the board's clean metric; where low
        is good, of what is left to 1.
    detection : mapping
        Means over seeds of the detection rates that are finite.
    flags : tuple of Flag
        Reasons to doubt.
    records : tuple of Record
        The runs behind it, in the order of seeds.
    """

    attack: str
    value: Estimate
    lost: Estimate
    detection: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Row:
    """One defense.

    Parameters
    ----------
    defense : str
        Label; ``"none"`` is FedAvg.
    clean : Score
        Nobody attacks; in the board's clean metric.
    price : Estimate
        What the defense costs then: clean FedAvg less clean defense, paired by seed; positive is a loss.
    scores : mapping
        By attack label, those that it faced.
    worst : str
        That of the card's attacks (of all without a card, or if it faced none of them) with the worst mean, empty if
        it faced none.
    worst_score : Score
        The score under that attack.
    adaptive : Score or None
        The worst among adaptive attacks; None if it never faced one.
    wins : frozenset of str
        Columns (`CLEAN`, `WORST`, attack labels) where the difference to every other defense, paired by seed, has
        both intervals above zero (`fedsiege.arena.stats.winner`); none where a compared cell lacks a seed of the card,
        the card has fewer than five, or runs are of different data; no `WORST` while an attack of the card
        has not been played.
    faced, due : int
        So many attacks has it faced of those that count (the card's, or without a card all that were played).
    cost : Estimate
        Seconds per round over FedAvg's in clean runs, paired by seed, where commit and hardware are the same.
    told : bool
        Whether it was told the number of attackers.
    clean_data : str
        What the server had of clean training data for it, such as ``"100 samples"``; empty if nothing.
    division : {"closed", "open"}
        Open entries are ranked behind closed ones and win nothing.
    changes : tuple of str
        What an open entry changed of the card.
    flags : tuple of Flag
        Those of all its scores, one for each code, and those of the defense as a whole.
    """

    defense: str
    clean: Score
    price: Estimate
    scores: Mapping[str, Score]
    worst: str
    worst_score: Score
    adaptive: Score | None
    wins: frozenset[str]
    faced: int
    due: int
    cost: Estimate
    told: bool
    clean_data: str
    division: str
    changes: tuple[str, ...]
    flags: tuple[Flag, ...]

    @property
    def complete(self) -> bool:
        """Whether it faced every attack that counts."""
        return self.faced == self.due

    @property
    def best(self) -> bool:
        """Whether it wins in the worst case, and so is printed bold."""
        return WORST in self.wins


@dataclass(frozen=True)
class Board:
    """All defenses of one card at one degree.

    Parameters
    ----------
    card, card_hash, degree : str
        Which game.
    metric, clean_metric : str
        What is compared; and what clean runs are scored by, where they do not have `metric` (such as ASR).
    higher_is_better : bool
        Whether the defender wants `metric` high.
    seeds : tuple of int
        All seeds with a finished run.
    attacks : tuple of str
        Labels, the strongest without a defense first.
    knowledge : mapping
        What each attack sees, in words.
    rows : tuple of Row
        The best worst case first, of those that faced the same number of attacks; the more they faced, the further up.
        Open ones come last.
    missing : tuple of str
        Cells without a run of each seed.
    notes : tuple of str
        What else a reader must know.
    flags : tuple of Flag
        Reasons to doubt the whole board: a clean run outside the band, attacks no stronger than noise.
    tuning : str
        How far the card lets entrants be tuned, in words; empty without the card.
    """

    card: str
    card_hash: str
    degree: str
    metric: str
    clean_metric: str
    higher_is_better: bool
    seeds: tuple[int, ...]
    attacks: tuple[str, ...]
    knowledge: Mapping[str, str]
    rows: tuple[Row, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    tuning: str = ""

    def corners(self, row: Row) -> tuple[Estimate, Estimate, Estimate, Estimate]:
        """Return clean/FedAvg, clean/defense, attack/FedAvg and attack/defense, the attack being the row's worst.

        FedAvg is that of the row's own division and changes; NaN where it was not run.
        """
        unknown = Estimate(math.nan, math.nan, math.nan, 0)
        same = (r for r in self.rows if r.defense == CLEAN and (r.division, r.changes) == (row.division, row.changes))
        base = next(same, None)
        attacked = base.scores.get(row.worst) if base else None
        return (
            base.clean.value if base else unknown,
            row.clean.value,
            attacked.value if attacked else unknown,
            row.worst_score.value,
        )
