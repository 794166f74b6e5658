"""What a grid is made of: a card, who plays it, and under which seeds; and the cells that follow from that."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fedsiege.arena.card import Card, Spec, check_entrants, flat
from fedsiege.arena.card_file import load
from fedsiege.arena.card_ref import kept_name
from fedsiege.arena.config import RunConfig
from fedsiege.arena.flags import NOISE, NONE, inner_of
from fedsiege.arena.grid import Cell
from fedsiege.arena.names import label, slug
from fedsiege.errors import ConfigError, nearest
from fedsiege.files import load_yaml, read_yaml

FIELDS = ("card", "attacks", "defenses", "seeds", "degrees", "override", "plugins", "noise")


@dataclass(frozen=True)
class Plan:
    """A grid: every attack against every defense with every seed, at every degree.

    Parameters
    ----------
    card : Card
        The game.
    attacks, defenses : tuple
        Names, or mappings with ``name`` and hyper-parameters; default: the card's entrants. A name stands for all of
        the card's entrants of that name, with the hyper-parameters that they have there; a mapping means what it says,
        so ``{"name": "krum"}`` is Krum with its defaults.
    seeds : tuple of int
        Default: the card's.
    degrees : tuple of str
        Default: all of the card's.
    override : mapping
        Sections that differ from the card's: all runs are then in the open division.
    plugins : tuple of str
        Python files with attacks or defenses of one's own.
    noise : bool
        Whether each attack's control is played against FedAvg too: ``noise(ATTACK)``, noise of the same norm. A board
        then compares every attack with its own control.
    source : str
        How to name the card in a command; default: by its id.
    """

    card: Card
    attacks: tuple[Spec, ...] = ()
    defenses: tuple[Spec, ...] = ()
    seeds: tuple[int, ...] = ()
    degrees: tuple[str, ...] = ()
    override: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    noise: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse entrants without a name (ConfigError)."""
        check_entrants(self.attacks, "attack")
        check_entrants(self.defenses, "defense")

    def cells(self, root: Path) -> list[Cell]:
        """Return the cells of the grid, with run folders under `root`; those of one seed follow each other.

        Raises
        ------
        ConfigError
            For anything that is wrong with any of them, so that nothing is started then.
        """
        card = self.card
        found: dict[Path, Cell] = {}
        degrees = tuple(dict.fromkeys(map(card.degree, self.degrees or tuple(card.degrees))))
        attacks, defenses = named(self.attacks, card.attacks), named(self.defenses, card.defenses)
        pairs = list(product(attacks, defenses))
        pairs += [(wrapped, NONE) for attack in attacks if (wrapped := control(attack))] if self.noise else []
        for seed, degree, (attack, defense) in product(self.seeds or card.seeds, degrees, pairs):
            config = card.play(attack, defense, seed, degree, self.override, self.plugins)
            values = config.to_dict()
            names = label("attacks", values["attack"]), label("defenses", values["defense"])
            place = Path(degree or "all", *map(slug, names), f"seed{seed}-{config.hash}")
            path = root / card.folder / place
            title = "/".join([*([degree] if degree else []), *names, f"seed{seed}"])
            found.setdefault(path, Cell(config, path, title, self._command(config, attack, defense, root)))
        return list(found.values())

    def words(self, changed: bool = True, card: str = "") -> list[str]:
        """Return the words of a command that name the card, the plug-ins and, with `changed`, what differs.

        `card` is how to name the card otherwise than by `source`.
        """
        words = ["fedsiege", "arena", "--card", card or self.source or self.card.id]
        words += ["--plugins", *self.plugins] if self.plugins else []
        if changed and self.override:
            words += ["--set", *(f"{key}={json.dumps(value)}" for key, value in flat(self.override).items())]
        return words

    def _command(self, config: RunConfig, attack: Spec, defense: Spec, root: Path) -> str:
        attack, defense = exact(attack, self.card.attacks), exact(defense, self.card.defenses)
        # A card file may be edited; the one that is kept beside the runs is of this game for good.
        kept = (
            str((root / self.card.folder / kept_name(self.card.hash)).resolve())
            if self.source.endswith((".yaml", ".yml"))
            else ""
        )
        words = [*self.words(card=kept), "--attacks", attack, "--defenses", defense, "--seeds", str(config.seed)]
        words += ["--degrees", config.card.degree] if config.card and config.card.degree else []
        return shlex.join([*words, "--out", "again"])


