"""The verdicts of all rounds, one JSON object a line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fedsiege.errors import RunError
from fedsiege.files import write_atomic


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: arrays as lists, what is not finite as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


class Logbook:
    """Appends rounds to a file, if there is one.

    Parameters
    ----------
    path : Path, optional
        The file; None: nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def resume(self, done: int) -> list[dict[str, Any]]:
        """Return the rounds up to `done`; later ones, and a line cut short by a crash, are dropped from the file."""
        if self.path is None or not self.path.exists():
            return []
        kept: list[dict[str, Any]] = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not isinstance(entry, dict) or not isinstance(entry.get("round"), int) or entry["round"] > done:
                break
            kept.append(entry)
        write_atomic(self.path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
        return kept

    def write(self, entry: dict[str, Any]) -> None:
        """Append one round.

        Raises
        ------
        RunError
            If the file cannot be written.
        """
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}; choose another folder") from error
