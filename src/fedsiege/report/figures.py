"""Figures for print, in the manner of figures 2, 3 and 4 of the AAAI 2023 paper; SVG, PNG or PDF by suffix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fedsiege.errors import ConfigError, RunError
from fedsiege.report.cells import NONE

_SUFFIXES = (".svg", ".png", ".pdf")
_SERIES = ("#5a6570", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c5a44")
_HATCHES = ("", "//", "\\\\", "xx", "..", "--", "++", "oo")
_BENIGN, _MALICIOUS = "#1f5fa8", "#c8283c"
STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "legend.frameon": False, "hatch.linewidth": 0.6, "svg.fonttype": "none", "svg.hashsalt": "fedsiege",
    "axes.axisbelow": True, "pdf.fonttype": 42, "axes.formatter.useoffset": False,
}  # fmt: skip


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> Path:
    """Write a figure; the same numbers give the same file."""
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"figure {path} must end in {', '.join(_SUFFIXES)}")
    stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, metadata=stamp)
    except OSError as error:
        raise RunError(f"cannot write figure {path}: {error.strerror or error}") from error
    return path


def _style() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def _errors(part: pl.DataFrame) -> np.ndarray:
    """Return distances from the mean to the ends of the interval ``(2, n)``, 0 where there is no interval."""
    if not {"low", "high"} <= set(part.columns):
        return np.zeros((2, part.height))
    low, high, mean = (part[name].cast(pl.Float64).to_numpy() for name in ("low", "high", "mean"))
    return np.nan_to_num(np.stack([mean - low, high - mean])).clip(min=0)


def _in_order(values: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    found = sorted(dict.fromkeys(values), key=lambda name: name != NONE)
    return found if wanted is None else [name for name in wanted if name in found]


def figure2(
    scores: pl.DataFrame,
    path: Path,
    *,
    baseline: float | None = None,
    metric: str = "HR@5",
    attacks: Sequence[str] | None = None,
    defenses: Sequence[str] | None = None,
) -> Path:
    """Draw scores by defense, one bar for each attack (figure 2), and return the file.

    Parameters
    ----------
    scores : polars.DataFrame
        ``attack, defense, mean`` and optionally ``low, high``; a metric and moment of `fedsiege.report.cells.cells`.
    path : Path
        Where to write.
    baseline : float, optional
        Height of the dashed line; by default the mean without attack and defense, if `scores` has it.
    metric : str
        Name of the vertical axis.
    attacks, defenses : sequence of str, optional
        Which, and in what order; by default all, ``none`` first.
    """
    rows = _in_order(scores["attack"].to_list(), attacks)
    groups = _in_order(scores["defense"].to_list(), defenses)
    if baseline is None:
        open_ = scores.filter((pl.col("attack") == NONE) & (pl.col("defense") == NONE))
        baseline = None if open_.is_empty() else float(open_["mean"][0])
    with _style():
        figure = _figure(max(4.0, 1.15 * len(groups) + 1.2), 2.9)
        axes = figure.subplots()
        bar = 0.82 / max(len(rows), 1)
        for i, attack in enumerate(rows):
            part = scores.filter((pl.col("attack") == attack) & pl.col("defense").is_in(groups))
            at = np.array([groups.index(d) for d in part["defense"]]) + (i - (len(rows) - 1) / 2) * bar
            axes.bar(
                at, part["mean"].to_numpy(), bar * 0.92, yerr=_errors(part), label=attack, color=_SERIES[i % 8],
                hatch=_HATCHES[i % 8], edgecolor="white", linewidth=0.4, error_kw={"elinewidth": 0.8, "capsize": 1.4},
            )  # fmt: skip
        if baseline is not None:
            axes.axhline(baseline, color="black", linestyle="--", linewidth=1, label="no attack, no defense")
        axes.set_xticks(range(len(groups)), [name.replace("+", "+\n") for name in groups])
        axes.set_ylabel(metric)
        axes.grid(axis="y", linewidth=0.4, alpha=0.6)
        figure.legend(loc="outside upper center", ncols=min(4, len(rows) + 1), fontsize=8)
        return _save(figure, path)


def figure3(scores: pl.DataFrame, path: Path, *, baseline: float | None = None, metric: str = "HR@5") -> Path:
    """Draw scores under ClusterAttack against its initial number of clusters (figure 3), and return the file.

    Parameters
    ----------
    scores : polars.DataFrame
        ``clusters, adaptive, mean`` and optionally ``low, high``; ``adaptive`` is a boolean.
    path : Path
        Where to write.
    baseline : float, optional
        Height of a dashed line, the score without attack.
    metric : str
        Name of the vertical axis.
    """
    looks = {
        True: ("with adaptive clustering", "-", "o", _BENIGN),
        False: ("without", "--", "s", _MALICIOUS),
    }
    with _style():
        figure = _figure(4.2, 2.8)
        axes = figure.subplots()
        clusters = sorted(set(scores["clusters"]))
        for adaptive, (label, line, marker, color) in looks.items():
            part = scores.filter(pl.col("adaptive") == adaptive).sort("clusters")
            if part.is_empty():
                continue
            at = np.array([clusters.index(k) for k in part["clusters"]])
            mean, error = part["mean"].to_numpy(), _errors(part)
            axes.fill_between(at, mean - error[0], mean + error[1], color=color, alpha=0.15, linewidth=0)
            axes.errorbar(
                at, mean, yerr=error, color=color, linestyle=line, marker=marker, markersize=5, capsize=2,
                linewidth=1.4, label=label,
            )  # fmt: skip
        if baseline is not None:
            axes.axhline(baseline, color="black", linestyle="--", linewidth=1, label="no attack")
        axes.set_xticks(range(len(clusters)), list(map(str, clusters)))
        axes.set_xlabel("initial number of clusters K")
        axes.set_ylabel(metric)
        axes.grid(axis="y", linewidth=0.4, alpha=0.6)
        figure.legend(loc="outside upper center", ncols=3, fontsize=8)
        return _save(figure, path)


def _scatter(axes: Any, part: pl.DataFrame) -> None:
    for malicious, color, marker, label in (
        (False, _BENIGN, "o", "benign"),
        (True, _MALICIOUS, "^", "malicious"),
    ):
        kind = part.filter(pl.col("malicious") == malicious)
        axes.scatter(
            kind["x"], kind["y"], s=16 if malicious else 11, marker=marker, color=color, alpha=0.75, linewidths=0,
            label=label,
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])


def _kde(axes: Any, part: pl.DataFrame) -> None:
    """Draw densities of both kinds of scores; equal or fewer than three scores as ticks on the axis."""
    from scipy.stats import gaussian_kde

    part = part.filter(pl.col("score").is_finite())
    if part.is_empty():
        axes.text(0.5, 0.5, "no scores", ha="center", va="center", transform=axes.transAxes, color="#777777")
        return
    every = part["score"].to_numpy()
    margin = 0.15 * (every.max() - every.min()) or max(abs(every[0]), 1e-9) * 0.01
    grid = np.linspace(every.min() - margin, every.max() + margin, 400)
    for malicious, color, line in ((False, _BENIGN, "-"), (True, _MALICIOUS, "--")):
        values = part.filter(pl.col("malicious") == malicious)["score"].to_numpy()
        if values.size >= 3 and values.std() > 1e-9 * max(float(np.abs(values).max()), 1e-300):
            height = gaussian_kde(values)(grid)
            axes.plot(grid, height, color=color, linestyle=line, linewidth=1.4)
            axes.fill_between(grid, height, color=color, alpha=0.15, linewidth=0)
        elif values.size:
            axes.plot(
                values, np.zeros(values.size), "|", color=color, markersize=14, markeredgewidth=1.4,
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", nbins=2)


def figure4(
    points: Mapping[str, pl.DataFrame],
    without: Mapping[str, pl.DataFrame],
    with_task: Mapping[str, pl.DataFrame],
    path: Path,
    *,
    score: str = "uniformity",
) -> Path:
    """Draw uploads and their scores at several times of training (figure 4), and return the file.

    First row: uploads on two principal components. Below: densities of the scores without the contrastive task on
    clients, then with it. Columns are rounds or stretches of rounds.

    Parameters
    ----------
    points : mapping of str to polars.DataFrame
        Title of the column to ``x, y, malicious`` (such as a part of ``Board.points``).
    without, with_task : mapping of str to polars.DataFrame
        Title of the column to ``score, malicious`` (such as a part of ``Board.scores``). Scores of several rounds
        should be centred first (`fedsiege.report.densities.centred`).
    path : Path
        Where to write.
    score : str
        Name of the score.
    """
    rows = (
        ("uploads (PCA)", points, _scatter),
        ("without the task", without, _kde),
        ("with the task", with_task, _kde),
    )
    titles = list(dict.fromkeys([*points, *without, *with_task]))
    if not titles:
        raise ConfigError("figure 4 needs uploads or scores of at least one round")
    with _style():
        figure = _figure(1.2 + 1.75 * len(titles), 5.0)
        grid = figure.subplots(3, len(titles), squeeze=False)
        for i, (name, frames, draw) in enumerate(rows):
            grid[i][0].set_ylabel(name)
            for axes, title in zip(grid[i], titles):
                if title in frames:
                    draw(axes, frames[title])
                else:
                    axes.set_axis_off()
                if i == 0:
                    axes.set_title(title, fontsize=9)
                else:
                    axes.set_xlabel(score, fontsize=8)
        from matplotlib.lines import Line2D

        figure.legend(
            handles=[
                Line2D([], [], color=_BENIGN, marker="o", linestyle="-", label="benign"),
                Line2D([], [], color=_MALICIOUS, marker="^", linestyle="--", label="malicious"),
            ],
            loc="outside upper center", ncols=2,
        )  # fmt: skip
        return _save(figure, path)
