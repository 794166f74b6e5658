"""What the reconstruction of uploads took and gave, over the rounds of a run (Xie et al., ICML 2024, appendix B)."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, pstdev
from typing import Any

FIRST = 5
"""Rounds whose reconstruction errors are summed up."""


class Effort:
    """Collects from the records of a run what defenses by reconstruction tell; nothing from those of others."""

    def __init__(self) -> None:
        self.iterations: list[float] = []
        self.errors: dict[str, list[float]] = {"benign": [], "malicious": []}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take note of the record of a round."""
        # In a composition the name of the part stands in front.
        found = [value for name, value in record["info"].items() if name.rpartition(".")[2] == "aoi"]
        if not found:
            return
        self.iterations.append(float(found[0]))
        if record["round"] > FIRST:
            return
        bad = set(record["malicious"])
        for client, error in zip(record["cohort"], record["score"] or ()):
            if error is not None:
                self.errors["malicious" if client in bad else "benign"].append(float(error))

    def summary(self) -> dict[str, Any] | None:
        """Return the numbers of the run, None if nothing was reconstructed.

        ``aoi`` is the mean over all rounds of the iterations per client (AOI); ``errors`` holds ``mean``, ``std`` and
        ``n`` of the errors of the first rounds, of ``benign`` and of ``malicious`` clients.
        """
        if not self.iterations:
            return None
        errors = {
            group: {"mean": fmean(values), "std": pstdev(values), "n": len(values)}
            for group, values in self.errors.items()
            if values
        }
        return {"aoi": fmean(self.iterations), "errors": errors}
