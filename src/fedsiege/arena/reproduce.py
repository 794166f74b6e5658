"""A published table or figure, from its cells to ours beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fedsiege.arena.config import parse
from fedsiege.arena.evidence import Run, finished
from fedsiege.arena.grid import Cell
from fedsiege.arena.paper import aaai23
from fedsiege.arena.stats import Estimate, estimate, relative_loss
from fedsiege.arena.targets import TARGETS, Point, Target
from fedsiege.errors import ConfigError, nearest

ROUNDS = 6000


def target(id_: str) -> Target:
    """Return the target called `id_`; ConfigError with the nearest known one if there is none."""
    if id_ not in TARGETS:
        raise ConfigError(f"unknown target {id_!r}: {nearest(id_, TARGETS)}")
    return TARGETS[id_]


def points(id_: str, cells: Sequence[str] | None = None) -> list[Point]:
    """Return the points of a target, narrowed to keys that match one of the globs `cells`."""
    wanted = list(target(id_).points())
    if not cells:
        return wanted
    kept = [p for p in wanted if any(fnmatch(p.key, g) or fnmatch(p.key, g + "/*") for g in cells)]
    if not kept:
        raise ConfigError(
            f"no cell of {id_} matches {', '.join(cells)}; cells are called "
            f"model/dataset/attack/defense/m<share>, such as {wanted[0].key}"
        )
    return kept


def plan(
    id_: str,
    seeds: Sequence[int] | None = None,
    rounds: int | None = None,
    cells: Sequence[str] | None = None,
    root: Path = Path("runs"),
) -> list[Cell]:
    """Return the runs that a target needs.

    Parameters
    ----------
    id_ : str
        A key of `TARGETS`.
    seeds : sequence of int, optional
        Default: as many as the target says, from 0.
    rounds : int, optional
        Default: 6,000, as in the paper.
    cells : sequence of str, optional
        Globs over cell keys, such as ``mf/ml-1m/*``.
    root : Path
        Where run folders lie; the same cell of two targets is one folder, so it is run once.
    """
    chosen = list(seeds) if seeds is not None else list(range(target(id_).seeds))
    out = []
    for point in points(id_, cells):
        for seed in chosen:
            config = parse(point.config(seed, rounds or ROUNDS))
            label = f"{point.key}/seed{seed}"
            out.append(Cell(config, root / "aaai23" / point.key / f"seed{seed}-{config.hash}", label))
    return out


@dataclass(frozen=True)
class Row:
    """One line of a table: a point with our estimates and the paper's values."""

    point: Point
    ours: dict[str, Estimate]
    best: dict[str, Estimate]
    loss: Estimate
    detection: dict[str, float]
    told: bool
    seeds: tuple[int, ...]


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
    """

    id: str
    title: str
    columns: list[str]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "id": self.id,
            "title": self.title,
            "columns": self.columns,
            "rows": self.rows,
            "notes": self.notes,
            "paper": aaai23()["source"],
        }


def clean_key(point: Point) -> tuple[str, str, str]:
    """Return what identifies the no-attack, no-defense run that a point is compared with."""
    return point.model, point.dataset, repr(sorted(point.model_options.items()))


def _values(part: str, metric: str, runs: dict[int, Run]) -> dict[int, float]:
    """Test metric of each seed's run at its ``last`` or ``best`` evaluation."""
    return {seed: getattr(run, part)["metrics"]["test"][metric] for seed, run in runs.items()}


def rows(id_: str, runs: Sequence[Run]) -> list[Row]:
    """Return one row per point that has `runs`; the clean run is the group's own."""
    by_key: dict[str, dict[int, Run]] = {}
    for run in runs:
        by_key.setdefault(run.key, {})[run.seed] = run
    wanted = [p for p in points(id_) if p.key in by_key]
    # A clean run does not depend on who would have attacked, so any share serves as the baseline.
    clean = {clean_key(p): by_key[p.key] for p in wanted if p.attack == "none" and p.defense == "none"}
    metrics = target(id_).metrics
    out = []
    for point in wanted:
        found = by_key[point.key]
        base = clean.get(clean_key(point), {})
        detection = [run.detection for run in found.values() if run.rejects]
        out.append(
            Row(
                point,
                {m: estimate(_values("last", m, found).values()) for m in metrics},
                {m: estimate(_values("best", m, found).values()) for m in metrics},
                relative_loss(_values("last", metrics[0], base), _values("last", metrics[0], found)),
                _mean_of(detection),
                any(run.told is not None for run in found.values()),
                tuple(sorted(found)),
            )
        )
    return out


def _mean_of(records: Sequence[dict[str, float | None]]) -> dict[str, float]:
    """Mean of each key over `records`, None left out; empty without records."""
    keys: Sequence[str] = list(records[0]) if records else []
    return {k: estimate([math.nan if (v := r[k]) is None else v for r in records]).mean for k in keys}


def _number(x: float | None, digits: int = 5) -> float | None:
    return None if x is None or not math.isfinite(x) else round(x, digits)


def tabulate(id_: str, cells: Sequence[Cell], runs: Sequence[Run] | None = None) -> Table:
    """Return the table of a target for `cells`, from `runs` (default: those of the cells that are finished here)."""
    metrics = target(id_).metrics
    lines = []
    runs = finished(cells) if runs is None else runs
    found = rows(id_, runs)
    baseline = {clean_key(r.point): r.point for r in found if r.point.attack == r.point.defense == "none"}
    for row in found:
        point = row.point
        line: dict[str, Any] = {
            "model": point.model,
            "dataset": point.dataset,
            "malicious": point.malicious if point.attack != "none" else 0.0,
            "defense": point.defense,
            "attack": point.attack,
            "variant": point.variant,
        }
        for metric in metrics:
            ours, printed = row.ours[metric], point.paper.get(metric)
            line |= {
                metric: _number(ours.mean),
                f"{metric} low": _number(ours.low),
                f"{metric} high": _number(ours.high),
                f"{metric} best": _number(row.best[metric].mean),
                f"{metric} paper": printed,
                f"{metric} difference": _number(ours.mean - printed) if printed else None,
            }
        clean = baseline.get(clean_key(point))
        printed, reference = point.paper.get(metrics[0]), clean.paper.get(metrics[0]) if clean else None
        line |= {
            "loss": _number(row.loss.mean, 4),
            "loss low": _number(row.loss.low, 4),
            "loss high": _number(row.loss.high, 4),
            "loss paper": _number(1 - printed / reference, 4) if printed and reference else None,
            **{k: _number(row.detection.get(k, math.nan), 4) for k in ("DACC", "FPR", "FNR", "AAR")},
            **{f"{k} pooled": _number(row.detection.get(f"{k}_pooled", math.nan), 4) for k in ("FPR", "FNR")},
            "told": row.told,
            "seeds": len(row.seeds),
        }
        lines.append(line)
    missing = sorted({c.label.rpartition("/")[0] for c in cells} - {run.key for run in runs})
    notes = [
        f"Test metrics of the last round; `best` is the round with the highest HR@5 on validation. `loss` is the "
        f"share of {metrics[0]} lost against no attack and no defense, paired by seed. Intervals are 95 % "
        f"bootstrap intervals over seeds.",
        "Protocol `paper`: training negatives spare held-out items. The paper's values are means of five runs.",
    ]
    rounds = {c.config.federation.rounds for c in cells}
    if rounds != {ROUNDS}:
        notes.append(f"Run for {sorted(rounds)} rounds, not the paper's {ROUNDS}.")
    if missing:
        notes.append(
            f"{len(missing)} cells without a finished run: {', '.join(missing[:6])}{' …' * (len(missing) > 6)}"
        )
    if any(line["told"] for line in lines):
        notes.append("Where `told` is true the defense was told the number of attackers.")
    columns = list(lines[0]) if lines else []
    return Table(id_, target(id_).title, columns, lines, notes)
