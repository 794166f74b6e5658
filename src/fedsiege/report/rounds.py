"""Reading of ``rounds.jsonl``: only the lines that a plot needs are parsed, the rest is skipped as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CURVE_ROUNDS = 60
POINT_ROUNDS = 6
SCORE_ROUNDS = 150
# First fits of uploads are looked for in so many rounds, until so many clients are known.
FIT_ROUNDS = 100
FIT_CLIENTS = 600

VERDICTS = ("honest accepted", "honest rejected", "malicious accepted", "malicious rejected")
"""How many uploads of a round's cohort met which end."""

_EVALUATED = re.compile(rb'"metrics":\s*\{\s*"')
_PROJECTED = re.compile(rb'"projection":\s*\[')
_ATTACKED = re.compile(rb'"malicious":\s*\[\s*\d')
_FITTED = re.compile(rb'curves":\s*\[\s*\[')
# Why a defense by reconstruction rejects; in a composition, other reasons are those of the parts beside it.
FIT_REASONS = ("not reconstructed by training", "zero update", "expelled before")


@dataclass
class Scan:
    """What plots need of one run's rounds.

    Parameters
    ----------
    curve : list of dict
        ``{"round", "loss", metric: value}`` of evaluated rounds, test split, and `VERDICTS` of the round.
    points : list of dict of arrays
        ``round, x, y, malicious, rejected`` of projected rounds.
    scores : list of dict of arrays
        ``round, score, malicious, rejected`` of rounds with scores.
    fits : list of dict of arrays
        ``client, round, malicious, iterations, step, error`` of the first fit of each upload's client: the errors
        before those steps, NaN where not finite.
    damaged : int
        Lines that could not be read.
    """

    curve: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, np.ndarray]] = field(default_factory=list)
    scores: list[dict[str, np.ndarray]] = field(default_factory=list)
    fits: list[dict[str, np.ndarray]] = field(default_factory=list)
    damaged: int = 0


def spread(places: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of `places`, evenly spread, first and last among them."""
    if places.size <= count:
        return places
    return places[np.unique(np.linspace(0, places.size - 1, count).round().astype(int))]


class _Lines:
    """The complete lines of a file, addressed by number without parsing them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        # A killed run leaves a last line without its end; it is not counted.
        self.ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)

    def holding(self, pattern: re.Pattern[bytes]) -> np.ndarray:
        """Return the numbers of the lines in which `pattern` occurs."""
        places = np.array([m.start() for m in pattern.finditer(self.data)], np.int64)
        lines = np.unique(np.searchsorted(self.ends, places))
        return lines[lines < self.ends.size]

    def __getitem__(self, line: int) -> bytes:
        start = int(self.ends[line - 1]) + 1 if line else 0
        return self.data[start : int(self.ends[line])]


def _uploads(record: dict[str, Any], attacking: bool) -> dict[str, np.ndarray]:
    """Return the round number, guilt and verdict of each upload of a record."""
    cohort = record["cohort"]
    # Without an attack the coalition behaves like everyone else, so nobody is malicious.
    bad = set(record["malicious"]) if attacking else set()
    rejected = {client for client, _ in record["rejected"]}
    return {
        "round": np.full(len(cohort), int(record["round"])),
        "malicious": np.array([client in bad for client in cohort], bool),
        "rejected": np.array([client in rejected for client in cohort], bool),
    }


