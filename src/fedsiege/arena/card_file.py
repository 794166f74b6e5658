"""Reading threat-model cards: YAML, with a base to build on, fully checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from fedsiege.arena import clean_bands
from fedsiege.arena.card import GAME, Card, knowledge, merged
from fedsiege.errors import ConfigError, nearest
from fedsiege.files import read_yaml

NAMED = ("dataset", "model")
LISTS = ("seeds", "attacks", "defenses")
SUFFIXES = (".yaml", ".yml")


@cache
def shipped() -> dict[str, str]:
    """Return the text of each card that comes with FedSiege, by name."""
    folder = files("fedsiege.arena") / "cards"
    found = {f.name.removesuffix(".yaml"): f for f in folder.iterdir() if f.name.endswith(".yaml")}
    return {name: file.read_text(encoding="utf-8") for name, file in sorted(found.items())}


@cache
def _named(name: str) -> Card:
    known = shipped()
    if name not in known:
        raise ConfigError(f"unknown card {name!r}: {nearest(name, known)}")
    card = parse(yaml.safe_load(known[name]), f"card {name}")
    return replace(card, bands={**clean_bands.of(card), **card.bands})


def names() -> list[str]:
    """Return the names of the cards that come with FedSiege, ascending."""
    return sorted(shipped())


def load(ref: str | Path) -> Card:
    """Return a card by its name, or from a file, which is what ends in ``.yaml`` or ``.yml``.

    Raises
    ------
    ConfigError
        For an unknown name, a file that cannot be read, or a card that is wrong or cannot be played.
    """
    path = Path(ref)
    if path.suffix not in SUFFIXES:
        return _named(str(ref))
    card = _file(path, ())
    try:
        _check_id(card)
        _check_metric(card)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return card


def _file(path: Path, above: tuple[Path, ...]) -> Card:
    """Return the card of a file on which the files `above` build."""
    if path.resolve() in above:
        raise ConfigError(f"card {path} builds on itself; name another `base`")
    return parse(read_yaml(path, "card"), str(path), path.parent, (*above, path.resolve()))


def parse(values: Any, where: str, folder: Path | None = None, above: tuple[Path, ...] = ()) -> Card:
    """Return the card that a mapping read from YAML describes.

    Parameters
    ----------
    values : mapping
        The fields of `Card`; with ``base``, another card's name or file, only what differs from that.
    where : str
        How to call the card in an error.
    folder : Path, optional
        Folder to which a path of a base or a data set refers.
    above : tuple of Path, optional
        Files that build on this card, which it must not build on in turn.

    Raises
    ------
    ConfigError
        Naming the first thing that is wrong.
    """
    from fedsiege.arena.validate import build

    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is not a card: write a mapping with an `id` and a `dataset`, or with a `base`")
    values = dict(values)
    base = values.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"{where}: `base` must be the name of a card or a file, got {base!r}")
    known: dict[str, Any] = {}
    if base is not None:
        file = (folder or Path()) / base
        known = vars(_file(file, above) if file.suffix in SUFFIXES else load(base)).copy()
    # The base's hash is remembered in it, and is not one of its fields; its bands are of its own game.
    for name in ("hash", "bands"):
        known.pop(name, None)
    if base is not None and "id" not in values:
        raise ConfigError(f"{where} builds on {base} and needs an `id` of its own")
    sections = {name: known.get(name, {}) for name in GAME}
    changed = {name: values.pop(name) for name in GAME if name in values}
    for name in ("id", "dataset"):
        if name not in {**known, **values, **changed}:
            raise ConfigError(f"{where} needs `{name}`")
    fields: dict[str, Any] = {**known, **values, **merged(sections, changed)}
    fields["dataset"] = _localised(fields["dataset"], folder)
    if isinstance(degrees := fields.get("degrees"), Mapping):
        fields["degrees"] = {name: _with_paths(changes, folder) for name, changes in degrees.items()}
    for name in ("title", "about"):
        fields.setdefault(name, "")
    for name in LISTS:
        if name in fields and not isinstance(fields[name], list | tuple):
            raise ConfigError(f"{where}: `{name}` must be a list")
    try:
        card = build(Card, fields, where)
        knowledge(card.knowledge)
        knowledge(card.adaptive)
        for degree in card.bands:
            card.degree(degree)
        _check_degrees(card)
    except ConfigError as error:
        raise error if str(error).startswith(where) else ConfigError(f"{where}: {error}") from error
    return card


def _localised(dataset: Any, folder: Path | None) -> Any:
    """Return a ``dataset`` section whose path is that from `folder`; what is no such section stays."""
    if folder is None or not isinstance(dataset, Mapping) or not isinstance(dataset.get("path"), str):
        return dataset
    return {**dataset, "path": str((folder / dataset["path"]).resolve())}


def _with_paths(changes: Any, folder: Path | None) -> Any:
    """Return what a degree changes, paths as in `_localised`."""
    if not isinstance(changes, Mapping) or "dataset" not in changes:
        return changes
    return {**changes, "dataset": _localised(changes["dataset"], folder)}


def _check_degrees(card: Card) -> None:
    """Resolve the game at every degree, so that a mistake is found before anything runs."""
    if not card.degrees or not card.seeds:
        raise ConfigError("a card needs at least one degree and one seed")
    assert card.hash


def _check_id(card: Card) -> None:
    """Refuse an id that is no name for a folder: runs and leaderboards lie in one that is called so."""
    from fedsiege.arena.names import LONGEST, slug

    if not card.id or card.id != slug(card.id):
        raise ConfigError(
            f"id {card.id!r} is the name of a folder too: write at most {LONGEST} letters, digits and . _ - + = , ( )"
        )


def _check_metric(card: Card) -> None:
    """Refuse a metric that no run of the card would have."""
    from fedsiege.arena.config import parse as resolved

    for degree in card.degrees:
        game = resolved(card.values(degree))
        if game.reported and card.metric not in game.reported:
            raise ConfigError(
                f"metric {card.metric!r} is never reported by model {game.model.name!r}; choose one of "
                f"{', '.join(game.reported)}{' at degree ' + degree if degree else ''}"
            )


def outlines() -> list[dict[str, str]]:
    """Return id, title and words of every card that comes with FedSiege, without resolving its game."""
    found = []
    for name, text in shipped().items():
        values = yaml.safe_load(text)
        found.append({"id": name, "title": str(values["title"]), "about": " ".join(str(values["about"]).split())})
    return found
