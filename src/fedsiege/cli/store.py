"""``fedsiege store``: the index over stored runs, looked at or made anew."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import print_json, show_table, table
from fedsiege.errors import ConfigError

if TYPE_CHECKING:
    from fedsiege.arena.store import Report


@dataclass(frozen=True)
class Rebuild:
    """Make the index anew by reading every run folder.

    The run folders are the truth and are not touched. The index brings itself up to date whenever it is used; this is
    for when it is in doubt.

    Parameters
    ----------
    folder
        A folder that holds run folders at any depth.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]

    def __call__(self) -> int:
        """Rebuild, print what was found and return 0; 1 if a folder cannot be read."""
        from fedsiege.arena.store import Store

        with Store(self.folder) as store:
            found = store.rebuild()
            print(_summary(found, store.path))
        return _complain(found)


@dataclass(frozen=True)
class Info:
    """Show which runs a folder holds, by card, degree and status, and what is damaged.

    Parameters
    ----------
    folder
        A folder that holds run folders at any depth.
    json
        Print JSON instead of a table.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    json: Annotated[bool, option()] = False

    def __call__(self) -> int:
        """Print the counts and return 0; 1 if a folder cannot be read."""
        from fedsiege.arena.store import Store

        with Store(self.folder) as store:
            found, counts, path = store.refresh(), store.counts(), store.path
        names = ("card", "card_hash", "degree", "status", "runs")
        if self.json:
            groups = [dict(zip(names, row)) for row in counts]
            print_json({"index": path and str(path), "groups": groups, "damaged": found.damaged})
            return 1 if found.damaged else 0
        rows = [[card or "–", hash_ or "–", degree or "–", status, str(n)] for card, hash_, degree, status, n in counts]
        show_table(table("", ["card", "hash", "degree", "status", "runs"], rows, right=["runs"]))
        print(_summary(found, path))
        return _complain(found)


@dataclass(frozen=True)
class Replay:
    """Play the first rounds of stored runs again and compare their records bit for bit.

    Runs that come out the same were made by code, data and hardware that still give these bits. Nothing is written.

    Parameters
    ----------
    folder
        A run folder, or folders that hold run folders at any depth.
    rounds
        Rounds of each run, from the first.
    jobs
        Runs side by side; default: one a core.
    """

    folder: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    rounds: Annotated[int, option("N")] = 3
    jobs: Annotated[int | None, option("N")] = None

    def __call__(self) -> int:
        """Print a line for each run and return 0 if all came out the same, else 1."""
        from fedsiege.arena.find import run_folders
        from fedsiege.arena.replay import replay_all
        from fedsiege.arena.room import jobs

        paths = sorted({folder / name for folder in self.folder for name, _ in run_folders(folder)})
        if not paths:
            raise ConfigError(f"no runs in {', '.join(map(str, self.folder))}")
        same = 0
        for number, done in enumerate(replay_all(paths, self.rounds, self.jobs or jobs()), 1):
            same += done.same
            words = done.error or (f"differs in {done.differs}" if done.differs else f"{done.rounds} rounds as stored")
            print(f"[{number}/{len(paths)}] {done.path}: {words}", flush=True)
        print(f"{same} of {len(paths)} runs came out as stored")
        return 0 if same == len(paths) else 1


@dataclass(frozen=True)
class StoreCommand:
    """Look at the stored runs of a folder, make the index over them anew, or play their first rounds again.

    Parameters
    ----------
    action
        What to do.
    """

    action: (
        Annotated[Rebuild, tyro.conf.subcommand("rebuild", prefix_name=False)]
        | Annotated[Info, tyro.conf.subcommand("info", prefix_name=False)]
        | Annotated[Replay, tyro.conf.subcommand("replay", prefix_name=False)]
    )

    def __call__(self) -> int:
        """Do it and return its exit status."""
        return self.action()


def _summary(found: Report, path: Path | None) -> str:
    parts = [f"{found.finished} finished", f"{found.failed} failed", f"{found.unfinished} unfinished"]
    parts += [f"{len(found.damaged)} damaged"] if found.damaged else []
    where = f"index: {path}" if path else "the index was kept in memory"
    return f"runs: {', '.join(parts)}; {where}"


def _complain(found: Report) -> int:
    for path, why in found.damaged.items():
        print(f"left out: {path}: {why}", file=sys.stderr)
    return 1 if found.damaged else 0
