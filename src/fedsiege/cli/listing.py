"""``fedsiege list``: what there is to choose from, read from source so that nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fedsiege import registry
from fedsiege.cli.arguments import option
from fedsiege.cli.console import out, print_json, show_table, table

if TYPE_CHECKING:
    from fedsiege.data.cards import DatasetCard

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
                cells = [[r["name"], r["kind"], r["size"], r["summary"]] for r in rows]
                show_table(table("datasets", ["name", "kind", "size", "what it is"], cells))
            else:
                cells = [[r["name"], r["summary"], _fit(r), r["reference"] or "–"] for r in rows]
                head = "works on" if kind == "models" else "goes with"
                show_table(table(kind, ["name", "what it does", head, "reference"], cells))
                if kind in registry.WRAPPERS:
                    console.print(registry.WRAPPERS[kind], markup=False)
        return 0


def _plugins(kind: Any) -> list[dict[str, Any]]:
    models = registry.entries("models").values()
    found = []
    for e in registry.entries(kind).values():
        row: dict[str, Any] = {"name": e.name, "summary": e.summary, "reference": e.reference}
        if kind == "models":
            row |= {"provides": list(e.capabilities)}
        else:
            fits = [m.name for m in models if set(e.capabilities) <= set(m.capabilities)]
            row |= {"needs": list(e.capabilities), "models": fits}
        found.append({**row, "module": e.module, "class": e.cls})
    return found


def _fit(row: dict[str, Any]) -> str:
    """Say which models a plug-in goes with, or which data a model works on."""
    if "provides" in row:
        return "interactions" if "pairs" in row["provides"] else "images" if "labels" in row["provides"] else "–"
    if not row["needs"]:
        return "every model"
    return ", ".join(row["models"]) or "none here"


def _datasets() -> list[dict[str, Any]]:
    from fedsiege.data.cards import CARDS

    fields = ("name", "kind", "summary", "paper", "size", "license")
    counts = {"interactions": ("users", "items", "interactions"), "images": ()}
    return [
        {
            **{name: getattr(card, name) for name in (*fields, *counts[card.kind])},
            **_pictures(card),
            "url": card.remote.url if card.remote else None,
        }
        for card in CARDS.values()
    ]


def _pictures(card: DatasetCard) -> dict[str, Any]:
    known = card.pictures
    if known is None:
        return {}
    return {"train": known.train, "test": known.test, "shape": known.shape, "classes": known.classes}
