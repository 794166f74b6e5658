"""What a table may print of a run: where the number stands, what it is called, and in which unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedsiege.arena.evidence import Run


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Parameters
    ----------
    label : str
        What readers call it.
    part : {"test", "detection", "aoi", "errors"}
        Where it stands in a run.
    key : str
        Its name there.
    percent : bool
        Whether it is a share that is printed in percent.
    digits : int
        Digits behind the point on a page.
    """

    label: str
    part: str
    key: str
    percent: bool = True
    digits: int = 2

    @property
    def scale(self) -> float:
        """Factor between the number and what is printed."""
        return 100.0 if self.percent else 1.0

    def read(self, run: Run) -> float | None:
        """Return the number of a run, None if it has none."""
        if self.part == "test":
            return run.last["metrics"]["test"].get(self.key)
        if self.part == "detection":
            return run.detection.get(self.key)
        fits = run.optimisation or {}
        if self.part == "aoi":
            return fits.get("aoi")
        # The attackers' errors where there are attackers: honest ones have a run of their own.
        groups = fits.get("errors", {})
        return groups.get("malicious", groups.get("benign", {})).get(self.key)


MEASURES: dict[str, Measure] = {
    "TACC": Measure("TACC", "test", "TACC"),
    "ASR": Measure("ASR", "test", "ASR"),
    "DACC": Measure("ADACC", "detection", "DACC"),
    "FPR": Measure("AFPR", "detection", "FPR"),
    "FNR": Measure("AFNR", "detection", "FNR"),
    "DACC_final": Measure("DACC", "detection", "DACC_final"),
    "FPR_final": Measure("FPR", "detection", "FPR_final"),
    "FNR_final": Measure("FNR", "detection", "FNR_final"),
    "AAR": Measure("AAR", "detection", "AAR", percent=False),
    "AOI": Measure("AOI", "aoi", "aoi", percent=False),
    "error": Measure("error", "errors", "mean", percent=False, digits=3),
    "error std": Measure("its std", "errors", "std", percent=False, digits=3),
}
"""By name. A plain rate is the mean over rounds (with an A in front in the paper), ``_final`` that of expulsions."""


def wanted_high(metric: str) -> bool:
    """Return whether a defender wants a score high of which no card speaks: all but the attacker's success (ASR)."""
    return metric.partition("@")[0] != "ASR"


def in_units(names: Sequence[str], values: float | Sequence[float]) -> dict[str, float]:
    """Return printed `values` of the measures `names` by name, percents as shares; fewer values than names may do."""
    listed = values if isinstance(values, Sequence) else (values,)
    # Rounded, because 79.34 / 100 is not 0.7934.
    return {name: round(value / MEASURES[name].scale, 6) for name, value in zip(names, listed)}
