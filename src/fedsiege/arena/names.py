"""What an attack or a defense of a stored run is called: its name, and the settings that are not the usual ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from fedsiege import registry
from fedsiege.arena.settings import literal_defaults
from fedsiege.arena.validate import plain
from fedsiege.errors import FedSiegeError

LONGEST = 100
"""Characters of a folder's name; what is longer is cut and told apart by a hash."""


@cache
def defaults(kind: registry.Kind, name: str) -> Mapping[str, Any] | None:
    """Return the default settings of a plug-in as plain values.

    ``"adaptive"`` and ``"noise"`` are wrappers of attacks. None for one that this installation does not have, or that
    a user's file brought: the file of a stored run is never imported only to read the run.
    """
    if kind == "attacks" and name in registry.WRAPPERS:
        return literal_defaults(*registry.WRAPPERS[name])
    entry = registry.entries(kind).get(name)
    if entry is not None and entry.module.startswith("fedsiege_plugin_"):
        return None
    if entry is not None and (read := literal_defaults(entry.module, entry.cls)) is not None:
        return read
    try:
        cls = registry.load(kind, name)
    except (FedSiegeError, ImportError):
        return None
    return _defaults(cls)


def _defaults(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.default is not dataclasses.MISSING:
            found[field.name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = plain(field.default_factory())
    return found


def _unusual(kind: registry.Kind, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    usual = defaults(kind, name)
    if usual is None:
        return dict(settings)
    return {key: value for key, value in settings.items() if key not in usual or usual[key] != value}


def _parts(kind: registry.Kind, name: str, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of each plug-in that `name` is made of."""
    found = registry.wrapped(kind, name)
    if found is not None:
        wrapper, inner = found
        own = {key: value for key, value in settings.items() if key != inner}
        return {wrapper: own, **_parts(kind, inner, dict(settings.get(inner) or {}))}
    if kind == "defenses" and "+" in name and name not in registry.entries(kind):
        return {part: settings.get(part) or {} for part in name.split("+")}
    return {name: settings}


def label(kind: registry.Kind, spec: Mapping[str, Any]) -> str:
    """Return the name of a plug-in with its settings that differ from their defaults, such as ``"lie (z=0.3)"``.

    Parameters
    ----------
    kind : {"attacks", "defenses"}
        What it is.
    spec : mapping
        ``{"name": …, settings}`` as in a resolved configuration; a composed defense holds a mapping for each part, an
        adaptive attack one for the attack that it wraps.

    Returns
    -------
    str
        The name alone if all settings are the defaults. All settings are told of a plug-in that is not known here.
    """
    name = str(spec["name"])
    settings = {str(key): value for key, value in spec.items() if key != "name"}
    told: list[tuple[str, str, Any]] = []
    for part, values in _parts(kind, name, settings).items():
        told += [(part, key, value) for key, value in _unusual(kind, part, values).items()]
    keys = [key for _, key, _ in told]
    words = [f"{key if keys.count(key) == 1 else f'{part}.{key}'}={_word(value)}" for part, key, value in told]
    return f"{name} ({', '.join(words)})" if words else name


def slug(name: str) -> str:
    """Return a name for a folder: a label without spaces and without what file systems or shells dislike."""
    short = re.sub(r"[^\w.+=,()\-]", "_", name.replace(" (", "(").replace(", ", ","), flags=re.ASCII)
    if len(short) <= LONGEST:
        return short
    return f"{short[: LONGEST - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
