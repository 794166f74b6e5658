"""Places outside the store to which finished runs can be sent, off unless asked for.

A sink is a module of this folder with ``send(records, root, target) -> Sent``; it imports what it needs when it is
called, and that comes with an extra of the same name.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsiege.arena.record import Record
from fedsiege.errors import ConfigError, nearest, remedy

SINKS = {"mlflow": "the URI of a tracking server or store", "tensorboard": "a folder"}
"""Name and what its target is."""


@dataclass(frozen=True)
class Sent:
    """How many runs a sink took, how many it had already, and where they are."""

    new: int
    known: int
    where: str


def parse(text: str) -> tuple[str, str]:
    """Return name and target of ``NAME:TARGET``, such as ``tensorboard:logs``; ConfigError for anything else."""
    name, colon, target = text.partition(":")
    if name not in SINKS:
        raise ConfigError(f"there is no sink {name!r}: {nearest(name, SINKS)}; write NAME:TARGET")
    if not colon or not target:
        raise ConfigError(f"sink {name} needs {SINKS[name]} behind a colon, as in {name}:TARGET")
    return name, target


def send(records: Sequence[Record], root: Path, to: str) -> Sent:
    """Send finished runs of the store at `root` to ``NAME:TARGET``; runs that are there already are left alone.

    Raises
    ------
    ConfigError
        For an unknown sink, or one whose package is not installed.
    RunError
        If the target refuses.
    """
    name, target = parse(to)
    module = importlib.import_module(f"fedsiege.arena.sinks.{name}")
    return module.send([record for record in records if record.status == "finished"], root, target)


def missing(name: str, error: ImportError) -> ConfigError:
    """Return the error of a sink whose package is not installed."""
    return ConfigError(f"sink {name} is not installed ({error}); {remedy(name)}")
