"""``failed.json``: what ended a run, kept in its folder until it is started anew."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fedsiege.arena.folder import RunFolder
from fedsiege.errors import FedSiegeError
from fedsiege.files import write_atomic


def describe(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON values: one line, its class, its traceback, and the time (UTC)."""
    text = str(error) if isinstance(error, FedSiegeError) else f"{type(error).__name__}: {error}"
    return {
        "error": " ".join(text.split()),
        "kind": type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def record(folder: RunFolder, error: BaseException) -> None:
    """Write ``failed.json``, if the folder still takes it; the error itself is more important."""
    with contextlib.suppress(OSError, FedSiegeError):
        write_atomic(folder.failed, (json.dumps(describe(error), indent=2) + "\n").encode())


@contextmanager
def recorded(folder: RunFolder, *harmless: type[BaseException]) -> Iterator[None]:
    """Record what goes wrong inside, `harmless` exceptions and interrupts excepted, and let it pass on."""
    try:
        yield
    except harmless:
        raise
    except Exception as error:
        record(folder, error)
        raise
