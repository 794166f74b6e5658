"""A store: run folders under one root, and an index over them that answers questions quickly.

The folders are the truth. The index is brought up to date by looking at sizes and times, may be deleted at any moment,
and heals by itself: a damaged or outdated one is made anew, and where none can be written (a read-only folder, a full
disk) one in memory serves instead. Each of these says one line. Any number of processes may use a store.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from fedsiege.arena.find import cannot_be_read, is_run, run_folders
from fedsiege.arena.folder import Unreadable
from fedsiege.arena.index import COLUMNS, FILE, ForeignError, Index, Line, connect, discard
from fedsiege.arena.record import read_record
from fedsiege.errors import ConfigError, RunError, nearest

if TYPE_CHECKING:
    import polars as pl

    from fedsiege.arena.record import Record

T = TypeVar("T")

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


@dataclass(frozen=True)
class Report:
    """What a look at the folders found.

    Parameters
    ----------
    finished, failed, unfinished : int
        Runs by status.
    read, gone : int
        Folders that were read anew, and folders of the index that no longer exist.
    damaged : mapping of str to str
        What is wrong with the folders that are damaged or cannot be read, by path. Runs that were known before they
        could not be read any more are counted as they were.
    """

    finished: int
    failed: int
    unfinished: int
    read: int
    gone: int
    damaged: dict[str, str]

    @property
    def runs(self) -> int:
        """Runs that are known."""
        return self.finished + self.failed + self.unfinished


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)


def _within(path: str, folders: Mapping[str, str]) -> bool:
    """Return whether a path is one of these folders or lies in one."""
    if not folders or "." in folders:
        return bool(folders)
    pieces = path.split("/")
    return any("/".join(pieces[:depth]) in folders for depth in range(1, len(pieces) + 1))


def _as_known(folder: str, why: str, kept: set[str]) -> str:
    count = sum(_within(path, {folder: why}) for path in kept)
    return f"{why} (what was last seen of {count} run{'' if count == 1 else 's'} there is kept)" if count else why


class Store:
    """All runs under a folder.

    The first question after opening looks at the folders; `refresh` looks again.

    Parameters
    ----------
    root : Path
        Folder with run folders at any depth; the index is kept there as ``index.sqlite``.
    say : callable, optional
        Called with a line of text when the index had to be made anew or cannot be written; default: stderr.

    Raises
    ------
    RunError
        If the root is not a folder.
    """

    def __init__(self, root: Path, say: Callable[[str], None] | None = None) -> None:
        if not root.is_dir():
            raise RunError(f"{root} is not a folder; give one that holds runs, such as runs/")
        self.root = root
        self._say = say or _note
        self._index: Index | None = None
        try:
            # In a run folder of its own, nothing else is to be written.
            self._memory = is_run({entry.name for entry in root.iterdir()})
        except OSError as error:
            raise RunError(cannot_be_read(root, error)) from error
        self._looked = False
        self._guard = threading.RLock()

    @property
    def path(self) -> Path | None:
        """The file of the index; None while it is kept in memory."""
        return None if self._memory else self.root / FILE

    def refresh(self) -> Report:
        """Bring the index up to date with the folders, reading only those that changed.

        Raises
        ------
        RunError
            If another process writes to the index for longer than a minute.
        """
        return self._safely(lambda index: self._look(index, anew=False))

    def rebuild(self) -> Report:
        """Read every folder anew; errors as `refresh`."""
        return self._safely(lambda index: self._look(index, anew=True))

    def records(self, card: str | None = None, status: str | None = "finished", **where: Any) -> list[Record]:
        """Return stored runs in the order of their paths.

        Parameters
        ----------
        card : str, optional
            Id or hash of a card.
        status : {"finished", "failed", "unfinished"} or None
            None for all.
        **where
            Values of other fields: ``degree``, ``division``, ``dataset``, ``model``, ``attack``, ``defense``, their
            labels, ``seed``, ``config_hash``.

        Raises
        ------
        ConfigError
            For a field that the index does not know.
        """
        for name in where:
            if name not in COLUMNS:
                raise ConfigError(f"a store cannot be asked by {name!r}: {nearest(name, COLUMNS)}")
        asked = where if status is None else {**where, "status": status}
        return self._safely(lambda index: self._fresh(index).records(asked, card))

    def frame(self, card: str | None = None, status: str | None = "finished", **where: Any) -> pl.DataFrame:
        """Return the same as a table, with all columns of `fedsiege.arena.export.frame`."""
        from fedsiege.arena.export import frame

        return frame(self.records(card, status, **where), costs=True, origin=True)

    def counts(self) -> list[tuple[str | None, str | None, str, str, int]]:
        """Return card, card hash, degree, status and number of runs of each such group, in order."""
        return self._safely(lambda index: self._fresh(index).counts())

    def close(self) -> None:
        """Close the index; the next question opens it again."""
        with self._guard:
            if self._index is not None:
                self._index.close()
            self._index, self._looked = None, False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _fresh(self, index: Index) -> Index:
        if not self._looked:
            self._look(index, anew=False)
        return index

    def _look(self, index: Index, *, anew: bool) -> Report:
        # Known first: what another process adds while this one looks is then not taken for gone.
        known = index.known()
        closed: dict[str, str] = {}
        there = dict(run_folders(self.root, closed))
        changed = sorted(path for path, print_ in there.items() if anew or known.get(path) != print_)
        gone = {path for path in known.keys() - there.keys() if not _within(path, closed)}
        lines = [line for path in changed if (line := self._line(path, there[path], bool(known.get(path)), closed))]
        if lines or gone:
            index.write(lines, gone)
        self._looked = True
        totals = {"finished": 0, "failed": 0, "unfinished": 0}
        for *_, status, count in index.counts():
            totals[status] += count
        kept = {path for path, print_ in known.items() if print_ and _within(path, closed)}
        damaged = index.damaged() | {path: _as_known(path, why, kept) for path, why in closed.items()}
        return Report(**totals, read=len(changed), gone=len(gone), damaged=dict(sorted(damaged.items())))

    def _line(self, path: str, print_: str, known: bool, closed: dict[str, str]) -> Line | None:
        """Read a run folder; None if it is known and now cannot be read, which `closed` takes up."""
        try:
            return Line(path, print_, record=read_record(self.root / path, self.root))
        except (Unreadable, OSError) as error:
            why = cannot_be_read(self.root / path, error) if isinstance(error, OSError) else str(error)
            if not known:
                return Line(path, print_, damage=why)
            closed[path] = why
            return None
        except RunError as error:
            return Line(path, print_, damage=str(error))

    def _safely(self, ask: Callable[[Index], T]) -> T:
        """Ask the index; where it breaks, make it anew or go on in memory, and ask again."""
        with self._guard:
            for _ in range(2):
                try:
                    return ask(self._opened())
                except (sqlite3.Error, OSError) as error:
                    self._recover(error)
            try:
                return ask(self._opened())
            except (sqlite3.Error, OSError) as error:
                if not self._memory:
                    self._go_to_memory(str(error))
                    return ask(self._opened())
                raise RunError(f"the runs of {self.root} cannot be indexed: {error}") from error

    def _opened(self) -> Index:
        if self._index is None:
            self._index = connect(self.path)
            if self._index.outdated:
                self._say(f"{self.path} is made anew from the run folders: another version of FedSiege wrote it")
        return self._index

    def _recover(self, error: sqlite3.Error | OSError) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        main = None if code is None else code & 0xFF
        self.close()
        if main in _BUSY:
            raise RunError(f"another process has been writing to {self.path} for long; try again later") from error
        path = self.path
        broken = isinstance(error, sqlite3.Error) and (main is None or main in _BROKEN)
        if path is None or not broken or isinstance(error, ForeignError):
            self._go_to_memory(str(error))
            return
        try:
            discard(path)
        except OSError as refused:
            self._go_to_memory(f"it is damaged, and the folder cannot be written: {refused.strerror or refused}")
        else:
            self._say(f"{path} is made anew from the run folders: it is damaged ({error})")

    def _go_to_memory(self, why: str) -> None:
        self.close()
        self._say(f"{self.root / FILE} cannot be used ({why}); the runs are indexed in memory this time")
        self._memory = True
