"""Errors a user can act on: each names the thing that is wrong and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FedSiegeError(Exception):
    """Base of every error that FedSiege raises on purpose.

    The command line prints it as one line and exits with status 2, without a traceback.
    """


class ConfigError(FedSiegeError):
    """A configuration names something unknown or gives it a value outside its range."""


class DataError(FedSiegeError):
    """A data file is missing, damaged or not in the format that it claims."""


class RunError(FedSiegeError):
    """A run folder cannot be used as asked (finished, damaged, of another configuration)."""


class KnowledgeError(FedSiegeError):
    """An attack asked for something that its declared threat model does not grant."""


class UploadError(FedSiegeError):
    """An upload does not have the shape, the names or the dtype of the model's blocks."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``did you mean 'krum'?`` for an unknown `name`, or the known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names)


def remedy(extra: str) -> str:
    """Return how the packages of an extra of FedSiege are installed; it is on no package index, so from a clone."""
    return f"in a clone of FedSiege run: pip install -e '.[{extra}]'"
