"""Do runs rest on the same plug-in files: a configuration names files, and only the stored SHA-256 says what they held.

Every run of a configuration with plug-ins is held to all of them, for one file may use another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedsiege.arena.folder import RunFolder
from fedsiege.data.cache import sha256
from fedsiege.errors import RunError


def sums(files: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each plug-in file; DataError if one cannot be read."""
    return {file: sha256(Path(file)) for file in files}


def told(folder: RunFolder) -> dict[str, str]:
    """Return the sums that a run wrote down, by file; empty if it told none, or cannot be read."""
    try:
        found = folder.read_environment().get("plugins")
    except (RunError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def objection(folder: RunFolder, files: Sequence[str], became: str) -> str | None:
    """Return what is wrong with a stored run, as an error with its remedy; None if nothing is.

    Parameters
    ----------
    folder : RunFolder
        The run. One that told no sum of a file, as older versions did not, is not held to it.
    files : sequence of str
        The plug-in files of its configuration.
    became : str
        What became of it on those that it told: "begun", "finished".
    """
    before = told(folder)
    for file, now in sums(files).items() if before else ():
        if (then := str(before.get(file, now))) != now:
            return (
                f"{folder.path} was {became} on another version of plug-in file {file}: SHA-256 {now[:12]} now, "
                f"{then[:12]} then; put the old file back, or start in a new folder with --out"
            )
    return None


def refuse_edited(folder: RunFolder, files: Sequence[str], became: str) -> None:
    """Refuse a stored run to which there is an `objection` (RunError)."""
    if reason := objection(folder, files, became):
        raise RunError(reason)
