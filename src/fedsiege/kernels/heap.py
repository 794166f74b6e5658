"""Memory that a process frees stays with it."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``, from its <malloc.h>."""

LARGE = 2**30
"""Bytes of the smallest block that is given back at once."""


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed for what is asked for next; elsewhere do nothing.

    By default it hands blocks above a few MiB back to the system, which clears and maps them anew, page by page, for
    every intermediate result of a network: a quarter to a third of the time of training one.

    Returns
    -------
    bool
        Whether the allocator was told.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGE)) and bool(mallopt(TRIM_THRESHOLD, LARGE))
