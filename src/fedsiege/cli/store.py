"""``fedsiege store``: the index over stored runs, looked at or made anew."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import print_json, show_table, table

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
class StoreCommand:
    """Look at the stored runs of a folder, or make the index over them anew.

    Parameters
    ----------
    action
        What to do.
    """

    action: (
        Annotated[Rebuild, tyro.conf.subcommand("rebuild", prefix_name=False)]
        | Annotated[Info, tyro.conf.subcommand("info", prefix_name=False)]
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
