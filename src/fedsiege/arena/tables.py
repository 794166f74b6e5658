"""Rows of a table from runs: metrics with what was lost, or measures alone, ours beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedsiege.arena.evidence import Run
from fedsiege.arena.measures import MEASURES
from fedsiege.arena.stats import Estimate, estimate, relative_loss
from fedsiege.arena.targets import Point, Target

Found = Sequence[tuple[Point, Mapping[int, Run]]]
"""Points with their runs by seed, at least one each."""


@dataclass(frozen=True)
class Table:
    """Ours beside the paper's.

    Parameters
    ----------
    id, title : str
        Which target.
    columns : list of str
        Keys of the rows in order.
    rows : list of dict
        Plain values; numbers are floats or None.
    notes : list of str
        What the reader must know.
    source : str
        The paper.
    measures : tuple of str
        Names of the measures, in a table of measures.
    """

    id: str
    title: str
    columns: list[str]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    source: str = ""
    measures: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "id": self.id,
            "title": self.title,
            "columns": self.columns,
            "rows": self.rows,
            "notes": self.notes,
            "paper": self.source,
            **({"measures": list(self.measures)} if self.measures else {}),
        }


def _number(x: float | None, digits: int = 5) -> float | None:
    return None if x is None or not math.isfinite(x) else round(x, digits)


def _values(part: str, metric: str, runs: Mapping[int, Run]) -> dict[int, float]:
    """Test metric of each seed's run at its ``last`` or ``best`` evaluation."""
    return {seed: getattr(run, part)["metrics"]["test"][metric] for seed, run in runs.items()}


def _mean_of(records: Sequence[dict[str, float | None]]) -> dict[str, float]:
    """Mean of each key over `records`, None left out; empty without records."""
    keys: Sequence[str] = list(records[0]) if records else []
    return {k: estimate([math.nan if (v := r[k]) is None else v for r in records]).mean for k in keys}


def _told(runs: Mapping[int, Run]) -> bool:
    return any(run.told is not None for run in runs.values())


def _name(point: Point) -> dict[str, Any]:
    """Return the columns that say what was run."""
    return {
        "model": point.model,
        "dataset": point.dataset,
        "malicious": point.malicious if point.attack != "none" else 0.0,
        "defense": point.defense,
        "attack": point.attack,
        "variant": point.variant,
    }


def _beside(name: str, ours: Estimate, printed: float | None) -> dict[str, Any]:
    """Return the columns of our estimate and, at the end, of the paper's value."""
    return {
        name: _number(ours.mean),
        f"{name} low": _number(ours.low),
        f"{name} high": _number(ours.high),
        f"{name} paper": printed,
        f"{name} difference": None if printed is None else _number(ours.mean - printed),
    }


def losses(target: Target, found: Found) -> list[dict[str, Any]]:
    """Return rows of test metrics, the share lost against the group's clean run, and detection."""
    # A clean run does not depend on who would have attacked, so any share serves as the baseline.
    clean: dict[Hashable, tuple[Point, Mapping[int, Run]]] = {
        p.group: (p, runs) for p, runs in found if p.attack == p.defense == "none"
    }
    first, rows = target.metrics[0], []
    for point, runs in found:
        line = _name(point)
        for metric in target.metrics:
            beside = _beside(metric, estimate(_values("last", metric, runs).values()), point.paper.get(metric))
            best = {f"{metric} best": _number(estimate(_values("best", metric, runs).values()).mean)}
            at = list(beside.items())
            line |= {**dict(at[:3]), **best, **dict(at[3:])}
        base, base_runs = clean.get(point.group, (None, {}))
        loss = relative_loss(_values("last", first, base_runs), _values("last", first, runs))
        printed, reference = point.paper.get(first), base.paper.get(first) if base else None
        detection = _mean_of([run.detection for run in runs.values() if run.rejects])
        rows.append(
            line
            | {
                "loss": _number(loss.mean, 4),
                "loss low": _number(loss.low, 4),
                "loss high": _number(loss.high, 4),
                "loss paper": _number(1 - printed / reference, 4) if printed and reference else None,
                **{k: _number(detection.get(k, math.nan), 4) for k in ("DACC", "FPR", "FNR", "AAR")},
                **{f"{k} pooled": _number(detection.get(f"{k}_pooled", math.nan), 4) for k in ("FPR", "FNR")},
                "told": _told(runs),
                "seeds": len(runs),
            }
        )
    return rows


def measured(target: Target, found: Found) -> list[dict[str, Any]]:
    """Return rows of the target's measures."""
    rows = []
    for point, runs in found:
        line = _name(point)
        for name in target.metrics:
            values = [MEASURES[name].read(run) for run in runs.values()]
            line |= _beside(name, estimate([v for v in values if v is not None]), point.paper.get(name))
        rows.append({**line, "told": _told(runs), "seeds": len(runs)})
    return rows
