"""Which defenses have clean data on the server, told from what a stored run calls them."""

from __future__ import annotations

import re

from fedsiege import registry
from fedsiege.arena.names import defaults

_SAMPLES = re.compile(r"\bsamples(?:=|: )(\d+)\b")


def clean_data(label: str) -> str:
    """Return what the server has of clean training data for a defense, such as ``"100 samples"``; empty if nothing.

    Parameters
    ----------
    label : str
        As `fedsiege.arena.names.label` makes it. A defense within another, such as FLCert's rule, counts; one that is
        not known here, because its plug-in is not at hand, does not.

    Returns
    -------
    str
        ``"an unknown number of samples"`` if it has no setting ``samples`` that says how many.
    """
    known = registry.entries("defenses")
    found = [name for name in re.findall(r"[\w.-]+", label) if name in known and "root" in known[name].capabilities]
    if not found:
        return ""
    said = _SAMPLES.search(label)
    count = said[1] if said else (defaults("defenses", found[0]) or {}).get("samples")
    return "an unknown number of samples" if count is None else f"{count} samples"
