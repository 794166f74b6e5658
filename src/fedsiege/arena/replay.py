"""Do stored runs still come out the same: their first rounds are played again, and each record compared bit for bit.

A run is a function of its configuration, so records that differ mean other code, other data or other hardware. To play
a few rounds costs little, and a change that alters results rarely waits longer than that.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fedsiege.arena import runs, same_plugins
from fedsiege.arena.config import parse
from fedsiege.arena.failure import describe
from fedsiege.arena.folder import RunFolder
from fedsiege.errors import ConfigError, RunError


@dataclass(frozen=True)
class Replay:
    """What came of playing the first rounds of a stored run again.

    Parameters
    ----------
    path : Path
        The run folder.
    rounds : int
        Rounds whose records are equal, from the first.
    differs : str
        The first round that is not, and what of it differs; empty if all are equal.
    error : str
        Why it could not be played; empty if it could.
    """

    path: Path
    rounds: int = 0
    differs: str = ""
    error: str = ""

    @property
    def same(self) -> bool:
        """Whether at least one round was played, and all came out as stored."""
        return self.rounds > 0 and not self.differs and not self.error


def replay(path: Path, rounds: int = 3) -> Replay:
    """Play the first `rounds` rounds of the run in `path` again, or all that are stored if they are fewer.

    Nothing is written. The run gets as many threads as it had.
    """
    folder = RunFolder(path)
    try:
        config = parse(folder.read_config())
        environment = folder.read_environment()
        if (stored := environment.get("config_hash")) not in (None, config.hash):
            return Replay(path, error=f"its configuration reads as {config.hash} now, and read as {stored} then")
        same_plugins.refuse_edited(folder, config, "begun")
        records = list(islice(folder.read_rounds(), rounds))
        if not records:
            return Replay(path, error="no round is stored")
        with runs.thread_limit((environment.get("hardware") or {}).get("threads")):
            federation, info = runs.assemble(config)
            if (data := _sum(environment.get("data"))) not in (None, _sum(info)):
                return Replay(path, error=f"the data are others: SHA-256 {str(_sum(info))[:12]}, then {data[:12]}")
            for equal, record in enumerate(records):
                now = json.loads(json.dumps(federation.step().to_json()))
                if now != record:
                    names = sorted(k for k in {*now, *record} if now.get(k) != record.get(k))
                    return Replay(path, equal, f"round {record['round']}: {', '.join(names)}")
    except Exception as error:
        # What is wrong with one run, its files or a plug-in of a user's own, is no reason to stop at the others.
        return Replay(path, error=describe(error)["error"])
    return Replay(path, len(records))


def _sum(data: Any) -> str | None:
    return None if not isinstance(data, dict) or not data.get("sha256") else str(data["sha256"])


def replay_all(paths: Sequence[Path], rounds: int, jobs: int) -> Iterator[Replay]:
    """Yield the replay of each of the run folders `paths`, `jobs` at a time, as they end.

    Raises
    ------
    ConfigError
        If `rounds` or `jobs` is below 1.
    RunError
        If a process dies.
    """
    for name, value in (("rounds", rounds), ("jobs", jobs)):
        if value < 1:
            raise ConfigError(f"--{name} {value} must be at least 1")
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(replay, path, rounds) for path in paths]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException as error:
            # The context would play all that is left first, and its own shutdown takes back an order to cancel.
            for future in waiting:
                future.cancel()
            if not isinstance(error, BrokenProcessPool):
                raise
            raise RunError("a process that played rounds again died, of memory perhaps; try fewer --jobs") from error
