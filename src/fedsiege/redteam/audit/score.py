"""What the runs of an audit say: how far each attack got, what would have stopped it, and what a defense costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedsiege.errors import RunError
from fedsiege.flower.needs import heeds_count
from fedsiege.redteam.audit.metric import Metric, choose_metric
from fedsiege.redteam.audit.plan import CLEAN, OWN, Job

HARM = 0.05
"""Share of the clean score that an attack must take to count as harmful."""


@dataclass(frozen=True)
class Score:
    """One cell of the score card.

    Parameters
    ----------
    value : float
        The metric after the last round; NaN if there is none.
    harm : float
        Share of the clean score of the app's own strategy that is lost (negative: gained).
    status : {"ok", "crashed", "timeout", "refused"}
        How the run ended.
    note : str
        Why it did not end well, or what the defense turned away.
    harmed : bool
        Whether the run ended badly or lost more than chance and `HARM` explain. An attack that could not be mounted on
        the app's own strategy has harmed nothing; a defense that could not be put before it has stopped nothing.
    """

    value: float
    harm: float
    status: str
    note: str
    harmed: bool


@dataclass(frozen=True)
class Cost:
    """What a defense costs on a clean run.

    Parameters
    ----------
    points : float
        Lost points of the metric (negative: gained).
    milliseconds : float
        Time of one round's aggregation, defense included.
    extra : float
        Of these, more than the app's own strategy takes.
    rejected : float
        Share of honest uploads that it turned away.
    """

    points: float
    milliseconds: float
    extra: float
    rejected: float


@dataclass(frozen=True)
class Card:
    """A whole score card.

    Parameters
    ----------
    metric : Metric
        The app's own.
    clean : float
        Its value in the clean run of the app's own strategy.
    chance : float
        Share by which the clean score differs under another seed; NaN if that run did not end well.
    strategy : str
        Class of the app's own strategy.
    attacks, defenses : tuple of str
        Rows and columns; the app's own strategy is no defense.
    scores : mapping
        By (attack, defense).
    costs : mapping
        By defense.
    results : mapping
        Results of all runs, by (attack, defense).
    told : int
        How many malicious nodes of a round those of the defenses were told of that heed it.
    nodes, malicious : int
        Size of the federation and of the coalition.
    """

    metric: Metric
    clean: float
    chance: float
    strategy: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    scores: Mapping[tuple[str, str], Score]
    costs: Mapping[str, Cost]
    results: Mapping[tuple[str, str], Mapping[str, Any]]
    told: int
    nodes: int
    malicious: int

    @property
    def harmful(self) -> tuple[str, ...]:
        """Attacks that harm the app's own strategy."""
        return tuple(a for a in self.attacks if self.scores[a, OWN].harmed)

    @property
    def refused(self) -> tuple[str, ...]:
        """Attacks that could not be mounted."""
        return tuple(a for a in self.attacks if self.scores[a, OWN].status == "refused")

    def stoppers(self, attack: str) -> tuple[str, ...]:
        """Return the defenses under which an attack does no harm."""
        return tuple(d for d in self.defenses if not self.scores[attack, d].harmed)

    @property
    def best(self) -> str | None:
        """The defense that stops most of the harmful attacks, then the one that costs least; None if none stops any."""
        if not self.harmful:
            return None
        count = {d: sum(d in self.stoppers(a) for a in self.harmful) for d in self.defenses}
        usable = [d for d in self.defenses if count[d] and not self.scores[CLEAN, d].harmed]
        return min(usable, key=lambda d: (-count[d], self.costs[d].points), default=None)

    @property
    def heeding(self) -> tuple[str, ...]:
        """Defenses that heed how many nodes may be malicious, and so were told."""
        return tuple(d for d in self.defenses if heeds_count(d))

    def line(self, defense: str) -> str:
        """Return the line of code that adds a defense."""
        told = f", told={self.told}" if heeds_count(defense) else ""
        return f'strategy = DefendedStrategy(strategy, "{defense}"{told})'


def harm_limit(chance: float) -> float:
    """Return the share of the clean score that an attack must take to count as harmful: more than chance explains."""
    return max(HARM, 2 * min(chance, 0.25)) if math.isfinite(chance) else HARM


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else math.nan


def _note(result: Mapping[str, Any]) -> str:
    if result.get("error"):
        return str(result["error"])
    v = result.get("verdicts")
    if not v or not v["hostile"]:
        return ""
    words = f"{v['hostile_rejected']} of {v['hostile']} hostile uploads turned away"
    return words + (f", {v['honest_rejected']} of {v['honest']} honest ones too" if v["honest_rejected"] else "")


def make_card(
    jobs: Sequence[Job],
    results: Mapping[str, Mapping[str, Any]],
    metric: str | None = None,
    better: str | None = None,
) -> Card:
    """Return the score card of an audit's runs.

    Parameters
    ----------
    jobs : sequence of Job
        As `plan` made them: the clean run first, the same with another seed second.
    results : mapping
        Results by label of the job.
    metric : str, optional
        Which of the app's metrics to judge by; None: the one that says most.
    better : {"lower", "higher"}, optional
        When that metric is better; None: its name tells.

    Raises
    ------
    RunError
        If the clean run failed or its metric is not a number, so that there is nothing to compare with.
    """
    base = results[jobs[0].label]
    if base["status"] != "ok":
        raise RunError(f"the app's clean run did not end well: {base['error']}; see {jobs[0].label}/log.txt in the "
                       "audit's folder")  # fmt: skip
    judged = choose_metric(base, metric, better)
    clean = judged.of(base)
    if not math.isfinite(clean):
        raise RunError(f"the app's clean run ended with {judged.name} = {clean}, from which an attack can take "
                       "nothing: mend its training first, or choose another --metric")  # fmt: skip

    def measured(result: Mapping[str, Any]) -> float:
        return judged.of(result, judged.due(base, result)) if result["status"] == "ok" else math.nan

    other = measured(results[jobs[1].label])
    chance = abs(judged.harm(clean, other)) if math.isfinite(other) else math.nan
    limit = harm_limit(chance)
    found = {(j.attack, j.defense): results[j.label] for j in jobs if j.seed == jobs[0].seed}
    scores = {}
    for key, result in found.items():
        value = measured(result)
        harm = judged.harm(clean, value)
        status = result["status"]
        harmed = harm > limit if status == "ok" else (status, key[1]) != ("refused", OWN)
        scores[key] = Score(value, harm, status, _note(result), harmed)
    defenses = tuple(dict.fromkeys(j.defense for j in jobs if j.defense != OWN))
    own = 1000 * _median(base["aggregation"])
    costs = {}
    for defense in defenses:
        result = found[CLEAN, defense]
        taken = 1000 * _median(result.get("aggregation") or [])
        seen = result.get("verdicts") or {}
        points = clean - scores[CLEAN, defense].value
        costs[defense] = Cost(
            -points if judged.lower else points,
            taken,
            taken - own,
            seen.get("honest_rejected", 0) / seen["honest"] if seen.get("honest") else math.nan,
        )
    attacks = tuple(dict.fromkeys(j.attack for j in jobs if j.attack != CLEAN))
    bad = max(len(j.malicious) for j in jobs)
    return Card(
        judged,
        clean,
        chance,
        base["strategy"],
        attacks,
        defenses,
        scores,
        costs,
        found,
        max((r["told"] for r in found.values() if r.get("told") is not None), default=jobs[0].told),
        jobs[0].nodes,
        bad,
    )