def named(asked: Sequence[Spec], entrants: Sequence[Spec]) -> tuple[Spec, ...]:
    """Return what is meant by entrants that are asked for: see `Plan`; all of the card's if none are."""
    if not asked:
        return tuple(entrants)
    found: list[Spec] = []
    for spec in asked:
        mine = [e for e in entrants if spec == (e if isinstance(e, str) else e["name"])]
        found += mine or [spec]
    return tuple(found)


def control(attack: Spec) -> Spec | None:
    """Return the control of an attack, ``noise(ATTACK)``; None of what is no attack, or noise already."""
    name = attack if isinstance(attack, str) else str(attack["name"])
    if name in (NONE, NOISE) or inner_of(name) is not None:
        return None
    settings = {} if isinstance(attack, str) else {key: value for key, value in attack.items() if key != "name"}
    return {"name": f"noise({name})", name: settings} if settings else f"noise({name})"


def text(spec: Spec) -> str:
    """Return an entrant as it is written on a command line: its name, or a YAML mapping in one line."""
    if isinstance(spec, str):
        return spec
    return yaml.safe_dump(_plain(spec), default_flow_style=True, sort_keys=False, width=10**6).strip()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def exact(spec: Spec, entrants: Sequence[Spec]) -> str:
    """Return an entrant as a command line names it alone, where its bare name means others of a card's too."""
    if isinstance(spec, str) and any(not isinstance(other, str) and other["name"] == spec for other in entrants):
        return text({"name": spec})
    return text(spec)


def read(path: Path) -> Plan:
    """Return the grid that a YAML file describes; ConfigError names file and cause."""
    values = read_yaml(path, "grid")
    try:
        return parse(values, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(values: Any, folder: Path | None = None) -> Plan:
    """Return the grid of a mapping with ``card`` and, where they are not the card's, the other fields of `Plan`.

    Parameters
    ----------
    values : mapping
        As read from YAML. ``card`` is a name, or a file that ends in ``.yaml``.
    folder : Path, optional
        Folder to which relative paths refer: of the card, of plug-ins, and of a data set in ``override``.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("card"), str):
        raise ConfigError("a grid is a mapping with a `card`, such as `card: rec-untargeted-v1-lite`")
    for name in values:
        if name not in FIELDS:
            raise ConfigError(f"a grid has no field {name!r}: {nearest(str(name), FIELDS)}")
    for name in ("attacks", "defenses", "seeds", "degrees", "plugins"):
        if not isinstance(values.get(name) or [], list | tuple):
            raise ConfigError(f"`{name}` of a grid must be a list")
    seeds = tuple(values.get("seeds") or ())
    if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
        raise ConfigError(f"`seeds` of a grid must be integers, got {list(seeds)}")
    override = values.get("override") or {}
    if not isinstance(override, Mapping):
        raise ConfigError("`override` of a grid must be a mapping of sections, such as `federation: {rounds: 100}`")
    base = folder or Path()
    ref = values["card"]
    if ref.endswith((".yaml", ".yml")):
        ref = str((base / ref).resolve())
    return Plan(
        load(ref),
        tuple(values.get("attacks") or ()),
        tuple(values.get("defenses") or ()),
        seeds,
        tuple(map(str, values.get("degrees") or ())),
        located(override, base),
        tuple(str((base / file).resolve()) for file in values.get("plugins") or ()),
        _flag(values, "noise"),
        ref,
    )


def located(override: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return an override whose path of a data set, if it has one, refers to `folder`, and so holds wherever it is."""
    dataset = override.get("dataset")
    if not isinstance(dataset, Mapping) or not isinstance(dataset.get("path"), str):
        return dict(override)
    return {**override, "dataset": {**dataset, "path": str((folder / dataset["path"]).resolve())}}


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"`{name}` of a grid must be true or false, got {value!r}")
    return value


def entrants(words: Sequence[str], what: str) -> tuple[Spec, ...]:
    """Return the entrants that words of a command line name: plain names, or YAML mappings such as ``{name: lie}``."""
    found: list[Spec] = []
    for word in words:
        try:
            spec = load_yaml(word)
        except yaml.YAMLError as error:
            raise ConfigError(f"--{what} {word!r} is not valid YAML: {' '.join(str(error).split())}") from error
        found.append(spec if isinstance(spec, Mapping) else word)
    return tuple(found)
