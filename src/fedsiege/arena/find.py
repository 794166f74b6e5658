"""Finding the run folders under a root, with a print of each that changes when its outcome does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

OUTCOME = ("result.json", "failed.json")
BEGUN = ("config.yaml", "environment.json")
STARTED = ("rounds.jsonl", "environment.json", ".lock")


def is_run(names: set[str]) -> bool:
    """Return whether a folder with files of these names is a run folder: one with an outcome, or a run that began."""
    return bool(names.intersection(OUTCOME)) or ("config.yaml" in names and bool(names.intersection(STARTED)))


def run_folders(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the path relative to `root` (with slashes) and the print of every run folder, in no fixed order.

    A run folder holds no others; hidden folders and links to folders are not followed, and a folder that cannot be
    read, or whose name is not UTF-8, is passed over. The print tells size and time of the files of an outcome, or of
    configuration and environment where there is none yet, and of the costs.
    """
    waiting = [(str(root), ".")]
    while waiting:
        folder, relative = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError:
            continue
        if is_run({entry.name for entry in entries}):
            yield relative, _print(entries)
            continue
        waiting += [
            (entry.path, entry.name if relative == "." else f"{relative}/{entry.name}")
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and _utf8(entry.name)
        ]


def _utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _print(entries: list[os.DirEntry[str]]) -> str:
    present = {entry.name: entry for entry in entries}
    files = OUTCOME if any(name in present for name in OUTCOME) else BEGUN
    watched = {name: present[name] for name in (*files, "cost.json") if name in present}
    told = []
    for name, entry in sorted(watched.items()):
        try:
            state = entry.stat()
            told.append(f"{name} {state.st_size} {state.st_mtime_ns}")
        except OSError:  # Gone since the folder was listed.
            told.append(f"{name} gone")
    return ", ".join(told)
