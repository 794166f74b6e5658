"""The one set of numba options that all kernels share, and what makes a kernel's bits the same in every process.

``fastmath`` is limited to flags that let sums be vectorised and products be fused; NaN and infinity keep their
meaning, since a hostile upload may hold them.

With these flags the bits of a sum depend on how its loop was optimised, and numba optimises a parallel kernel's
loop several times over while it compiles: a process that has just compiled a kernel runs another copy of the loop
than one that read the kernel from the cache, and of two kernels that call the same function, the one loaded first
lends its copy to both. A resumed run could so differ from one never killed. Here every kernel runs from its cached
object code, and that code is linked alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.codegen import JITCPUCodegen

FLAGS = {"contract", "reassoc", "nsz", "arcp"}
_READIED: list[str] = []


def readied() -> int:
    """Return how many kernels this process has compiled or read from the cache, signatures counted apart.

    A stretch of work in which the number grows took longer than it will again.
    """
    return len(_READIED)


def njit(parallel: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator ``numba.njit`` with the project's options and an on-disk cache."""
    options = numba.njit(cache=True, fastmath=FLAGS, parallel=parallel, nogil=True, error_model="numpy")

    def decorate(function: Callable[..., Any]) -> Any:
        kernel = options(function)
        if hasattr(kernel, "_cache"):  # with NUMBA_DISABLE_JIT it is the plain function
            kernel._cache = _Alone(kernel._cache, function, options)
        return kernel

    return decorate


class _Alone:
    """A kernel's cache that compiles what it lacks, and gives each object an execution engine of its own.

    Parameters
    ----------
    cache : numba's cache of the kernel.
    function, options : what the kernel is compiled from, by another dispatcher, when the cache lacks it.
    """

    def __init__(self, cache: Any, function: Callable[..., Any], options: Callable[..., Any]) -> None:
        self._cache, self._function, self._options = cache, function, options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the compiled `signature`, None where the cache cannot be written: numba then runs what it compiled."""
        _READIED.append(self._function.__name__)
        found = self._load(signature, context)
        if found is None:
            self._options(self._function).compile(signature)
            found = self._load(signature, context)
        return found

    def _load(self, signature: Any, context: Any) -> Any:
        shared = context._internal_codegen
        context._internal_codegen = JITCPUCodegen("fedsiege")
        try:
            return self._cache.load_overload(signature, context)
        finally:
            context._internal_codegen = shared
