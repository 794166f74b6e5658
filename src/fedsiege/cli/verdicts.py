"""What ``fedsiege reproduce`` says of verdicts: one line a check, and the state of every table and figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedsiege.cli.console import number, out, show_table, table

if TYPE_CHECKING:
    from fedsiege.arena.standing import Standing
    from fedsiege.arena.verdict import Check, Verdict


def _by(outside: float | None, reference: float) -> str:
    """Say on which side of a band a number lies, and by how much, absolutely and in percent of `reference`."""
    if outside is None:
        return "–"
    if outside == 0.0:
        return "inside"
    if outside != outside:
        return "outside: not finite"
    share = f" ({100 * outside / abs(reference):+.1f} %)" if reference else ""
    return f"outside by {outside:+.2g}{share}"


def _row(check: Check) -> list[str]:
    low, high = check.ends or (None, None)
    middle = check.band.mean if check.band else 0.0
    return [
        check.cell,
        check.measure,
        number(check.ours),
        str(check.seeds),
        f"{number(low)} to {number(high)}" if check.band else "–",
        _by(check.outside, middle),
        number(check.paper),
        number(check.difference),
        _by(check.paper_outside, middle),
    ]


def show(verdict: Verdict) -> None:
    """Print every check, and the verdict in a line."""
    console = out()
    if verdict.checks:
        rows: list[list[str]] = [_row(check) for check in verdict.checks]
        head = ["cell", "measure", "ours", "seeds", "our band", "ours", "paper", "difference", "paper in our band"]
        show_table(table("verdict", head, rows, right=["seeds", "difference"]))
    console.print(f"verdict: {verdict.words}", markup=False)


def list_targets(found: Sequence[Standing]) -> None:
    """Print the state of every table and figure."""
    rows = []
    for state in found:
        wanted = state.target
        name = " ".join(wanted.words)
        counts = [f"{state.finished} of {state.runs}", str(state.published)]
        rows.append([name, wanted.title, wanted.source, *counts, state.verdict.words if state.verdict.cells else "–"])
    head = ["ID", "what", "paper", "finished", "published", "verdict"]
    show_table(table("fedsiege reproduce ID", head, rows, right=["finished", "published"]))


def as_json(state: Standing, small: bool) -> dict[str, Any]:
    """Return the state of a table or figure as JSON values; `small` says whether it has a small form.

    ``holds`` is null where no finished cell has a band to be compared with.
    """
    wanted = state.target
    return {
        "id": wanted.id,
        "title": wanted.title,
        "about": wanted.about,
        "paper": wanted.source,
        "lite": small,
        "full": wanted.full or None,
        "runs": state.runs,
        "finished": state.finished,
        "published": state.published,
        "cells": state.verdict.cells,
        "compared": state.verdict.compared,
        "inside": state.verdict.inside,
        "outside": state.verdict.outside,
        "holds": state.verdict.holds if state.verdict.compared else None,
    }
