"""The one set of numba options that all kernels share.

``fastmath`` is limited to flags that let sums be vectorised and products be fused; NaN and infinity keep their
meaning, since a hostile upload may hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

FLAGS = {"contract", "reassoc", "nsz", "arcp"}


def njit(parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator ``numba.njit`` with the project's options and an on-disk cache."""
    return numba.njit(cache=True, fastmath=FLAGS, parallel=parallel, nogil=True, error_model="numpy")
