"""Do runs rest on the same data: a configuration names data, and only the stored SHA-256 says what they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsiege.arena.config import DatasetConfig
from fedsiege.arena.folder import RunFolder
from fedsiege.data.cache import sums
from fedsiege.errors import DataError, RunError

_SUM = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"(.+?)=[0-9a-f]{64}(?: |$)")
REMEDY = "put the old data back, or start in a new folder with --out"


def told(folder: RunFolder) -> dict[str, Any] | None:
    """Return what a run wrote down of its data, with ``sha256``; None if it has told no sum, or cannot be read."""
    try:
        data = folder.read_environment().get("data")
    except (RunError, OSError, AttributeError):
        return None
    return data if isinstance(data, dict) and data.get("sha256") else None


def refuse_others(folder: RunFolder, data: Mapping[str, Any]) -> None:
    """Refuse to go on with a run on `data` that was begun on others (RunError); one that told no sum goes on."""
    before = told(folder)
    if before is not None and before["sha256"] != data.get("sha256"):
        raise RunError(_others(f"{folder.path} was begun", before, str(data.get("sha256"))))


def refuse_replaced(folder: RunFolder) -> None:
    """Refuse a finished run whose data file has been replaced since (RunError)."""
    data = told(folder)
    if data is not None and (now := replaced(data)) is not None:
        raise RunError(_others(f"{folder.path} was finished", data, now))


def replaced(data: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 that the files of `data` have now, where it is another one; each file is read once a process.

    None if they are as they were, and where that cannot be told: data without a file of their own, and files that are
    not here any more, which may be elsewhere.
    """
    then, source = str(data["sha256"]), Path(str(data.get("source")))
    if data.get("format") in (None, "none"):  # Generated, or part of a package.
        return None
    files = [source] if _SUM.fullmatch(then) else [_folder(source) / name for name in _NAMED.findall(then)]
    try:
        now = sums(tuple(files))
    except DataError:
        return None
    return None if now == then else now


def _folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _others(what: str, before: Mapping[str, Any], now: str) -> str:
    source = before.get("source")
    return f"{what} on other data ({source}): SHA-256 {_short(now)} now, {_short(str(before['sha256']))} then; {REMEDY}"


def _short(told: str) -> str:
    """Return the first digits of each of the sums in a text."""
    return _SUM.sub(lambda found: found[0][:12], told)


class GridData:
    """The data that the cells of a grid were made on: those of one data set must be the same.

    What the files have now is looked up once for each data set, so that a grid of many thousand finished cells is
    not slowed.
    """

    def __init__(self) -> None:
        self._now: dict[tuple[str, str], str | None] = {}
        self._first: dict[tuple[Any, ...], tuple[str, str]] = {}

    def objection(self, dataset: DatasetConfig, path: Path, label: str) -> str | None:
        """Return what is wrong with the data of a finished cell, as an error with its remedy; None if nothing is.

        Parameters
        ----------
        dataset : DatasetConfig
            The cell's data set.
        path : Path
            Its run folder.
        label : str
            How to call it.
        """
        data = told(RunFolder(path))
        if data is None:
            return None
        mine, source = str(data["sha256"]), str(data.get("source"))
        if (source, mine) not in self._now:
            self._now[source, mine] = replaced(data)
        if (now := self._now[source, mine]) is not None:
            return _others(f"{path} was finished", data, now)
        # A data set by name may be packed in several ways; only like is compared with like.
        packed = tuple(_NAMED.findall(mine)) or Path(source).name
        other, theirs = self._first.setdefault((dataset, data.get("format"), packed), (label, mine))
        if theirs == mine:
            return None
        return (
            f"{path} was finished on other data ({source}) than {other}: SHA-256 {_short(mine)}, there "
            f"{_short(theirs)}; move the folder whose data are wrong away and start again"
        )
