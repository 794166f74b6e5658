"""The figures of the papers, drawn from tables of stored runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fedsiege.arena.folder import RunFolder
from fedsiege.arena.measures import MEASURES
from fedsiege.arena.reproduce import target
from fedsiege.arena.targets import Sweep
from fedsiege.files import make_folder
from fedsiege.report.figures import figure2, figure3, figure4
from fedsiege.report.sweeps import sweep

STRETCH = 100
"""Rounds around a column of figure 4 whose scores its densities pool."""


def _scores(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    columns = {"HR@5": "mean", "HR@5 low": "low", "HR@5 high": "high"}
    kept = [{**{k: row[k] for k in ("attack", "defense")}, **{n: row[c] for c, n in columns.items()}} for row in rows]
    return pl.DataFrame(kept, schema_overrides={"low": pl.Float64, "high": pl.Float64})


def draw_figure2(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw figure 2 from the rows of its table: HR@5 by defense, one bar an attack, a line without either."""
    clean = [r["HR@5"] for r in rows if r["attack"] == r["defense"] == "none"]
    defended = [r for r in rows if r["defense"] != "none"]
    return figure2(_scores(defended), path, baseline=clean[0] if clean else None)


def draw_figure3(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw figure 3 from the rows of its table: HR@5 against the initial number of clusters."""
    clean = [r["HR@5"] for r in rows if r["attack"] == "none"]
    kept = []
    for row in rows:
        if row["attack"] == "none":
            continue
        # The plain setting, without a variant, is that of two clusters with adaptation.
        clusters, _, form = (row["variant"] or "k2-adaptive").partition("-")
        kept.append(
            {
                "clusters": int(clusters[1:]),
                "adaptive": form == "adaptive",
                "mean": row["HR@5"],
                "low": row["HR@5 low"],
                "high": row["HR@5 high"],
            }
        )
    frame = pl.DataFrame(kept, schema_overrides={"low": pl.Float64, "high": pl.Float64}).sort("clusters")
    return figure3(frame, path, baseline=clean[0] if clean else None)


def _columns(folder: Path, at: Sequence[int]) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Uploads on the projected round nearest each of `at`, and centred scores of the rounds around it."""
    points: dict[str, pl.DataFrame] = {}
    scores: dict[str, dict[str, list[Any]]] = {}
    titles = {round_: f"round {round_}" for round_ in at}
    for record in RunFolder(folder).read_rounds():
        bad = np.isin(record["cohort"], record["malicious"])
        for round_, title in titles.items():
            if abs(record["round"] - round_) <= STRETCH and record["score"]:
                pool = scores.setdefault(title, {"score": [], "malicious": []})
                values = np.array(record["score"], np.float64)
                pool["score"] += (values - np.nanmedian(values)).tolist()
                pool["malicious"] += bad.tolist()
            if record["round"] == round_ and "projection" in record:
                x, y = np.array(record["projection"], np.float64).T
                points[title] = pl.DataFrame({"x": x, "y": y, "malicious": bad})
    return points, {title: pl.DataFrame(pool) for title, pool in scores.items()}


def projected_with_attacker(folder: Path, count: int) -> list[int]:
    """Return about `count` projected rounds, evenly spread, in which an attacker took part."""
    shown = [r["round"] for r in RunFolder(folder).read_rounds() if "projection" in r and r["malicious"]]
    if not shown:
        return []
    wanted = np.linspace(shown[0], shown[-1], count + 1)[1:]
    return sorted({min(shown, key=lambda s: abs(s - w)) for w in wanted})


def draw_figure4(with_task: Path, without: Path, path: Path, columns: int = 4) -> Path:
    """Draw figure 4 from the run folders with and without the contrastive task."""
    at = projected_with_attacker(with_task, columns)
    points, present = _columns(with_task, at)
    _, absent = _columns(without, at)
    return figure4(points, absent, present, path)


def draw_sweep(rows: Sequence[Mapping[str, Any]], axis: Sweep, measures: Sequence[str], path: Path) -> Path:
    """Draw curves of measures over what a figure varies, from the rows of its table."""
    kept = []
    for row in rows:
        for name in measures:
            if row[name] is None:
                continue
            scale = MEASURES[name].scale
            low, high = row[f"{name} low"], row[f"{name} high"]
            kept.append(
                {
                    "attack": row["attack"],
                    "defense": row["defense"],
                    "measure": MEASURES[name].label + (" (%)" if MEASURES[name].percent else ""),
                    "at": axis.value(row),
                    "mean": scale * row[name],
                    "low": None if low is None else scale * low,
                    "high": None if high is None else scale * high,
                }
            )
    frame = pl.DataFrame(kept, schema_overrides={"low": pl.Float64, "high": pl.Float64})
    return sweep(frame, path, axis=axis.label)


def draw(id_: str, table: Sequence[Mapping[str, Any]], folders: Mapping[str, Path], out: Path) -> list[Path]:
    """Draw the figure of a target, if it has one, as SVG and PNG.

    Parameters
    ----------
    id_ : str
        Target, such as ``"aaai23-fig3"``.
    table : sequence of mapping
        Rows of its table.
    folders : mapping of str to Path
        Finished run folders by cell label.
    out : Path
        Folder for the files.
    """
    make_folder(out)
    files = [out / f"{id_}.{suffix}" for suffix in ("svg", "png")]
    wanted = target(id_)
    if wanted.sweep is not None:
        axis = wanted.sweep
        return [draw_sweep(table, axis, wanted.metrics, file) for file in files] if table else []
    if id_ == "aaai23-fig2":
        return [draw_figure2(table, file) for file in files]
    if id_ == "aaai23-fig3":
        return [draw_figure3(table, file) for file in files]
    if id_ == "aaai23-fig4":
        present = {("without-cl" in label): path for label, path in folders.items()}
        if set(present) == {True, False}:
            return [draw_figure4(present[False], present[True], file) for file in files]
    return []
