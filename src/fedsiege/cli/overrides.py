"""``--set key=value``: single values of a configuration, changed from the command line before it is validated."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from fedsiege.errors import ConfigError

NAMED = ("dataset", "model", "attack", "defense")
"""Sections that may be written as a bare name."""


def _value(text: str, assignment: str) -> Any:
    import yaml

    from fedsiege.files import load_yaml

    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: the value is not valid YAML") from error


def apply(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a configuration's `values` with ``section.field=value`` assignments applied in order.

    Parameters
    ----------
    values : mapping
        As read from YAML. A section given as a bare name (``attack: lie``) becomes a mapping when one of its
        fields is set.
    assignments : sequence of str
        Such as ``attack=lie``, ``attack.z=0.3`` or ``federation.cutoffs=[5,10]``; values are YAML.

    Raises
    ------
    ConfigError
        If an assignment has no ``=``, reaches into something that holds no fields, or replaces what another one has
        set. Names and types of fields are checked afterwards, with the rest of the configuration.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    given: list[tuple[list[str], str]] = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise ConfigError(f"--set {assignment}: write it as section.field=value, such as attack.z=0.3")
        for before, earlier in given:
            if before[: len(path)] == path:
                raise ConfigError(f"--set {assignment}: this replaces {earlier}, given before; leave one out")
        given.append((path, assignment))
        node = result
        for depth, part in enumerate(path[:-1]):
            inner = node.get(part)
            if depth == 0 and part in NAMED and isinstance(inner, str):
                inner = {"name": inner}
            if inner is None:
                inner = {}
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {assignment}: {'.'.join(path[: depth + 1])} is {inner!r} and has no fields")
            node[part] = inner
            node = inner
        node[path[-1]] = _value(text, assignment)
    return result
