"""A picture of a partition: one bar per client, coloured by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedsiege.errors import ConfigError, DataError

_SUFFIXES = (".png", ".svg", ".pdf")
_COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac",
)  # fmt: skip
_BAR, _NAME, _TALLEST = 0.11, 0.2, 60.0
"""Inches: height of a client's bar (100 of them fill a page) and of a name in the legend; the tallest picture."""


def check_suffix(path: Path) -> None:
    """Raise `ConfigError` unless the file's name ends as a picture's."""
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"picture {path} must end in {', '.join(_SUFFIXES)}")


def draw_partition(counts: np.ndarray, classes: Sequence[str], path: Path, *, title: str = "") -> Path:
    """Draw who holds how many samples of which class, write the picture and return its file.

    Parameters
    ----------
    counts : integer array, shape (clients, classes)
        Number of samples.
    classes : sequence of str
        Names for the legend.
    path : Path
        Ends in ``.png``, ``.svg`` or ``.pdf``; its folder is made if need be.
    title : str
        Written above the bars.

    Raises
    ------
    ConfigError
        If the name ends in something else.
    DataError
        If the file cannot be written.
    """
    check_suffix(path)
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    clients = len(counts)
    colours = _COLOURS if len(classes) <= len(_COLOURS) else colormaps["turbo"](np.linspace(0, 1, len(classes)))
    height = min(1.3 + _BAR * max(clients, 10), _TALLEST)
    beside = 1 + int(_NAME * len(classes) / height)  # Columns of the legend, so that it is no taller than the bars.
    figure = Figure(figsize=(6.0 + 1.2 * beside, height), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(clients)
    for label, name in enumerate(classes):
        axes.barh(
            np.arange(clients),
            counts[:, label],
            left=left,
            height=0.9,
            color=colours[label],
            label=name,
            edgecolor="white",
            linewidth=0.3 if clients <= 200 else 0.0,  # Parts the bars only where there is room for it.
        )
        left += counts[:, label]
    axes.set_ylim(clients - 0.4, -0.6)  # Client 0 on top, as in the table.
    axes.set_xlim(0, max(1, left.max()))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=max(2, min(clients, 25)), integer=True))
    axes.tick_params(labelsize=7)
    axes.set_xlabel("samples", fontsize=8)
    axes.set_ylabel("client", fontsize=8)
    axes.set_title(title, fontsize=8, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=beside)
    stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata=stamp)
    except OSError as error:
        raise DataError(f"cannot write picture {path}: {error.strerror or error}") from error
    return path
