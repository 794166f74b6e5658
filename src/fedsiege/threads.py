"""How many threads torch and the kernels of numba compute with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import torch

from fedsiege.errors import ConfigError

VARIABLE = "FEDSIEGE_THREADS"
"""Environment variable that says how many threads a run uses."""


def asked_threads() -> int:
    """Return the threads that ``FEDSIEGE_THREADS`` asks for, 0 if it is not set; ConfigError if that is no number."""
    value = os.environ.get(VARIABLE, "").strip() or "0"
    if not (value.isascii() and value.isdigit()):
        raise ConfigError(f"{VARIABLE}={value} must be a whole number of threads; unset it to use all cores")
    return int(value)


def use_threads(count: int) -> None:
    """Let torch and numba compute with `count` threads.

    Both have to be told: where the two share one OpenMP, numba passes its own number on to torch with every kernel.
    numba goes first, since the first call of all starts its threads, which sets torch's number to that of the cores.
    """
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(min(count, most))
    torch.set_num_threads(count)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch and numba compute with `count` threads for a while."""
    before = torch.get_num_threads(), numba.get_num_threads()
    use_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
