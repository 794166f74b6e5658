"""How arguments are shown in help texts: a metavar in words, and defaults only where they say something."""

from __future__ import annotations

from typing import Any

import tyro


def option(metavar: str | None = None, name: str | None = None) -> Any:
    """Return the annotation of an optional argument whose text states its default in words."""
    return tyro.conf.arg(metavar=metavar, name=name, help_behavior_hint="")


CONFIG: Any = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
"""Switches are given or not (no ``--no-json``), and nested commands share one space of names."""
