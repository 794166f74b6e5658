"""Scores, intervals and flags of a leaderboard as HTML: every number with its doubt, every sign with a word."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from fedsiege.report import words

if TYPE_CHECKING:
    from fedsiege.arena.board import Flag
    from fedsiege.arena.stats import Estimate

MISSING = "–"


def known(value: float | None) -> bool:
    """Return whether there is a finite number."""
    return value is not None and math.isfinite(value)


def interval(estimate: Estimate, digits: int = 4) -> str:
    """Return ``[low, high]`` of an estimate, or how many seeds it rests on where there is no interval."""
    if not (known(estimate.low) and known(estimate.high)):
        return words.seeds(estimate.n) if estimate.n else ""
    low, high = (words.minus(f"{value:.{digits}f}") for value in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def score(estimate: Estimate, strong: bool = False, digits: int = 4) -> str:
    """Return a score with its interval below it; `strong` is a winner, said in bold and with a star."""
    if not known(estimate.mean):
        return MISSING
    number = f"{estimate.mean:.{digits}f}"
    if strong:
        number = (
            f'<strong class="best">{number}<span class="star" title="significantly better than every other row">'
            f'★</span><span class="sr"> best</span></strong>'
        )
    return f'{number}<small class="ci">{interval(estimate, digits)}</small>'


def price(estimate: Estimate, lost: Estimate, digits: int = 4) -> str:
    """Return what a defense takes from the clean run (below zero: gives), its share in words, and the interval."""
    if not known(estimate.mean):
        return MISSING
    share = ""
    if known(lost.mean):
        percent = f"{abs(100 * lost.mean):.1f}"
        share = f" · {percent}%" + ("" if float(percent) == 0 else " lost" if lost.mean > 0 else " gained")
    number = words.minus(f"{estimate.mean:.{digits}f}")
    return f'{number}{share}<small class="ci">{interval(estimate, digits)}</small>'


def rate(value: float | None) -> str:
    """Return a share as a percentage, a dash if unknown."""
    return MISSING if not known(value) else f"{100 * float(value or 0.0):.1f}%"


def key(value: float | None) -> str:
    """Return the attribute by which a cell is sorted; without a number it has none and comes last."""
    return f' data-v="{float(value or 0.0):.8g}"' if known(value) else ""


def unique(flags: Iterable[Flag]) -> list[Flag]:
    """Return the first flag of each code."""
    found: dict[str, Flag] = {}
    for flag in flags:
        found.setdefault(flag.code, flag)
    return list(found.values())


def chips(flags: Iterable[Flag]) -> str:
    """Return flags as a list of words with a sign, once for each code; a dash if there is none."""
    items = "".join(
        f'<li class="flag" title="{escape(flag.message)}"><span aria-hidden="true">⚑ </span>{escape(name(flag))}</li>'
        for flag in unique(flags)
    )
    return f'<ul class="flags">{items}</ul>' if items else f'<span class="soft">{MISSING}</span>'


NAMES = {
    "band": "outside band", "noise": "like noise", "rejects": "rejects honest", "nonfinite": "not finite",
    "unstable": "unstable end", "unadapted": "adaptive attack lacking", "told": "told the count",
    "idle": "nobody attacked",
}  # fmt: skip
"""What a flag is called where there is little room; others go by their code."""


def name(flag: Flag) -> str:
    """Return a flag's short name."""
    return NAMES.get(flag.code, flag.code)


def legend(flags: Iterable[Flag]) -> str:
    """Return what each flag of a leaderboard means; empty if there is none."""
    from fedsiege.arena.flags import RULES

    found = unique(flags)
    if not found:
        return '<p class="soft">No flag was raised. Checks that could not be made, and why, are in the notes.</p>'
    meanings = [(name(flag), RULES.get(flag.code, flag.message)) for flag in found]
    items = "".join(
        f'<div><dt><span aria-hidden="true">⚑ </span>{escape(short)}</dt><dd>{escape(meaning)}</dd></div>'
        for short, meaning in meanings
    )
    return f'<dl class="legend" aria-label="What the flags mean">{items}</dl>'


def span(estimate: Estimate, clean: float, reference: float, top: float) -> str:
    """Return a small picture of a row: the worst case with its interval, the clean score, the undefended clean run.

    Circle: worst case. Diamond: clean with the defense. Dashed rule: clean without attack and defense. All lie on one
    scale from 0 to `top`; the numbers stand beside it as text.
    """
    if not known(estimate.mean) or not top > 0:
        return ""

    def at(value: float) -> str:
        return f"{2 + 116 * min(max(value / top, 0.0), 1.0):.1f}"

    parts = ['<path class="base" d="M2 9H118"/>']
    if known(reference):
        parts.append(f'<path class="ref" d="M{at(reference)} 1V17"/>')
    if known(estimate.low) and known(estimate.high):
        parts.append(f'<path class="bar" d="M{at(estimate.low)} 9H{at(estimate.high)}"/>')
    if known(clean):
        x = float(at(clean))
        parts.append(f'<path class="clean" d="M{x:.1f} 4.5l4.5 4.5-4.5 4.5-4.5-4.5z"/>')
    parts.append(f'<circle class="worst" cx="{at(estimate.mean)}" cy="9" r="3.6"/>')
    return f'<svg class="span" viewBox="0 0 120 18" aria-hidden="true" focusable="false">{"".join(parts)}</svg>'
