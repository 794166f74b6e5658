"""Bands of our own: where a repeated cell should come out, derived from published runs and stored as data.

``targets/bands/<paper>.yaml`` holds them by cell, rounds and measure. `fedsiege.arena.derive_bands` writes these
files; nobody edits them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol, cast

import yaml

from fedsiege.arena.measures import MEASURES
from fedsiege.arena.targets import Target

if TYPE_CHECKING:
    from fedsiege.arena.evidence import Run


class Figures(Protocol):
    """What a verdict needs to know of a finished run; `fedsiege.arena.evidence.Run` is one."""

    @property
    def key(self) -> str:
        """The cell without its seed."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def rounds(self) -> int:
        """For how many rounds it ran."""

    @property
    def last(self) -> Mapping[str, Any]:
        """The last evaluation, as in the run's result."""

    @property
    def detection(self) -> Mapping[str, float | None]:
        """Detection, as in the run's result."""

    @property
    def optimisation(self) -> Mapping[str, Any] | None:
        """Iterations and errors, as in the run's result, where uploads were reconstructed."""


WIDTH = 3.0
"""Standard deviations between the middle of a band and its ends."""


@dataclass(frozen=True)
class Band:
    """Where more runs of a cell should come out.

    The mean over m more runs should lie within mean ± `WIDTH` · sd · √(1/m + 1/seeds), the spread of the difference of
    two means; half the width is at least `least`.

    Parameters
    ----------
    mean, sd : float
        Mean of the published runs, and the standard deviation of one run.
    least : float
        Smallest half width.
    seeds : int
        How many runs were published.
    """

    mean: float
    sd: float
    least: float
    seeds: int

    def ends(self, runs: int) -> tuple[float, float]:
        """Return the lower and the upper end for the mean over so many `runs`, ≥ 1."""
        half = max(WIDTH * self.sd * math.sqrt(1 / runs + 1 / self.seeds), self.least)
        return self.mean - half, self.mean + half

    def outside(self, value: float, runs: int) -> float:
        """Return by how much the mean over `runs` lies above (> 0) or below (< 0) the band.

        It is 0.0 inside, and NaN if `value` is not finite.
        """
        if not math.isfinite(value):
            return math.nan
        low, high = self.ends(runs)
        return max(value - high, 0.0) + min(value - low, 0.0)


def value(target: Target, measure: str, run: Figures) -> float | None:
    """Return what a table of `target` prints of a run, None if the run has no such number."""
    if target.layout == "losses":
        return run.last["metrics"]["test"].get(measure)
    return MEASURES[measure].read(cast("Run", run))


@cache
def stored(paper: str) -> Mapping[str, Mapping[int, Mapping[str, Band]]]:
    """Return the bands of a paper's cells by folder and key, rounds and measure; empty if none are stored."""
    path = files("fedsiege.arena.targets") / "bands" / f"{paper}.yaml"
    if not path.is_file():
        return {}
    cells = yaml.safe_load(path.read_text(encoding="utf-8"))["bands"]
    return {
        cell: {rounds: {name: Band(**band) for name, band in named.items()} for rounds, named in by_rounds.items()}
        for cell, by_rounds in cells.items()
    }


def band(target: Target, key: str, rounds: int, measure: str) -> Band | None:
    """Return the stored band of a cell run for so many `rounds`, None if there is none."""
    return stored(target.paper).get(f"{target.folder}/{key}", {}).get(rounds, {}).get(measure)
