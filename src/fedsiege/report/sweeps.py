"""Curves over one varied setting, in the manner of figures 2 to 5 of the ICML 2024 paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from fedsiege.errors import ConfigError
from fedsiege.report.figures import _SERIES, _errors, _figure, _save, _style

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def sweep(scores: pl.DataFrame, path: Path, *, axis: str) -> Path:
    """Draw measures over one setting, a column of panels for each attack and a curve for each defense.

    Settings stand at equal distances in ascending order, since some of them are ratios. A panel without a value is
    left empty: not every measure exists for every attack and defense.

    Parameters
    ----------
    scores : polars.DataFrame
        ``attack, defense, measure, at, mean`` and optionally ``low, high``.
    path : Path
        Where to write.
    axis : str
        Name of the setting ``at``.
    """
    if scores.is_empty():
        raise ConfigError("a figure of curves needs at least one value")
    attacks, defenses, measures = (list(dict.fromkeys(scores[name])) for name in ("attack", "defense", "measure"))
    places = sorted(set(scores["at"]))
    with _style():
        figure = _figure(1.0 + 2.3 * len(attacks), 0.9 + 1.75 * len(measures))
        panels = figure.subplots(len(measures), len(attacks), squeeze=False, sharex=True)
        for (i, j), axes in np.ndenumerate(panels):
            part = scores.filter(measure=measures[i], attack=attacks[j])
            for k, defense in enumerate(defenses):
                curve = part.filter(defense=defense).sort("at")
                if curve.is_empty():
                    continue
                axes.errorbar(
                    [places.index(at) for at in curve["at"]], curve["mean"].to_numpy(), yerr=_errors(curve),
                    color=_SERIES[1 + k % 7], marker=_MARKERS[k % 8], markersize=4, linewidth=1.2, capsize=2,
                )  # fmt: skip
            if part.is_empty():
                axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes, color="#777777")
            axes.set_xticks(range(len(places)), [f"{at:g}" for at in places])
            axes.set_xlim(-0.3, len(places) - 0.7)
            axes.grid(axis="y", linewidth=0.4, alpha=0.6)
            if i == 0:
                axes.set_title(attacks[j], fontsize=9)
            if i == len(measures) - 1:
                axes.set_xlabel(axis)
            if j == 0:
                axes.set_ylabel(measures[i])
        from matplotlib.lines import Line2D

        figure.legend(
            handles=[
                Line2D([], [], color=_SERIES[1 + k % 7], marker=_MARKERS[k % 8], label=name)
                for k, name in enumerate(defenses)
            ],
            loc="outside upper center", ncols=min(4, len(defenses)), fontsize=8,
        )  # fmt: skip
        return _save(figure, path)
