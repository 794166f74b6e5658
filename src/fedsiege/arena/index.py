"""The SQLite file over a store's run folders: opened, read, written in one transaction, thrown away when broken.

Nothing in it is the truth; whatever is lost here is read again from the folders.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsiege import __version__
from fedsiege.arena.record import FIELDS, Record

FILE = "index.sqlite"
PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

SCHEMA = 2
COLUMNS = (
    "status", "card", "card_hash", "degree", "division", "dataset", "model", "attack", "defense", "attack_label",
    "defense_label", "seed", "config_hash",
)  # fmt: skip
"""Fields of a record by which the index is asked."""

APPLICATION = 0x46536765
"""Marks the file as an index of FedSiege, so that no other program's file is ever thrown away."""

_TABLE = f"""
CREATE TABLE runs (
    path TEXT PRIMARY KEY, print TEXT NOT NULL, damage TEXT, record TEXT, {", ".join(COLUMNS)}
) WITHOUT ROWID
"""
_BY_CARD = "CREATE INDEX by_card ON runs (card, card_hash)"
_NAMES = ("path", "print", "damage", "record", *COLUMNS)
_PUT = f"INSERT OR REPLACE INTO runs ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"
# The version counts, because what a setting's default is, and so what a run is called, belongs to it.
_STAMP = int(hashlib.sha256(repr((SCHEMA, __version__, FIELDS)).encode()).hexdigest()[:7], 16)


class ForeignError(sqlite3.DatabaseError):
    """The file belongs to another program."""


@dataclass(frozen=True)
class Line:
    """A run folder in the index: its path and print, and its record or what is wrong with it."""

    path: str
    print: str
    record: Record | None = None
    damage: str | None = None

    def values(self) -> tuple[Any, ...]:
        """Return the values of a row."""
        record = self.record
        asked = [None if record is None else getattr(record, name) for name in COLUMNS]
        return self.path, self.print, self.damage, None if record is None else record.dumps(), *asked


class Index:
    """A connection to an index.

    Parameters
    ----------
    path : Path or None
        The file; None keeps the index in memory.

    Attributes
    ----------
    outdated : bool
        Whether another version wrote it, so that it was emptied.

    Raises
    ------
    ForeignError
        If it is a database of another program.
    sqlite3.Error
        If it cannot be opened or is no database.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.outdated = path, False
        where = ":memory:" if path is None else str(path)
        self._db = sqlite3.connect(where, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            if path is not None:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        if self._pragma("user_version") == _STAMP:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have made it while this one waited.
            if self._pragma("user_version") != _STAMP:
                used = bool(self._db.execute("SELECT name FROM sqlite_schema").fetchall())
                if used and self._pragma("application_id") != APPLICATION:
                    raise ForeignError("it is a database of another program")
                self.outdated = used
                self._make()
            self._db.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _make(self) -> None:
        self._db.execute("DROP TABLE IF EXISTS runs")
        self._db.execute(_TABLE)
        self._db.execute(_BY_CARD)
        self._db.execute(f"PRAGMA application_id = {APPLICATION}")
        self._db.execute(f"PRAGMA user_version = {_STAMP}")

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def known(self) -> dict[str, str]:
        """Return the print of every folder in the index by its path; empty for one that could not be read."""
        return dict(self._db.execute("SELECT path, CASE WHEN damage IS NULL THEN print ELSE '' END FROM runs"))

    def write(self, put: Iterable[Line], drop: Iterable[str]) -> None:
        """Take in and leave out lines, all of them or, after an error, none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("DELETE FROM runs WHERE path = ?", ((path,) for path in drop))
            self._db.executemany(_PUT, (line.values() for line in put))
            self._db.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def records(self, where: Mapping[str, Any], card: str | None = None) -> list[Record]:
        """Return the records whose columns have these values, in the order of their paths.

        Parameters
        ----------
        where : mapping
            Values by name of `COLUMNS`.
        card : str, optional
            Id or hash of a card.
        """
        conditions = ["record IS NOT NULL", *(f"{name} IS ?" for name in where)]
        values = list(where.values())
        if card is not None:
            conditions.append("(card = ? OR card_hash = ?)")
            values += [card, card]
        rows = self._db.execute(f"SELECT record FROM runs WHERE {' AND '.join(conditions)} ORDER BY path", values)
        try:
            return [Record.loads(text) for (text,) in rows]
        except (ValueError, TypeError) as error:
            raise sqlite3.DatabaseError(f"a row is damaged: {error}") from error

    def damaged(self) -> dict[str, str]:
        """Return what is wrong with the folders that cannot be read, by path."""
        return dict(self._db.execute("SELECT path, damage FROM runs WHERE damage IS NOT NULL ORDER BY path"))

    def counts(self) -> list[tuple[str | None, str | None, str, str, int]]:
        """Return card, card hash, degree, status and number of runs of each such group, in order."""
        asked = "SELECT card, card_hash, degree, status, COUNT(*) FROM runs WHERE record IS NOT NULL"
        return list(self._db.execute(f"{asked} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"))

    def sound(self) -> bool:
        """Return whether the pages of the file are in order."""
        return self._db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _healthy(path: Path) -> bool:
    try:
        index = Index(path)
    except sqlite3.Error:
        return False
    try:
        index.records({})
        return index.sound()
    except sqlite3.Error:
        return False
    finally:
        index.close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from opening or removing the index; OSError if the folder cannot be written."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def connect(path: Path | None) -> Index:
    """Return the index of a file, made if there is none, or one in memory; errors as `Index`."""
    if path is None:
        return Index(None)
    try:
        # SQLite does not wait where two processes turn on the write-ahead log of a new file at once.
        with _alone(path):
            return Index(path)
    except OSError:  # What can be read in a read-only folder needs no such care.
        return Index(path)


def discard(path: Path) -> None:
    """Remove an index that is broken; one that another process has mended meanwhile stays.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    with _alone(path):
        if not _healthy(path):
            for end in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
