"""Boards as tables for the terminal; they fit a width of 80 by going on below."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from fedsiege.errors import ConfigError, nearest
from fedsiege.report import words
from fedsiege.report.cells import NONE, cells, detection, judgements, orders
from fedsiege.report.collect import MOMENTS, Board
from fedsiege.report.contest import contest

_NAME = 32


@dataclass(frozen=True)
class Blocks:
    """A wide table that is cut into as many narrow ones as the terminal needs.

    Parameters
    ----------
    title : str
        Heading, over the first part.
    corner : str
        What the rows are.
    columns : list of str
        Headings of the columns that may be cut.
    rows : list of (str, list of Text)
        Name and cells of each row.
    width : int
        Of a column.
    """

    title: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[Text]]]
    width: int = 12

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts."""
        name = min(_NAME, max((len(row[0]) for row in self.rows), default=0))
        name = max(name, len(self.corner))
        each = max(1, (options.max_width - name - 3) // (self.width + 3))
        for start in range(0, len(self.columns), each):
            part = slice(start, start + each)
            yield self._part(part, name, Text(self.title) if start == 0 else None)

    def _part(self, part: slice, name: int, title: Text | None) -> Table:
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
        # Names of runs are data: as Text, brackets in them are no markup.
        table.add_column(Text(self.corner), max_width=name, overflow="fold")
        for column in self.columns[part]:
            table.add_column(
                Text(column.replace("+", "+\n"), overflow="fold"),
                justify="right",
                min_width=self.width,
                max_width=self.width,
            )
        for label, values in self.rows:
            table.add_row(Text(label, overflow="fold"), *values[part])
        return table


def _colour(loss: float | None) -> str:
    if loss is None or math.isnan(loss):
        return "dim"
    return "bold red" if loss > 0.2 else "red" if loss > 0.05 else "green" if loss < -0.05 else ""


def _cell(cell: dict[str, Any] | None) -> Text:
    if cell is None or not cell["n"]:
        return Text("–", style="dim")
    # Without the zero and the blanks one column more fits.
    spread = words.half_width(cell["low"], cell["high"]).replace("± 0.", "±.").replace("± ", "±")
    text = Text(words.score(cell["mean"]) + spread)
    baseline = cell["attack"] == cell["defense"] == NONE
    below = "baseline" if baseline else words.change(cell["loss"]) or "no baseline"
    return text.append("\n").append(below, style="dim" if baseline else _colour(cell["loss"]))


@dataclass(frozen=True)
class Stack:
    """Renderables one below the other."""

    parts: tuple[Any, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts."""
        yield from self.parts


def _grids(board: Board, metric: str, moment: str) -> Iterator[Any]:
    board = contest(board)
    attacks, defenses = orders(board)
    frame = cells(board).filter((pl.col("metric") == metric) & (pl.col("moment") == moment))
    for group in board.groups:
        mine = frame.filter(pl.col("group") == group)
        if mine.is_empty():
            continue
        found = {(c["attack"], c["defense"]): c for c in mine.iter_rows(named=True)}
        rows = [a for a in attacks if any(a == key[0] for key in found)]
        columns = [d for d in defenses if any(d == key[1] for key in found)]
        yield Blocks(
            f"{metric} (test, {moment} round) · {group}",
            "attack",
            columns,
            [(a, [_cell(found.get((a, d))) for d in columns]) for a in rows],
        )
    yield Text(
        "mean ± half of the 95% interval over seeds; below it the change against no attack, no defense",
        style="dim",
    )
    if board.warnings:
        yield Text(f"{len(board.warnings)} thing(s) could not be read, first: {board.warnings[0]}", style="yellow")


def grid_table(board: Board, metric: str = "HR@5", moment: str = "last") -> Stack:
    """Return attacks by defenses as a rich renderable, one table for each group of comparable runs.

    Parameters
    ----------
    board : Board
        What to show.
    metric : str
        One of ``board.metrics``.
    moment : {"last", "best"}
        The last round, or the best on validation.

    Raises
    ------
    ConfigError
        For a metric or moment that no run has.
    """
    if board.runs.is_empty():
        return Stack((Text(f"no finished run under {board.root}", style="yellow"),))
    if metric not in board.metrics:
        raise ConfigError(f"no run has the metric {metric!r}: {nearest(metric, board.metrics)}")
    if moment not in MOMENTS:
        raise ConfigError(f"no moment {moment!r}: {nearest(moment, MOMENTS)}")
    return Stack(tuple(_grids(board, metric, moment)))


def detection_table(board: Board) -> Stack:
    """Return detection rates of the defenses that reject, one table for each group; empty if none does."""
    frame = detection(board)
    parts: list[Any] = []
    for group in board.groups:
        rows = []
        mine, columns = frame.filter(pl.col("group") == group), judgements(frame, group)
        for (defense, attack), part in mine.partition_by(
            "defense", "attack", as_dict=True, maintain_order=True
        ).items():
            found = {c["metric"]: c["mean"] for c in part.iter_rows(named=True)}
            values = [
                Text(f"{found[m]:.2f}" if m == "AAR" else f"{found[m]:.4f}") if m in found else Text("–")
                for m in columns
            ]
            rows.append((f"{defense} / {attack}", values))
        if rows:
            parts.append(
                Blocks(f"Detection · {group}", "defense / attack", columns, sorted(rows, key=lambda r: r[0]), 8)
            )
    return Stack(tuple(parts))
