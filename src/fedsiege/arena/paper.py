"""Published figures as data, and the paper's settings that go with them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def aaai23() -> dict[str, Any]:
    """Return the tables of Yu et al. (AAAI 2023) as nested mappings; see ``aaai23.yaml`` for their layout."""
    return yaml.safe_load((files("fedsiege.arena") / "aaai23.yaml").read_text(encoding="utf-8"))


def settings(model: str, dataset: str) -> dict[str, Any]:
    """Return the hyper-parameters of Table 6 for a model and data set; KeyError if the paper has none."""
    return aaai23()["table6"][f"{model}/{dataset}"]
