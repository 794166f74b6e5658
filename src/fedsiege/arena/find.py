"""Finding the run folders under a root, with a print of each that changes when its outcome does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fedsiege.errors import RunError

OUTCOME = ("result.json", "failed.json")
BEGUN = ("config.yaml", "environment.json")
TOLD = ("rounds.jsonl", "timing.jsonl")
STARTED = ("rounds.jsonl", "environment.json", ".lock")


def is_run(names: set[str]) -> bool:
    """Return whether files of these names make a run folder: a configuration, and that it was begun or has ended."""
    return "config.yaml" in names and bool(names.intersection((*OUTCOME, *STARTED)))


def run_folders(root: Path, unreadable: dict[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the path relative to `root` (with slashes) and the print of every run folder, in no fixed order.

    A run folder holds no others; hidden folders and links to folders are not followed, and a folder whose name is not
    UTF-8 is passed over. A folder with an outcome and no configuration is told too, for it is damaged, and is searched
    like any other. The print tells size and time of the files from which a record is made; of a run that has not ended,
    of configuration, environment and costs alone.

    Parameters
    ----------
    root : Path
        Where to look.
    unreadable : dict, optional
        Takes up the folders that cannot be read, by path relative to `root`, with what is wrong.

    Raises
    ------
    RunError
        For a folder that cannot be read, unless `unreadable` takes it up.
    """
    waiting = [(str(root), ".")]
    while waiting:
        folder, relative = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except (FileNotFoundError, NotADirectoryError):  # Gone since its parent was listed.
            continue
        except OSError as error:
            message = cannot_be_read(folder, error)
            if unreadable is None:
                raise RunError(message) from error
            unreadable[relative] = message
            continue
        names = {entry.name for entry in entries}
        run = is_run(names)
        if run or names.intersection(OUTCOME):
            yield relative, _print(entries)
        if run:
            continue
        waiting += [
            (entry.path, entry.name if relative == "." else f"{relative}/{entry.name}")
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and _utf8(entry.name)
        ]


def cannot_be_read(path: Path | str, error: OSError) -> str:
    """Return what to say of a file or folder that the system does not let us read; it may be whole."""
    return f"{path} cannot be read: {error.strerror or error}; check its rights"


def _utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _print(entries: list[os.DirEntry[str]]) -> str:
    present = {entry.name: entry for entry in entries}
    # Of a run that has ended all that its record tells of: a copy under way brings the outcome before the rest.
    files = (*OUTCOME, *BEGUN, *TOLD) if any(name in present for name in OUTCOME) else BEGUN
    watched = {name: present[name] for name in (*files, "cost.json") if name in present}
    told = []
    for name, entry in sorted(watched.items()):
        try:
            state = entry.stat()
            told.append(f"{name} {state.st_size} {state.st_mtime_ns}")
        except OSError:  # Gone since the folder was listed, or out of reach.
            told.append(f"{name} gone")
    return ", ".join(told)
