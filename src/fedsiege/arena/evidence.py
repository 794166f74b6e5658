"""What is known of a cell: a finished run on this machine, or one that was published before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Cell
from fedsiege.errors import RunError


@dataclass(frozen=True)
class Run:
    """The figures of one finished run, and what made them.

    Parameters
    ----------
    cell : str
        Label of its cell, with the seed.
    seed, config_hash, rounds
        As in the run's result.
    last, best, detection
        As in the run's result.
    rejects : bool
        Whether the defense ever rejected an upload.
    told : int or None
        How many attackers the defense was told of.
    seconds_per_round : float
        Wall time.
    commit : str or None
        The code that ran.
    hardware : dict
        Where it ran.
    optimisation : dict or None
        As in the run's result, where uploads were reconstructed.
    """

    cell: str
    seed: int
    config_hash: str
    rounds: int
    last: dict[str, Any]
    best: dict[str, Any]
    detection: dict[str, float | None]
    rejects: bool
    told: int | None
    seconds_per_round: float
    commit: str | None
    hardware: dict[str, Any]
    optimisation: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """The cell without its seed."""
        return self.cell.rpartition("/")[0]

    @classmethod
    def read(cls, cell: Cell) -> Run | None:
        """Return the finished run of a cell on this machine, None if there is none that can be read."""
        folder = RunFolder(cell.path)
        try:
            if not folder.finished:
                return None
            result, environment = folder.read_result(), folder.read_environment()
        except RunError:
            return None
        kept = {k: result[k] for k in ("seed", "config_hash", "rounds", "last", "best", "detection", "rejects")}
        return cls(
            cell=cell.label,
            told=result["threat_model"]["told_byzantine"],
            seconds_per_round=folder.seconds_per_round(),
            commit=environment["commit"],
            hardware=environment["hardware"],
            optimisation=result.get("optimisation"),
            **kept,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        values = asdict(self)
        if self.optimisation is None:
            del values["optimisation"]
        return values


def finished(cells: Sequence[Cell]) -> list[Run]:
    """Return the runs of those `cells` that are finished on this machine."""
    return [run for cell in cells if (run := Run.read(cell)) is not None]


def published(folder: Path, id_: str = "") -> dict[str, Run]:
    """Return the runs that the tables in `folder` rest on, by configuration hash.

    Tables may hold runs of one cell at different commits; that of table `id_` goes before the others'.

    Raises
    ------
    RunError
        If a table there cannot be read.
    """
    found = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: (path.stem == id_, path)):
        try:
            runs = json.loads(path.read_text(encoding="utf-8")).get("runs", [])
            found.update({run["config_hash"]: Run(**run) for run in runs})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path} is not a published table: {error}; remove it or restore it") from error
    return found


def known(cells: Sequence[Cell], folder: Path, id_: str = "") -> list[Run]:
    """Return what is known of `cells`, in their order: finished here, else published in `folder`, in `id_` first."""
    before = published(folder, id_)
    out = []
    for cell in cells:
        run = Run.read(cell) or before.get(cell.config.hash)
        if run is not None:
            out.append(run)
    return out
