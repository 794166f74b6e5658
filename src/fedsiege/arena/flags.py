"""Reasons to doubt a result, found without being asked: one rule a function, on the runs of one cell.

A cell is one attack against one defense, a run for each seed. It carries a flag as soon as one of its runs gives
reason; only comparisons (noise) look at all seeds together. Every rule returns None where it finds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from fedsiege.arena.stats import ROUNDING, paired

if TYPE_CHECKING:
    from fedsiege.arena.record import Record

NONE = "none"
"""Name of the attack that does nothing, and of the defense that averages (FedAvg)."""
NOISE = "gaussian"
"""Name of the attack that uploads noise of an honest upload's size."""
CONTROL = "noise("
"""How the name of an attack's control begins, noise of the same norm as its uploads."""
HONEST_LIMIT = 0.2
"""Largest share of honest uploads that a defense may reject, or of honest clients that it may expel, without a flag."""
DEVIATIONS = 6.0
"""Robust standard deviations that the last round may lie from the median: one of 470 runs of normal noise lies further,
and more of them collapse by `STEEP` where the noise is as large as the score."""
RELATIVE_FLOOR, ABSOLUTE_FLOOR = 0.05, 0.005
"""What the last round may always lie from the median: a share of the median, or so much of the metric's unit."""
STEEP, STEEP_FLOOR = 0.5, 0.02
"""A collapse: less than this share of the median is left, and the fall is larger than the floor and than one deviation.
In a tail that moves much, six deviations reach below zero."""
FEWEST = 5
"""Evaluations without which nothing can be said about the last one."""

RULES: Mapping[str, str] = {
    "band": "the clean run lies outside the card's reference band",
    "noise": "the attack is not shown to do more than random noise",
    "rejects": "the defense rejects more than 20 % of honest uploads, or expels as many honest clients",
    "nonfinite": "non-finite values",
    "unstable": "the last round lies far from the median of the last ten",
    "unadapted": "never faced, under every seed, an adaptive attack of the card that does no less than what it adapts",
    "told": "was told the number of attackers or the norm of benign uploads",
    "idle": "no malicious client took part",
}
"""Every flag's code, in order, and what it says."""


@dataclass(frozen=True)
class Flag:
    """A reason to doubt: its `code` (a key of `RULES`), a `message` with the numbers, and `why` without the rule."""

    code: str
    message: str
    why: str = ""


def is_clean(record: Record) -> bool:
    """Return whether nobody attacks in a run."""
    return record.attack == NONE


def _listed(found: Mapping[int, str]) -> str:
    return ", ".join(f"seed {seed}: {words}" for seed, words in sorted(found.items()))


def outside_band(values: Mapping[int, float], band: tuple[float, float] | None) -> Flag | None:
    """Flag a run without attack and defense whose score is not in the card's reference band, ends included.

    Parameters
    ----------
    values : mapping
        From seed to score; what is not finite is outside.
    band : pair of float or None
        Lowest and highest score expected of a single run; None if the card has no band.
    """
    if band is None:
        return None
    low, high = band
    found = {seed: f"{value:.4f}" for seed, value in values.items() if not low <= value <= high}
    return Flag("band", f"{RULES['band']} {low:.4f} to {high:.4f} ({_listed(found)})") if found else None


def only_noise(attack: Mapping[int, float], noise: Mapping[int, float]) -> Flag | None:
    """Flag an attack whose harm is not larger than that of noise, both where there is no defense.

    Noise is ``noise(ATTACK)`` on the same card, uploads of the attack's norms in random directions. Where that has not
    been played it is the attack ``gaussian``: each upload is drawn from N(mean, std) of the coalition's honest updates,
    coordinate by coordinate, so its squared norm is in expectation the mean squared norm of those updates. Against an
    attack with uploads longer than honest ones that is lenient: longer noise would do more harm.

    The comparison is paired by seed, ``noise − attack``, which is the harm of the attack less the harm of noise, since
    both are taken from the same clean run. The attack is flagged unless the 95 % interval of the mean lies above zero;
    with one seed in common, unless that difference does. With none, nothing is said.

    Parameters
    ----------
    attack, noise : mapping
        From seed to score without a defense; higher is better for the defender.
    """
    more = paired(noise, attack)
    if more.n == 0 or more.positive or (more.n == 1 and more.mean > ROUNDING):
        return None
    interval = f" [{more.low:.4f}, {more.high:.4f}]" if more.n > 1 else ""
    return Flag("noise", f"{RULES['noise']}: without a defense it costs {more.mean:.4f}{interval} more than noise")


def rejects_honest(records: Sequence[Record]) -> Flag | None:
    """Flag a defense that rejects more than 20 % of the honest uploads of a run, or expels so many honest clients.

    The share of uploads is ``FPR_pooled``, over all uploads of the run; where it is missing ``FPR``, the mean over
    rounds. Whom a defense expels makes no more uploads and soon counts for nothing there; so ``FPR_final``, the share
    of clients, is looked at too, and the larger of the two decides.
    """
    found = {}
    for record in records:
        known = {name: rate for name, rate in record.detection.items() if not math.isnan(rate)}
        rejected, expelled = known.get("FPR_pooled", known.get("FPR", 0.0)), known.get("FPR_final", 0.0)
        if max(rejected, expelled) > HONEST_LIMIT:
            what = "of uploads" if rejected >= expelled else "of clients, expelled"
            found[record.seed] = f"{100 * max(rejected, expelled):.4g} % {what}"
    return Flag("rejects", f"{RULES['rejects']} ({_listed(found)})") if found else None


