"""Whether a reproduction holds: finished cells beside bands of our own and beside what the paper prints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fedsiege.arena.bands import Band, Figures, band, value
from fedsiege.arena.targets import Target


@dataclass(frozen=True)
class Check:
    """One measure of one cell.

    Parameters
    ----------
    cell : str
        The cell without its seed.
    measure : str
        What is compared.
    ours : float
        Mean over the finished seeds, in the units of the run (rates as shares).
    seeds : int
        How many are finished.
    band : Band or None
        Where it should lie; None if no band is stored for so many rounds.
    paper : float or None
        What the paper prints.
    """

    cell: str
    measure: str
    ours: float
    seeds: int
    band: Band | None
    paper: float | None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Lower and upper end of the band for a mean over so many seeds, None without a band."""
        return None if self.band is None else self.band.ends(self.seeds)

    @property
    def outside(self) -> float | None:
        """By how much ours lies above (> 0) or below (< 0) the band, 0.0 inside; None without a band."""
        return None if self.band is None else self.band.outside(self.ours, self.seeds)

    @property
    def inside(self) -> bool | None:
        """Whether ours lies in the band, None without one."""
        return None if self.outside is None else self.outside == 0.0

    @property
    def paper_outside(self) -> float | None:
        """By how much the paper's value lies above or below the band; None without a band or a value."""
        return None if self.band is None or self.paper is None else self.band.outside(self.paper, self.seeds)

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, None if it prints none."""
        return None if self.paper is None else self.ours - self.paper

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON values; "inside" is null without a band."""
        low, high = self.ends or (None, None)
        return {
            "cell": self.cell,
            "measure": self.measure,
            "ours": self.ours,
            "seeds": self.seeds,
            "low": low,
            "high": high,
            "inside": self.inside,
            "outside by": self.outside,
            "paper": self.paper,
            "difference": self.difference,
            "paper inside": None if self.paper_outside is None else self.paper_outside == 0.0,
            "paper outside by": self.paper_outside,
        }


@dataclass(frozen=True)
class Verdict:
    """All checks of a table or figure.

    Parameters
    ----------
    cells : int
        Cells with a finished seed.
    checks : tuple of Check
        Those with a band or a value of the paper, in the order of the table.
    """

    cells: int
    checks: tuple[Check, ...]

    def _cells(self, inside: bool) -> set[str]:
        return {check.cell for check in self.checks if check.inside is inside}

    @property
    def outside(self) -> int:
        """Cells of which any measure lies outside its band."""
        return len(self._cells(False))

    @property
    def inside(self) -> int:
        """Cells with a band of which no measure lies outside."""
        return len(self._cells(True) - self._cells(False))

    @property
    def compared(self) -> int:
        """Cells with a band, inside or outside."""
        return self.inside + self.outside

    @property
    def holds(self) -> bool:
        """Whether something was compared and nothing lies outside."""
        return self.compared > 0 and not self.outside

    @property
    def words(self) -> str:
        """The verdict in a few words, such as ``"2 outside, 5 inside, 1 without a band"``."""
        if not self.cells:
            return "nothing finished"
        left = self.cells - self.compared
        if not self.compared:
            return f"nothing to compare with: {left} without a band"
        counts = ((self.outside, "outside"), (self.inside, "inside"), (left, "without a band"))
        return ", ".join(f"{n} {what}" for n, what in counts if n)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {
            "holds": self.holds,
            "cells": self.cells,
            "compared": self.compared,
            "inside": self.inside,
            "outside": self.outside,
            "checks": [check.to_json() for check in self.checks],
        }


def judge(target: Target, runs: Iterable[Figures]) -> Verdict:
    """Return the verdict over finished `runs` of a target; a cell's mean is over its seeds.

    Runs of other cells do not count. A cell run for several numbers of rounds is judged once for each; the paper's
    values are those of the target's own rounds and are compared all the same.
    """
    groups: dict[tuple[str, int], dict[int, Figures]] = {}
    for run in runs:
        groups.setdefault((run.key, run.rounds), {})[run.seed] = run
    by_key: dict[str, list[int]] = {}
    for key, rounds in sorted(groups):
        by_key.setdefault(key, []).append(rounds)
    checks, cells = [], 0
    for point in target.points():
        for rounds in by_key.get(point.key, ()):
            cells += 1
            for name in target.metrics:
                values = [
                    v for run in groups[point.key, rounds].values() if (v := value(target, name, run)) is not None
                ]
                limits, printed = band(target, point.key, rounds, name), point.paper.get(name)
                if values and (limits is not None or printed is not None):
                    # A run that came out as NaN must not hide behind the others.
                    ours = fmean(values) if all(map(math.isfinite, values)) else math.nan
                    checks.append(Check(point.key, name, ours, len(values), limits, printed))
    return Verdict(cells, tuple(checks))
