"""An app's own metrics: which one a score card judges by, and how much of it is lost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedsiege.errors import ConfigError, RunError

LOWER = re.compile(r"(loss|err(or)?|rmse|mse|mae|perplexity|ppl|nll|wer|fpr|fnr)s?$", re.IGNORECASE)
"""Ends of names of metrics that are better when lower."""
FIRST = ("acc", "f1", "auc", "hr@", "hit", "ndcg", "recall", "precision", "r2", "score")
"""Beginnings or ends of names that a score card prefers."""
SOURCES = {"server": "evaluated by the server", "clients": "evaluated by the clients", "train": "measured in training"}


@dataclass(frozen=True)
class Metric:
    """The app's own metric on which it is judged.

    Parameters
    ----------
    name : str
        Its name.
    source : {"server", "clients", "train"}
        Who measured it.
    lower : bool
        Whether lower is better.
    """

    name: str
    source: str
    lower: bool

    def of(self, result: Mapping[str, Any] | None) -> float:
        """Return the metric after the last round of a run; NaN if the run has none."""
        rounds = (result or {}).get(self.source) or {}
        if not rounds:
            return math.nan
        last = max(rounds, key=int)
        value = rounds[last].get(self.name)
        return math.nan if value is None else float(value)

    def curve(self, result: Mapping[str, Any] | None) -> list[tuple[int, float]]:
        """Return the metric by round."""
        rounds = (result or {}).get(self.source) or {}
        return [(int(r), float(rounds[r].get(self.name, math.nan))) for r in sorted(rounds, key=int)]

    def harm(self, clean: float, value: float) -> float:
        """Return the share of the `clean` score that is lost, 1 for a value that is no number."""
        if not math.isfinite(value):
            return 1.0
        gone = (value - clean) if self.lower else (clean - value)
        return gone / abs(clean) if clean else (math.copysign(1.0, gone) if gone else 0.0)


def metrics_of(result: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics of a run, those that a score card prefers first."""
    found = [
        Metric(name, source, bool(LOWER.search(name)))
        for source in SOURCES
        for name in sorted({n for metrics in (result.get(source) or {}).values() for n in metrics})
    ]

    def rank(m: Metric) -> tuple[bool, bool, bool]:
        plain = m.name.lower()
        liked = any(plain.startswith(w) or f"_{w}" in plain or f"-{w}" in plain for w in FIRST)
        return (m.source == "train", not liked, m.lower)

    return sorted(found, key=rank)


def choose_metric(result: Mapping[str, Any], name: str | None = None) -> Metric:
    """Return the metric called `name`, or the one that says most.

    Raises
    ------
    ConfigError
        If there is no such metric.
    RunError
        If the run measured nothing.
    """
    found = metrics_of(result)
    if not found:
        raise RunError("the app's clean run measured nothing: give its ClientApp an @app.evaluate() or its strategy an "
                       "evaluate_fn")  # fmt: skip
    if name is None:
        return found[0]
    for metric in found:
        if metric.name == name:
            return metric
    raise ConfigError(f"--metric {name!r}: the app measures " + ", ".join(sorted({m.name for m in found})))