def not_finite(records: Sequence[Record]) -> Flag | None:
    """Flag runs whose training left the finite numbers, or whose score or one of the last ten is not finite."""
    found = {}
    for record in records:
        if not math.isfinite(record.value) or any(not math.isfinite(v) for v in record.scores.values()):
            found[record.seed] = "score"
        elif not record.finite:
            found[record.seed] = "training"
        elif any(not math.isfinite(v) for v in record.tail):
            found[record.seed] = "score of an earlier round"
    return Flag("nonfinite", f"{RULES['nonfinite']} ({_listed(found)})") if found else None


def unstable(records: Sequence[Record]) -> Flag | None:
    """Flag runs whose last evaluation is far from the median of the last ten evaluations, itself among them.

    Far is more than six robust standard deviations (1.4826 times the median absolute deviation from the median), or
    5 % of the median, or 0.005, whichever is largest. In a tail that moves much that may be out of reach even for a
    score of zero; so a fall to less than half the median is far as well, if it is one of more than a deviation and more
    than 0.02. A steady climb is not far. With fewer than five finite evaluations nothing is said, nor if the last one
    is not finite, which has a flag of its own. The same holds for the ASR of a run with a target.
    """
    found = {}
    for record in records:
        said = [_far(record.tail), f"ASR {far}" if (far := _far(record.asr_tail)) else ""]
        if any(said):
            found[record.seed] = " and ".join(filter(None, said))
    return Flag("unstable", f"{RULES['unstable']} ({_listed(found)})") if found else None


def _far(tail: Sequence[float]) -> str:
    """Return the last value and the median where they lie far apart, else nothing."""
    kept = [value for value in tail if math.isfinite(value)]
    if len(kept) < FEWEST or not math.isfinite(tail[-1]):
        return ""
    last, middle = kept[-1], median(kept)
    spread = 1.4826 * median(abs(value - middle) for value in kept)
    far = abs(last - middle) > max(DEVIATIONS * spread, RELATIVE_FLOOR * abs(middle), ABSOLUTE_FLOOR)
    far = far or (0 <= last < STEEP * middle and middle - last > max(spread, STEEP_FLOOR))
    return f"{last:.4f} against {middle:.4f}" if far else ""


def never_adaptive(records: Sequence[Record], tame: Mapping[str, str] | None = None) -> Flag | None:
    """Flag a defense that no adaptive attack has tried in earnest; FedAvg, which rejects nothing, is exempt.

    Parameters
    ----------
    records : sequence of Record
        All runs of the defense.
    tame : mapping of str to str, optional
        Adaptive attacks that do not count, by label, with what is said of them: those that do less than what they
        adapt, that lack a seed, or that are not among the card's.
    """
    tame = tame or {}
    faced = {r.attack_label for r in records if r.adaptive}
    if faced - tame.keys() or any(r.defense == NONE for r in records):
        return None
    said = "; ".join(tame[label] for label in sorted(faced))
    return Flag("unadapted", RULES["unadapted"] + (f" ({said})" if said else ""), said)


def adapts(attack: str) -> str | None:
    """Return the name of the attack that an adaptive one adapts, None for one that adapts none."""
    for start, end in (("adaptive(", ")"), ("adaptive-", "")):
        if attack.startswith(start) and attack.endswith(end):
            return attack[len(start) : len(attack) - len(end)]
    return None


def inner_of(control: str) -> str | None:
    """Return the name or label of the attack whose control this is, None of anything else."""
    if not control.startswith(CONTROL):
        return None
    # A label's settings stand behind the name: "noise(lie) (z=0.3)" is the control of "lie (z=0.3)".
    name, space, settings = control.partition(" ")
    return f"{name[len(CONTROL) : -1]}{space}{settings}"


def told_counts(records: Sequence[Record]) -> list[int]:
    """Return the numbers of attackers that a defense was told of, ascending; FedAvg has no use for any."""
    return sorted({r.told for r in records if r.told is not None and r.defense != NONE})


def was_told(records: Sequence[Record]) -> Flag | None:
    """Flag a defense that was told how many attackers to expect, or the mean norm of benign uploads.

    FedAvg, which has no use for either, is exempt.
    """
    told = told_counts(records)
    words = [f"the number of attackers ({', '.join(map(str, told))})"] if told else []
    if any(r.told_norm for r in records):
        words.append("the mean norm of benign uploads")
    return Flag("told", f"was told {' and '.join(words)}") if words else None


def nobody_attacked(records: Sequence[Record]) -> Flag | None:
    """Flag runs of an attack in which no malicious client was drawn, or there was none: their score is a clean one.

    They are told by ``FNR_pooled``, a share of the malicious uploads of the run, which without any is undefined.
    """
    found = sorted(r.seed for r in records if not is_clean(r) and math.isnan(r.detection.get("FNR_pooled", 0.0)))
    seeds = f"seed{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
    return Flag("idle", f"{RULES['idle']} ({seeds})") if found else None


OF_RUNS: tuple[Callable[[Sequence[Record]], Flag | None], ...] = (
    rejects_honest,
    not_finite,
    unstable,
    was_told,
    nobody_attacked,
)
"""Rules that need nothing but the runs of a cell."""


def of_runs(records: Sequence[Record]) -> tuple[Flag, ...]:
    """Return the flags of a cell that rest on its own runs alone."""
    return tuple(flag for rule in OF_RUNS if (flag := rule(records)))
