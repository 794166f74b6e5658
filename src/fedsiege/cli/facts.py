"""The figures of a data set in a terminal."""

from __future__ import annotations

from typing import Any

from fedsiege.cli.console import number, show_table, table


def print_facts(found: dict[str, Any]) -> None:
    """Print the figures of a data set as a table of two columns."""
    rows = [[key, _shown(key, value)] for key, value in found.items() if key != "name"]
    show_table(table("", ["", str(found["name"])], rows))


def _shown(key: str, value: Any) -> str:
    if key in ("density", "top1_share"):
        return f"{100 * value:.2f} %"
    if isinstance(value, list | tuple):
        return ", ".join(_shown("", inner) for inner in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return number(value, 1 if key else 4) if isinstance(value, float) else str(value)
