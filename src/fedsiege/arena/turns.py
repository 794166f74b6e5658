"""Publications take turns: each reads what is there, adds to it and writes it back, which two at once would undo."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedsiege.errors import RunError

LOCK = ".publishing.lock"


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Wait until no other process publishes in `folder`, and keep others out.

    The lock file is gone afterwards, as folders of publications are kept under version control.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    path = folder / LOCK
    try:
        handle = _locked(path)
    except OSError as error:
        raise RunError(f"cannot publish in {folder}: {error.strerror or error}; choose another folder") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path) -> int:
    """Return the open file of a lock that this process holds."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        # Whoever had its turn before has removed the file that we waited for.
        os.close(handle)
