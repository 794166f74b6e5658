"""``fedsiege list``: what there is to choose from, read from source so that nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from fedsiege import registry
from fedsiege.cli.arguments import option
from fedsiege.cli.console import out, print_json, table

PLUGINS: tuple[registry.Kind, ...] = ("attacks", "defenses", "models")


@dataclass(frozen=True)
class List:
    """Show attacks, defenses, models and data sets, each with its summary and its paper.

    The names are those that a configuration uses. Filters and rules compose with a plus sign, such as
    union+multikrum. Installed packages with entry points in the groups fedsiege.attacks, fedsiege.defenses and
    fedsiege.models are listed too.

    Parameters
    ----------
    kind
        What to list.
    json
        Print JSON instead of tables.
    """

    kind: Annotated[Literal["all", "attacks", "defenses", "models", "datasets"], tyro.conf.Positional] = "all"
    json: Annotated[bool, option()] = False

    def __call__(self) -> int:
        """Print the tables and return 0."""
        wanted = [k for k in (*PLUGINS, "datasets") if self.kind in ("all", k)]
        found = {kind: _datasets() if kind == "datasets" else _plugins(kind) for kind in wanted}
        if self.json:
            print_json(found)
            return 0
        console = out()
        for kind, rows in found.items():
            if kind == "datasets":
                columns = ["name", "users", "items", "interactions", "what it is"]
                cells = [[r["name"], *(f"{r[c]:,}" for c in columns[1:4]), r["summary"]] for r in rows]
                console.print(table("datasets", columns, cells, right=columns[1:4]))
            else:
                cells = [[r["name"], r["summary"], r["reference"] or "–"] for r in rows]
                console.print(table(kind, ["name", "what it does", "reference"], cells))
        return 0


def _plugins(kind: Any) -> list[dict[str, Any]]:
    return [
        {"name": e.name, "summary": e.summary, "reference": e.reference, "module": e.module, "class": e.cls}
        for e in registry.entries(kind).values()
    ]


def _datasets() -> list[dict[str, Any]]:
    from fedsiege.data.cards import CARDS

    fields = ("name", "summary", "paper", "users", "items", "interactions", "license")
    return [
        {
            **{name: getattr(card, name) for name in fields},
            "url": card.remote.url if card.remote else None,
        }
        for card in CARDS.values()
    ]
