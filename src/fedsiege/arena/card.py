"""Threat-model cards: a small versioned YAML that fixes a game, so that scores of it can be compared.

A card says everything but who plays: data set, model, federation, server, how many are malicious, what attackers may
see, what the defense is told, which score counts, which seeds. Its hash covers all of that. A card whose game changes
is a new card with a new version in its id; its words, bands and default entrants may change at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fedsiege.arena.card_ref import CardRef
from fedsiege.errors import ConfigError

if TYPE_CHECKING:
    from fedsiege.arena.config import RunConfig

GAME = ("dataset", "model", "federation", "server")
"""Sections of a run that a card fixes."""

IDLE = ("federation.project_every",)
"""Settings of those sections that decide only what is drawn."""

Spec = str | Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """A game that attacks and defenses play.

    Parameters
    ----------
    id : str
        Name with its version, such as ``"rec-untargeted-v1"``.
    title, about : str
        The game in a few words, and what to know before its scores are read.
    dataset, model, federation, server : mapping
        Sections as in the configuration of a run; a bare name stands for a data set or a model.
    degrees : mapping of str to mapping
        Non-IID degrees: what each changes in those sections. ``{"": {}}`` if there is one only.
    knowledge, adaptive : str
        The most that attacks, and attacks whose name starts with "adaptive", may see, such as
        ``"coalition + model"``.
    told : bool
        Whether the defense is told how many attackers to expect.
    metric : str
        The test score that counts, of the last round.
    higher_is_better : bool
        Whether a defender wants it high; false for the success of a targeted attack.
    seeds : tuple of int
        The seeds that make a full entry.
    tuning : str
        How much an entrant may be tuned, and on what.
    bands : mapping of str to (float, float)
        By degree, between which values the clean run without a defense lies; may be empty.
    attacks, defenses : tuple
        Default entrants: names, or mappings with ``name`` and hyper-parameters.
    """

    id: str
    title: str
    about: str
    dataset: Mapping[str, Any]
    model: Mapping[str, Any]
    federation: Mapping[str, Any]
    server: Mapping[str, Any] = field(default_factory=dict)
    degrees: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    knowledge: str = "coalition + model"
    adaptive: str = "benign + coalition + model + oracle"
    told: bool = False
    metric: str = "HR@5"
    higher_is_better: bool = True
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    tuning: str = ""
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    attacks: tuple[Spec, ...] = ("none",)
    defenses: tuple[Spec, ...] = ("none",)

    def __post_init__(self) -> None:
        """Refuse entrants without a name (ConfigError)."""
        check_entrants(self.attacks, "attack")
        check_entrants(self.defenses, "defense")

    @property
    def folder(self) -> str:
        """Name of the card's folder in a store."""
        return f"{self.id}-{self.hash[:6]}"

    def values(self, degree: str = "") -> dict[str, Any]:
        """Return the sections of the game at a degree; ConfigError for an unknown one."""
        chosen = self.degree(degree)
        sections = merged({name: getattr(self, name) for name in GAME}, self.degrees[chosen])
        sections["federation"]["tell_defense"] = self.told
        return sections

    def degree(self, name: str) -> str:
        """Return the name of a degree of this card; without a name the only one, or the first."""
        if name in self.degrees:
            return name
        if not name:
            return next(iter(self.degrees))
        from fedsiege.errors import nearest

        raise ConfigError(f"card {self.id} has no degree {name!r}: {nearest(name, [d for d in self.degrees if d])}")

    def config(
        self, attack: Spec, defense: Spec, seed: int, degree: str = "", plugins: tuple[str, ...] = ()
    ) -> RunConfig:
        """Return the configuration of an entry in the closed division.

        Parameters
        ----------
        attack, defense : str or mapping
            Names, or mappings with ``name`` and hyper-parameters.
        seed : int
            One of `seeds`.
        degree : str
            One of `degrees`; default: the first.
        plugins : tuple of str
            Files with attacks or defenses of one's own.

        Raises
        ------
        ConfigError
            For unknown names, a seed that is not the card's, or an attack that sees more than the card allows.
        """
        config = self.play(attack, defense, seed, degree, plugins=plugins)
        if config.card and config.card.changes:
            what = " and ".join(config.card.changes)
            raise ConfigError(f"card {self.id}: {what} is not as the card says; that belongs in the open division")
        return config

    def play(
        self,
        attack: Spec,
        defense: Spec,
        seed: int,
        degree: str = "",
        changed: Mapping[str, Any] | None = None,
        plugins: tuple[str, ...] = (),
    ) -> RunConfig:
        """Return the configuration of an entry in either division, with its reference to this card.

        The entry is in the open division if `changed` (sections that override the card's), the seed or the attack's
        knowledge differ from what the card says.
        """
        from fedsiege.arena.config import parse

        degree = self.degree(degree)
        values = merged(self.values(degree), changed or {})
        entry: dict[str, Any] = {"attack": attack, "defense": defense, "seed": seed}
        if plugins:
            entry["plugins"] = list(plugins)
        config = parse({**values, **entry})
        config = replace(config, card=CardRef(self.id, self.hash, degree))
        changes = self.changes(config)
        division = "open" if changes else "closed"
        return replace(config, card=CardRef(self.id, self.hash, degree, division, changes))

    def changes(self, config: RunConfig) -> tuple[str, ...]:
        """Return what of a configuration is not as the card says, as dotted names in order.

        Besides settings these are ``"seed"``, for one that is not the card's, and ``"knowledge"``, for an attack that
        sees more than the card allows.
        """
        from fedsiege.arena.config import parse
        from fedsiege.arena.flags import inner_of
        from fedsiege.attacks.base import Knowledge

        degree = config.card.degree if config.card else ""
        mine = flat(_game(parse(self.values(degree))))
        theirs = flat(_game(config))
        # As text: a cohort of 1 is one client, and 1.0 is everybody.
        mine, theirs = ({k: json.dumps(v, sort_keys=True) for k, v in game.items()} for game in (mine, theirs))
        found = [k for k in {**mine, **theirs} if k not in IDLE and mine.get(k, "null") != theirs.get(k, "null")]
        if config.seed not in self.seeds:
            found.append("seed")
        name = inner_of(config.attack.name) or config.attack.name
        limit = self.adaptive if name.startswith("adaptive") else self.knowledge
        if Knowledge(config.attack.knowledge) not in knowledge(limit):
            found.append("knowledge")
        return tuple(found)

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that identify the game; words, bands and entrants do not enter."""
        from fedsiege.arena.config import parse

        games = {}
        for degree in self.degrees:
            game = flat(_game(parse(self.values(degree))))
            games[degree] = {key: value for key, value in game.items() if key not in IDLE}
        rules = {n: getattr(self, n) for n in ("knowledge", "adaptive", "metric", "higher_is_better", "tuning")}
        text = json.dumps({"games": games, **rules, "seeds": list(self.seeds)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _game(config: RunConfig) -> dict[str, Any]:
    values = config.to_dict()
    return {name: values[name] for name in GAME}


def check_entrants(specs: Iterable[Any], what: str) -> None:
    """Refuse an entrant, which is an attack or a defense, that is neither a name nor has one (ConfigError)."""
    for spec in specs:
        name = spec.get("name") if isinstance(spec, Mapping) else spec
        if not isinstance(name, str):
            raise ConfigError(f"{what} must be a name or a mapping with a `name`, got {spec!r}")


def knowledge(words: str) -> Any:
    """Return the `Knowledge` that words such as ``"coalition + model"`` name; ConfigError for other words."""
    from fedsiege.attacks.base import Knowledge
    from fedsiege.errors import nearest

    found = Knowledge.NONE
    for word in [] if words == Knowledge.NONE.words else words.split(" + "):
        try:
            found |= Knowledge[word.upper()]
        except KeyError:
            known = [str(flag.name).lower() for flag in Knowledge]
            raise ConfigError(f"knowledge has no level {word!r}: {nearest(word, known)}") from None
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def merged(sections: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return `sections` with the fields that `changed` gives, section by section.

    A model or data set of another name starts from its own defaults: fields of the former one would not fit.
    """
    result = {name: dict(section) for name, section in sections.items()}
    for name, section in changed.items():
        new = {"name": section} if isinstance(section, str) else section
        if name not in GAME or not isinstance(new, Mapping):
            raise ConfigError(f"{name!r} cannot be changed: give mappings of {', '.join(GAME)}")
        old = result.get(name, {})
        result[name] = dict(new) if new.get("name", old.get("name")) != old.get("name") else {**old, **new}
    return result
