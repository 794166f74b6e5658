"""Run folders written by hand for tests of the store, finished, failed and begun, with and without a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.report.fakes import write_run

CARD = {"id": "toy-v1", "hash": "0123456789ab", "degree": "", "division": "closed", "changes": []}


def edit(path: Path, **values: Any) -> None:
    """Replace top-level values of a JSON file; None removes one."""
    found = {**json.loads(path.read_text("utf-8")), **values}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def finished(folder: Path, attack: str = "none", defense: str = "none", seed: int = 0, **more: Any) -> Path:
    """Write a finished run as this version leaves it: with card, costs, versions and a sum of the data."""
    card = more.pop("card", CARD)
    write_run(folder, attack, defense, seed, **more)
    edit(folder / "result.json", card=card, metric="HR@5", config_hash=f"{attack}-{defense}-{seed}")
    if card is not None:
        with (folder / "config.yaml").open("a") as file:
            yaml.safe_dump({"card": card}, file)
    edit(
        folder / "environment.json",
        versions={"python": "3.11", "fedsiege": "9.9"},
        data={"source": "generated", "sha256": "ab" * 32},
    )
    (folder / "cost.json").write_text(json.dumps({"wall_seconds": 12.5, "peak_bytes": 3e8}))
    return folder


def failed(folder: Path, error: str = "RunError: out of luck", **more: Any) -> Path:
    """Write a run that failed."""
    begun(folder, **more)
    (folder / "failed.json").write_text(json.dumps({"error": error, "kind": "RunError", "traceback": "", "time": 0}))
    return folder


def begun(folder: Path, **more: Any) -> Path:
    """Write a run that has started and not ended."""
    finished(folder, **more)
    (folder / "result.json").unlink()
    (folder / "cost.json").unlink()
    return folder


def grid(root: Path, seeds: int = 2) -> Path:
    """Write two attacks by two defenses by seeds."""
    for attack in ("none", "lie"):
        for defense in ("none", "krum"):
            for seed in range(seeds):
                finished(root / attack / defense / f"seed{seed}", attack, defense, seed)
    return root
