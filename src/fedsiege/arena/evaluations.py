"""The evaluations of a run, read from its rounds without parsing the rounds between them."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

_KEY = b'"metrics"'
_START = len(_KEY)
# Runs write no blanks: then scores are found at once, without a look at every round between them.
_COMPACT = _KEY + b':{"'


def _holds_scores(text: bytes) -> bool:
    """Return whether what follows the key is a mapping that is not empty."""
    rest = text.lstrip(b": \t")
    return rest.startswith(b"{") and not rest[1:].lstrip().startswith(b"}")


def evaluations(path: Path, newest: int | None = None) -> list[dict[str, Any]]:
    """Return the rounds of ``rounds.jsonl`` that end with an evaluation, oldest first.

    Parameters
    ----------
    path : Path
        The file; one that is missing or empty has none, and a torn last line is left out.
    newest : int, optional
        Only so many, the last ones: the file is read from its end.

    Returns
    -------
    list of dict
        ``{"round": int, "loss": float or None, "metrics": {split: {name: float or None}}}``.

    Raises
    ------
    ValueError
        If a line with an evaluation is not JSON.
    OSError
        If the file cannot be read.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return []
    found: list[dict[str, Any]] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        # What stands after the last line break was being written when the run was killed.
        end = text.rfind(b"\n") + 1
        key = _COMPACT if text.find(_KEY + b":{", 0, text.find(b"\n") + 1) >= 0 else _KEY
        while newest is None or len(found) < newest:
            at = text.rfind(key, 0, end)
            if at < 0:
                break
            # Scores are the last but one key of a line, so a few bytes tell whether there are any.
            if not _holds_scores(text[at + _START : at + _START + 16]):
                end = at
                continue
            start = text.rfind(b"\n", 0, at) + 1
            record = json.loads(text[start : text.find(b"\n", at)])
            if record.get("metrics"):
                found.append({"round": record["round"], "loss": record.get("loss"), "metrics": record["metrics"]})
            end = start
    return found[::-1]
