"""``fedsiege list``: what there is to choose from, read from source so that nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fedsiege import registry
from fedsiege.capabilities import lacking
from fedsiege.cli.arguments import option
from fedsiege.cli.console import out, print_json, show_table, table
from fedsiege.errors import ConfigError, nearest

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
    model
        Say of each attack and defense whether it goes with this model, and if not, why.
    json
        Print JSON instead of tables.
    """

    kind: Annotated[Literal["all", "attacks", "defenses", "models", "datasets"], tyro.conf.Positional] = "all"
    model: Annotated[str | None, option("MODEL")] = None
    json: Annotated[bool, option()] = False

    def __call__(self) -> int:
        """Print the tables and return 0."""
        wanted = [k for k in (*PLUGINS, "datasets") if self.kind in ("all", k)]
        if self.model is not None:
            known = registry.entries("models")
            if self.model not in known:
                raise ConfigError(f"unknown model {self.model!r}: {nearest(self.model, known)}")
            wanted = [kind for kind in wanted if kind in ("attacks", "defenses")]
            if not wanted:
                raise ConfigError(f"--model goes with attacks and defenses, not with {self.kind}")
        found = {kind: _datasets() if kind == "datasets" else _plugins(kind, self.model) for kind in wanted}
        if self.json:
            print_json(found)
            return 0
        console = out()
        for kind, rows in found.items():
            if kind == "datasets":
                cells = [[r["name"], r["kind"], r["size"], r["summary"]] for r in rows]
                show_table(table("datasets", ["name", "kind", "size", "what it is"], cells))
            else:
                cells = [[r["name"], r["summary"], _fit(r, self.model), r["reference"] or "–"] for r in rows]
                head = "works on" if kind == "models" else f"with {self.model}" if self.model else "goes with"
                show_table(table(kind, ["name", "what it does", head, "reference"], cells))
                if kind in registry.WRAPPING:
                    console.print(registry.WRAPPING[kind], markup=False)
        return 0


def _plugins(kind: Any, model: str | None) -> list[dict[str, Any]]:
    known = registry.entries("models")
    models = known.values()
    found = []
    for e in registry.entries(kind).values():
        row: dict[str, Any] = {"name": e.name, "summary": e.summary, "reference": e.reference}
        if kind == "models":
            row |= {"provides": list(e.capabilities)}
        else:
            fits = [m.name for m in models if set(e.capabilities) <= set(m.capabilities)]
            row |= {"needs": list(e.capabilities), "models": fits}
            if model is not None:
                row["refused"] = lacking(e.capabilities, known[model].capabilities) or None
        found.append({**row, "module": e.module, "class": e.cls})
    return found


def _fit(row: dict[str, Any], model: str | None) -> str:
    """Say which models a plug-in goes with, why not with `model`, or which data a model works on."""
    if model is not None:
        return f"no: needs {row['refused']}" if row["refused"] else "yes"
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
