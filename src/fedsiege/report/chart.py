"""What a chart of the page is made of: a specification without data, a compact table, and menus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

ROWS = alt.NamedData("rows")


@dataclass(frozen=True)
class Choice:
    """A menu: the column that it filters, its label, and what is chosen at first (else the first value)."""

    column: str
    label: str
    default: str | None = None


@dataclass(frozen=True)
class Chart:
    """One chart of the page.

    Parameters
    ----------
    key : str
        Name of its place in the page.
    spec : dict
        Vega-Lite specification without data.
    rows : polars.DataFrame
        All rows, for all menus.
    choices : tuple of Choice
        Menus, each narrowing those after it.
    series : str
        Column that colour and shape follow, if any.
    order : tuple of str
        All values of `series`, so that each keeps its colour and shape whatever is shown.
    panel : str
        Column with one value for each panel, if the chart has panels.
    facet : int
        Least width of a panel in pixels if the chart has panels, else 0.
    margin : int
        Pixels that axes take beside the panels.
    steps : bool
        Whether its width follows its columns, so that a narrow screen scrolls it.
    digits : int
        Significant digits of its numbers.
    note : str
        What a reader must know of these rows, beside the section's text.
    """

    key: str
    spec: dict[str, Any]
    rows: pl.DataFrame
    choices: tuple[Choice, ...]
    series: str = ""
    order: tuple[str, ...] = ()
    panel: str = ""
    facet: int = 0
    margin: int = 0
    steps: bool = False
    digits: int = 6
    note: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the chart as compact JSON values."""
        return {
            "spec": self.spec,
            "table": compact(self.rows, self.digits),
            "choices": [[c.column, c.label, c.default] for c in self.choices],
            "series": self.series,
            "order": self.order,
            "panel": self.panel,
            "facet": self.facet,
            "margin": self.margin,
            "steps": self.steps,
        }


def number(value: float | None, digits: int = 6) -> float | int | None:
    """Return a number with so many significant digits, None where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short


def _runs(values: list[Any]) -> list[Any] | dict[str, list[Any]]:
    """Return a column as it is, or as values and how often each repeats where that is shorter."""
    pairs: list[Any] = []
    for value in values:
        if pairs and pairs[-2] == value:
            pairs[-1] += 1
        else:
            pairs += [value, 1]
    return {"runs": pairs} if len(pairs) < len(values) else values


def compact(frame: pl.DataFrame, digits: int = 6) -> dict[str, Any]:
    """Return a frame by columns: repeats counted, text as places in a list of its different values."""
    table: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == pl.String:
            known = column.unique(maintain_order=True).to_list()
            place = {value: i for i, value in enumerate(known)}
            table[name] = {"words": known, "at": _runs([place[value] for value in column])}
        else:
            table[name] = _runs([number(value, digits) for value in column])
    return table


def thin(frame: pl.DataFrame, most: int, line: Sequence[str], keep: pl.Expr | None = None) -> tuple[pl.DataFrame, int]:
    """Return about `most` rows of a frame, and the k of which it is one in k.

    Every k-th row of each line, counted from its last, so that no cell is lost; and all that `keep` wants.

    Parameters
    ----------
    frame : polars.DataFrame
        What may be too much for a page.
    most : int
        Rows that a page can hold.
    line : sequence of str
        Columns that tell lines apart.
    keep : polars.Expr, optional
        Rows that stay, bool.
    """
    always = pl.lit(False) if keep is None else keep
    kept = int(frame.select(always.sum()).item() or 0) if keep is not None else 0
    stride = -(-(frame.height - kept) // max(most - kept, 1))
    if frame.height <= most or stride <= 1:
        return frame, 1
    return frame.filter(always | (pl.int_range(pl.len()).reverse().over(*line, always) % stride == 0)), stride


def bare(chart: Any) -> dict[str, Any]:
    """Return the specification of an Altair chart without what the page fills in."""
    spec = chart.to_dict()
    # Both are addresses of the web or filled in by the page; the page opens offline.
    for name in ("$schema", "config", "datasets"):
        spec.pop(name, None)
    return spec
