"""Published figures as data, and the papers' settings that go with them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def printed(paper: str) -> dict[str, Any]:
    """Return what ``<paper>.yaml`` holds, as nested mappings; ``source`` is the citation."""
    return yaml.safe_load((files("fedsiege.arena") / f"{paper}.yaml").read_text(encoding="utf-8"))


def aaai23() -> dict[str, Any]:
    """Return the tables of Yu et al. (AAAI 2023) as nested mappings; see ``aaai23.yaml`` for their layout."""
    return printed("aaai23")


def settings(model: str, dataset: str) -> dict[str, Any]:
    """Return the hyper-parameters of Table 6 for a model and data set; KeyError if the paper has none."""
    return aaai23()["table6"][f"{model}/{dataset}"]


def icml24() -> dict[str, Any]:
    """Return the tables of Xie et al. (ICML 2024) as nested mappings, in percent; see ``icml24.yaml``."""
    return printed("icml24")
