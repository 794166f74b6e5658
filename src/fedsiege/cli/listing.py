"""``fedsiege list``: what there is to choose from, read from source so that nothing heavy is imported.

Only ``--defense`` imports plug-ins: what an attack may see and a composition refuses, their classes say.
"""

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
    fedsiege.models are listed too, with the reason where one cannot be loaded.

    Parameters
    ----------
    kind
        What to list.
    model
        Say of each attack and defense whether it goes with this model, and if not, why.
    defense
        Say of each attack whether it makes sense against this defense, such as union+multikrum, and if not, why.
        With --model on that model alone.
    json
        Print JSON instead of tables.
    """

    kind: Annotated[Literal["all", "attacks", "defenses", "models", "datasets"], tyro.conf.Positional] = "all"
    model: Annotated[str | None, option("MODEL")] = None
    defense: Annotated[str | None, option("DEFENSE")] = None
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
        if self.defense is not None:
            return self._against(self.defense)
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
                fit = "works on" if kind == "models" else f"with {self.model}" if self.model else "goes with"
                roles = kind == "defenses"
                heads = ["name", *(["filter / rule"] if roles else []), "what it does", fit, "reference"]
                cells = [
                    [
                        r["name"],
                        *([r["role"] or "–"] if roles else []),
                        r["summary"],
                        _fit(r, self.model),
                        r["reference"] or "–",
                    ]
                    for r in rows
                ]
                show_table(table(kind, heads, cells))
                if kind in registry.WRAPPING:
                    console.print(registry.WRAPPING[kind], markup=False)
        return 0

    def _against(self, name: str) -> int:
        """Print which attacks make sense against a defense and return 0; ConfigError says what is wrong with it."""
        if self.kind not in ("all", "attacks"):
            raise ConfigError(f"--defense goes with attacks, not with {self.kind}")
        from fedsiege.arena.config import plugin

        rows = _pairs(plugin("defenses", name), self.model)
        if self.json:
            print_json({"attacks": rows})
            return 0
        cells = [[r["name"], r["verdict"], ", ".join(r["models"]) or "–", r["reason"] or ""] for r in rows]
        show_table(table(f"attacks against {name}", ["name", "makes sense", "on models", "why"], cells))
        return 0


def _plugins(kind: Any, model: str | None) -> list[dict[str, Any]]:
    known = registry.entries("models")
    models = known.values()
    found = []
    for e in (*registry.entries(kind).values(), *registry.unloadable(kind)):
        row: dict[str, Any] = {"name": e.name, "summary": e.summary, "reference": e.reference}
        row |= {"summary": f"cannot be loaded: {e.error}", "error": e.error} if e.error else {}
        if kind == "models":
            row |= {"provides": list(e.capabilities)}
        else:
            fits = [m.name for m in models if set(e.capabilities) <= set(m.capabilities) and not e.error]
            row |= {"needs": list(e.capabilities), "models": fits}
            row |= {"role": e.role or None} if kind == "defenses" else {}
            if model is not None:
                row["refused"] = lacking(e.capabilities, known[model].capabilities) or None
        found.append({**row, "module": e.module, "class": e.cls})
    return found


def _pairs(defense: Any, model: str | None) -> list[dict[str, Any]]:
    """One row an attack: whether it makes sense against a defense, where both can be played, and why not."""
    from fedsiege.arena.pairs import doubt
    from fedsiege.defenses.base import never_rejects

    models = [m for m in registry.entries("models").values() if model in (None, m.name)]
    found: list[dict[str, Any]] = []
    for e in registry.entries("attacks").values():
        needs = {*e.capabilities, *defense.needs}
        fits = [m.name for m in models if needs <= set(m.capabilities)]
        try:
            attack = registry.load("attacks", e.name)
        except ConfigError as error:
            found.append({"name": e.name, "verdict": "no", "models": [], "reason": str(error)})
            continue
        reason = doubt(attack, defense)
        verdict = "doubtful" if reason else "yes"
        if not fits:
            verdict = "no"
            if model:
                reason = f"model {model!r} does not offer {lacking(needs, models[0].capabilities)}"
            else:
                reason = f"no model offers {lacking(needs, ())} together"
        elif e.name == "none":
            reason = "nobody attacks: what the defense costs"
        found.append({"name": e.name, "verdict": verdict, "models": fits, "reason": reason})
    fixed = "; with benign: false it is a fixed scaling, as nothing is rejected" if never_rejects(defense) else ""
    for name, more in (("adaptive(ATTACK)", fixed), ("noise(ATTACK)", ", as its control")):
        found.append({"name": name, "verdict": "as ATTACK", "models": [], "reason": f"where ATTACK does{more}"})
    return found


def _fit(row: dict[str, Any], model: str | None) -> str:
    """Say which models a plug-in goes with, why not with `model`, or which data a model works on."""
    if "error" in row:
        return "–"
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
