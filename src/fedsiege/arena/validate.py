"""Dataclasses as plain mappings, and back (`build`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fedsiege.fields import build

__all__ = ["build", "plain"]


def plain(value: Any) -> Any:
    """Return a dataclass (or a container of such) as plain YAML values.

    Fields that a class names in ``younger``, as they came after runs were stored, appear only where they are used, so
    that those runs keep their hash.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        younger = getattr(value, "younger", ())
        return {
            f.name: plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.init and not (f.name in younger and getattr(value, f.name) == f.default)
        }
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
