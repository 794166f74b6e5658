"""Where output goes: results to stdout, progress and notes to stderr, JSON alone when it was asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


WORD = 24
"""Longer words of a table's text may be folded."""


def out() -> Console:
    """Return the console of stdout, for results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def err() -> Console:
    """Return the console of stderr, for progress and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN: a missing number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout and nothing else."""
    print(json.dumps(_finite(value), indent=2, default=str))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """Return a rich table of plain strings; the columns named in `right` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    cells = [list(row) for row in rows]
    for i, column in enumerate(columns):
        whole = max((len(word) for text in (column, *(row[i] for row in cells)) for word in text.split()), default=0)
        least = whole if column in right else min(whole, WORD)
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", min_width=least)
    for row in cells:
        # Text, because a name in square brackets would be taken for markup.
        made.add_row(*(Text(cell) for cell in row))
    return made


def show_table(made: Table) -> None:
    """Print a table on stdout, wider than the terminal rather than with numbers or short words cut in pieces."""
    from rich.measure import Measurement

    console = out()
    wide = console.options.update(max_width=10_000)
    console.width = max(console.width, Measurement.get(console, wide, made).minimum)
    # Columns of a least width may come out wider than was measured, and what lies beyond would be cut off.
    console.print(made, crop=False)


def number(value: Any, digits: int = 4) -> str:
    """Return a number for people: fixed digits, an en dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
