"""Numbers and findings in words, the same on the page and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from fedsiege.report.cells import LOSS, NONE

MINUS = "−"


def signed_percent(share: float, digits: int = 1) -> str:
    """Return a change as a percentage with its sign: ``−31.2%``, ``+4.7%``, ``0.0%``."""
    text = f"{abs(100 * share):.{digits}f}"
    if float(text) == 0:
        return f"{text}%"
    return f"{'+' if share > 0 else MINUS}{text}%"


def minus(number: str) -> str:
    """Return a formatted number with a typographic minus, and none before zero."""
    return number.lstrip("-") if float(number) == 0 else number.replace("-", MINUS)


def change(loss: float | None, digits: int = 1) -> str:
    """Return the share that is lost as a change: a loss of 0.312 is ``−31.2%``; empty if unknown."""
    return "" if loss is None or math.isnan(loss) else signed_percent(-loss, digits)


def change_range(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return an interval of losses as an interval of changes, the lower first."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{change(high, digits)} to {change(low, digits)}"


def score(value: float | None) -> str:
    """Return a score with four decimals, a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


def half_width(low: float | None, high: float | None, digits: int = 4) -> str:
    """Return ``± half the interval``; empty for a single seed."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"± {(high - low) / 2:.{digits}f}"


def seeds(n: int) -> str:
    """Return a number of seeds in words."""
    return "1 seed" if n == 1 else f"{n} seeds"


def counted(n: int, what: str) -> str:
    """Return a number with its noun: ``1 iteration``, ``2,000 iterations``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def milliseconds(value: float) -> str:
    """Return milliseconds with three significant digits."""
    if value >= 100:
        return f"{value:,.0f} ms"
    return f"{value:.3g} ms"


def pace(value: float) -> str:
    """Return how many times as long a round takes: ``1.18 ×``."""
    return f"{value:.2f} ×"


def listing(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _by(loss: float, metric: str) -> str:
    if loss >= 0.0005:
        return f"{metric} falls by {100 * loss:.1f}%"
    if loss <= -0.0005:
        return f"{metric} rises by {-100 * loss:.1f}%"
    return f"{metric} stays as it is"


def _said(case: dict[str, Any], metric: str) -> str:
    """Return what a cell says: its change where that is known, else its score."""
    return _by(case["loss"], metric) if case["basis"] == LOSS else f"{metric} is {score(case['mean'])}"


def findings(cells: pl.DataFrame, group: str, metric: str, clean: str | None = None) -> list[str]:
    """Return what a group's cells say, in sentences: the worst attack, the best defense, its price.

    Defenses are compared by their worst case, over the same attacks: one that met fewer is not in the comparison.

    Parameters
    ----------
    cells : polars.DataFrame
        As `fedsiege.report.cells.cells` makes them.
    group, metric : str
        Which, and what it is judged by.
    clean : str, optional
        What runs without an attack are judged by; by default `metric`.
    """
    last = cells.filter((pl.col("group") == group) & (pl.col("moment") == "last") & (pl.col("n") > 0))
    alone = last.filter((pl.col("metric") == metric) & ~pl.col("harm").is_finite()).height
    last = last.filter(pl.col("harm").is_finite())
    mine = last.filter(pl.col("metric") == metric)
    said: list[str] = []
    # Among equals the first in the order of the cells: polars promises none of its own.
    open_ = mine.filter((pl.col("defense") == NONE) & (pl.col("attack") != NONE))
    open_ = open_.sort("harm", descending=True, maintain_order=True)
    if open_.is_empty():
        return said
    worst = open_.row(0, named=True)
    said.append(f"With no defense, the strongest attack is {worst['attack']}: {_said(worst, metric)}.")
    faced = set(open_["attack"])
    cases = []
    for (defense,), part in mine.filter(pl.col("attack").is_in(faced)).partition_by("defense", as_dict=True).items():
        if defense != NONE and set(part["attack"]) == faced:
            cases.append((part.sort("harm", descending=True, maintain_order=True).row(0, named=True), str(defense)))
    if cases:
        case, defense = min(cases, key=lambda c: (c[0]["harm"], c[1]))
        said.append(
            f"The defense with the mildest worst case is {defense}: under {case['attack']}, "
            f"its worst, {_said(case, metric)}."
        )
        price = last.filter(
            (pl.col("metric") == (clean or metric)) & (pl.col("defense") == defense) & (pl.col("attack") == NONE)
        )
        if not price.is_empty() and price["loss_n"][0]:
            said.append(f"When nobody attacks and {defense} stands guard, {_by(price['loss'][0], clean or metric)}.")
    # A loss has the seeds of a cell that its clean run has too.
    if mine["loss_n" if worst["basis"] == LOSS else "n"].min() == 1:
        said.append("Some of this rests on a single seed: another seed may say otherwise.")
    if alone:
        said.append(
            f"{counted(alone, 'cell')} left out, for want of a run without attack and defense under the same seed."
        )
    return said
