"""Plain mappings into dataclasses, with unknown and mistyped fields refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from numbers import Real
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from fedsiege.errors import ConfigError, nearest

T = TypeVar("T")


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _number_for_bool(given: Any, made: Any) -> bool:
    """Tell whether true or false, anywhere in what was given, has become a number."""
    if isinstance(given, bool):
        return not isinstance(made, bool) and isinstance(made, Real)
    if isinstance(given, Mapping):
        there = made if isinstance(made, Mapping) else getattr(made, "__dict__", {})
        return any(_number_for_bool(value, there.get(name)) for name, value in given.items())
    if isinstance(given, list | tuple) and isinstance(made, list | tuple):
        return any(map(_number_for_bool, given, made))
    return False


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Return ``cls(**values)`` after checking every name and type.

    Parameters
    ----------
    cls : type
        A dataclass.
    values : mapping
        Field values as read from YAML.
    where : str
        How to call this part in an error, such as ``"attack (lie)"``.

    Raises
    ------
    ConfigError
        Naming the field, what is wrong, and the nearest valid name for an unknown one.
    """
    known = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            hint = nearest(str(name), known) if known else "it takes no parameters"
            raise ConfigError(f"{where} has no field {name!r}: {hint}")
    try:
        made = _adapter(cast(Any, cls)).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][:1]) or "value"
        raise ConfigError(f"{where}, field {field!r}: {first['msg'].lower()}, got {first['input']!r}") from error
    for name, value in values.items():
        # To pydantic true is a 1; here it is somebody's mistake.
        if _number_for_bool(value, getattr(made, name, None)):
            raise ConfigError(f"{where}, field {name!r}: must be a number, and true and false are none, got {value!r}")
    return made