def _floats(values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _verdicts(record: dict[str, Any], attacking: bool) -> dict[str, int]:
    """Count the verdicts on a round's cohort, none if they are damaged; without an attack nobody is malicious."""
    try:
        cohort = set(record["cohort"])
        bad = cohort.intersection(record["malicious"]) if attacking else set()
        out = cohort.intersection(client for client, _ in record["rejected"])
    except (KeyError, TypeError, ValueError):  # the scores of the round are good all the same
        return {}
    counts = (len(cohort - bad - out), len(out - bad), len(bad - out), len(bad & out))
    return dict(zip(VERDICTS, counts))


def _curve(record: dict[str, Any], attacking: bool) -> dict[str, Any]:
    test = record["metrics"].get("test") or {}
    scores = {str(name): float(value) for name, value in test.items() if value is not None}
    loss = record.get("loss")
    about = {"round": int(record["round"]), "loss": None if loss is None else float(loss)}
    return {**scores, **about, **_verdicts(record, attacking)}


def steps(iterations: int) -> list[int]:
    """Return before which outer steps the curve of a fit holds the error: 0, 1, 2, 4, 8, … and the last."""
    powers = [1 << k for k in range(iterations.bit_length()) if 1 << k < iterations]
    return [0, *powers, iterations] if iterations else [0]


def _fits(record: dict[str, Any], attacking: bool, prefix: str, known: set[int]) -> dict[str, np.ndarray] | None:
    """Return the fits of clients that are not among the `known`, and add them there."""
    info = record["info"]
    if f"{prefix}curves" not in info:
        return None
    curves, iterations = info[f"{prefix}curves"], info[f"{prefix}iterations"]
    cohort, bad = record["cohort"], set(record["malicious"]) if attacking else set()
    places = list(range(len(cohort)))
    if len(curves) != len(cohort):  # parts in front kept some uploads from it
        foreign = {client for client, reason in record["rejected"] if reason not in FIT_REASONS}
        places = [place for place in places if cohort[place] not in foreign]
    if len(curves) != len(places):
        return None
    made: list[tuple[int, int, bool, int, int, float | None]] = []
    for place, curve, total in zip(places, curves, iterations):
        who = int(cohort[place])
        if who in known or (not curve and record["norm"][place] != 0):
            continue
        known.add(who)
        # An update of zero norm has the error 1 without any fit.
        for step, error in zip(steps(int(total)), curve or [1.0], strict=True):
            made.append((who, int(record["round"]), who in bad, int(total), step, error))
    if not made:
        return None
    columns = zip(("client", "round", "malicious", "iterations", "step", "error"), zip(*made))
    return {name: _floats(values) if name == "error" else np.array(values) for name, values in columns}


def scan(path: Path, attacking: bool, uploads: bool = True, fits: str | None = None) -> Scan:
    """Return what plots need of a run's ``rounds.jsonl``, thinned evenly over the run.

    Parameters
    ----------
    path : Path
        The file.
    attacking : bool
        Whether the run has an attack; without one no upload counts as malicious.
    uploads : bool
        Whether projections and scores are wanted besides the curve.
    fits : str, optional
        What stands in front of ``curves`` in the rounds' info if uploads were reconstructed and that is wanted.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    lines = _Lines(path.read_bytes())
    found = Scan()
    parsed: dict[int, dict[str, Any] | None] = {}

    def records(places: np.ndarray) -> Iterator[dict[str, Any]]:
        for place in places.tolist():
            if place not in parsed:
                try:
                    value = json.loads(lines[place])
                    parsed[place] = value if isinstance(value, dict) else None
                except ValueError:
                    parsed[place] = None
                found.damaged += parsed[place] is None
            record = parsed[place]
            if record is not None:
                yield record

    def collect(places: np.ndarray, make: Any, into: list[Any]) -> None:
        for record in records(places):
            try:
                made = make(record)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError):
                found.damaged += 1
                continue
            if made is not None:
                into.append(made)

    def point(record: dict[str, Any]) -> dict[str, np.ndarray]:
        about = _uploads(record, attacking)
        xy = _floats(record["projection"]).reshape(about["round"].size, 2)
        return {**about, "x": xy[:, 0], "y": xy[:, 1]}

    def score(record: dict[str, Any]) -> dict[str, np.ndarray] | None:
        if record.get("score") is None:
            return None
        about = _uploads(record, attacking)
        return {**about, "score": _floats(record["score"]).reshape(about["round"].shape)}

    collect(spread(lines.holding(_EVALUATED), CURVE_ROUNDS), lambda record: _curve(record, attacking), found.curve)
    if uploads and lines.ends.size:
        collect(spread(lines.holding(_PROJECTED), POINT_ROUNDS), point, found.points)
        # Rounds in which an attacker took part tell more; without any, all rounds are alike.
        attacked = lines.holding(_ATTACKED)
        places = attacked if attacking and attacked.size else np.arange(lines.ends.size)
        if any(r.get("score") is not None for r in records(spread(places, 5))):
            collect(spread(places, SCORE_ROUNDS), score, found.scores)
    if fits is not None:
        known: set[int] = set()
        for place in lines.holding(_FITTED)[:FIT_ROUNDS]:
            collect(np.array([place]), lambda record: _fits(record, attacking, fits, known), found.fits)
            if len(known) >= FIT_CLIENTS:
                break
    return found
