"""Other people's implementations as oracles."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from unittest.mock import MagicMock

import pytest


class _Stub(ModuleType):
    """A module in which every name exists and can be called, as byzfl's benchmark does with torchvision."""

    def __getattr__(self, name: str) -> MagicMock:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


def byzfl() -> ModuleType:
    """Return the package byzfl; the test is skipped where it is absent, except in CI, which must have it."""
    if "byzfl" in sys.modules:
        return sys.modules["byzfl"]
    if importlib.util.find_spec("byzfl") is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have byzfl installed (pip install --no-deps byzfl)")
        pytest.skip("byzfl is not installed")
    lent = [n for n in ("torchvision", "seaborn") if importlib.util.find_spec(n) is None]
    stubs = [*lent, *(f"{n}.{part}" for n in lent for part in ("datasets", "transforms", "models"))]
    for name in stubs:
        sys.modules[name] = _Stub(name)
    try:
        return importlib.import_module("byzfl")
    finally:
        # Nothing else may take the stubs for the real packages.
        for name in stubs:
            sys.modules.pop(name, None)
