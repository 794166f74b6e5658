"""An app's own metrics: which one a score card judges by, and how much of it is lost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from string import digits
from typing import Any

from fedsiege.errors import ConfigError, RunError

SPLIT = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""What stands between the words of a name: signs, underscores, and the change of case in evalLoss or MSELoss."""
LOWER = re.compile(
    r"\w*(loss(es)?|err(or)?|mse|msle|mae|mape|nll|ppl|perplexity|entropy|deviance|divergence|regret)s?"
    r"|[wce]ers?|f[pnd]rs?|far|frr|ece|fid|kl|emd|b?ce|xent|bp[cd]|mpe|[ws]mape|wape|mase|crps|hinge|hamming|brier|distance"
    r"|costs?|false|miss|misses|misclassified|misclassification",
    re.IGNORECASE,
)
"""Words of names of metrics that are better when lower."""
NEGATED = {"neg", "negative"}
"""Words that turn a loss into a score, as in scikit-learn's neg_mean_squared_error."""
FIRST = re.compile(
    r"acc|f1|auc|auroc|auprc|hit|ndcg|recall|precision|r2|score|(hr|mrr|m?ap|m?iou|dice|bleu|rouge|mcc|kappa|reward)\Z",
    re.IGNORECASE,
)
"""Beginnings of words of names that a score card prefers."""
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
    stated : bool
        Whether somebody has said so; else it is taken from the name.
    """

    name: str
    source: str
    lower: bool
    stated: bool = False

    def rounds(self, result: Mapping[str, Any] | None) -> dict[int, float]:
        """Return the metric by round, in ascending order, of the rounds after which a run measured it."""
        measured = (result or {}).get(self.source) or {}
        return {
            int(r): float(measured[r][self.name])
            for r in sorted(measured, key=int)
            if measured[r].get(self.name) is not None
        }

    def of(self, result: Mapping[str, Any] | None, due: int = 0) -> float:
        """Return the metric after the last round of a run; NaN if it was not measured in round `due` or later."""
        measured = self.rounds(result)
        last = max(measured, default=-1)
        return measured[last] if last >= due else math.nan

    def due(self, clean: Mapping[str, Any], result: Mapping[str, Any]) -> int:
        """Return the round in which a run must have measured the metric for the last time, as its `clean` run has.

        A run may stop earlier than the clean one; one whose evaluation has failed ever since may not hide that.
        """
        ran = len(result.get("aggregation") or ())
        return max((r for r in self.rounds(clean) if r <= ran), default=0)

    def curve(self, result: Mapping[str, Any] | None) -> list[tuple[int, float]]:
        """Return the metric by round."""
        return list(self.rounds(result).items())

    def harm(self, clean: float, value: float) -> float:
        """Return the share of the `clean` score that is lost, 1 for a value that is no number."""
        if not math.isfinite(value):
            return 1.0
        gone = (value - clean) if self.lower else (clean - value)
        return gone / abs(clean) if clean else (math.copysign(1.0, gone) if gone else 0.0)


def words_of(name: str) -> list[str]:
    """Return the words of a metric's name, in lower case."""
    return [word.lower() for word in SPLIT.split(name) if word]


def is_lower(name: str) -> bool:
    """Tell by its name whether a metric is better when lower."""
    words = set(words_of(name))
    if "false" in words or ("likelihood" in words and NEGATED & words):
        return True
    return not NEGATED & words and any(LOWER.fullmatch(word.rstrip(digits)) for word in words)


def metrics_of(result: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics of a run, those that a score card prefers first, those of unknown meaning last."""
    found = [
        Metric(name, source, is_lower(name))
        for source in SOURCES
        for name in sorted({n for metrics in (result.get(source) or {}).values() for n in metrics})
    ]

    def rank(m: Metric) -> tuple[bool, bool, bool]:
        liked = any(FIRST.match(word) for word in words_of(m.name))
        return (m.source == "train", m.lower or not liked, not (m.lower or liked))

    return sorted(found, key=rank)


def choose_metric(result: Mapping[str, Any], name: str | None = None, better: str | None = None) -> Metric:
    """Return the metric called `name`, or the one that says most; "lower" or "higher" says which is `better`.

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
    for metric in found:
        if name in (None, metric.name):
            return metric if better is None else replace(metric, lower=better == "lower", stated=True)
    raise ConfigError(f"--metric {name!r}: the app measures " + ", ".join(sorted({m.name for m in found})))
