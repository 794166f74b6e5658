"""Any torch module of the user's own as a federated classifier."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from fedsiege.capabilities import Capability
from fedsiege.errors import ConfigError
from fedsiege.learners.classifier import ClassifierConfig
from fedsiege.source import located


@contextmanager
def _here() -> Iterator[None]:
    """Let modules be found in the current folder first."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@dataclass(frozen=True)
class TorchModuleConfig(ClassifierConfig):
    """Torch module: any network of your own, from an importable function that makes it.

    Called as ``make(shape, classes)``; the module must have no buffers. Parameters that require no gradient are not
    trained: their part of an upload is zero.

    Reference: your own.

    Parameters
    ----------
    lr, epochs, batch, device, together
        See `ClassifierConfig`.
    make : str
        ``"package.module:function"``, importable, or in the folder from which the run is
        started; it gets the shape of an input and the number of classes.
    """

    name: ClassVar[str] = "torch-module"
    provides: ClassVar[frozenset[Capability]] = frozenset({"labels", "root", "virtual", "vote"})
    make: str = ""

    def sources(self) -> dict[str, Path]:
        """Return the file that `make` stands in, by its module; empty if there is none."""
        package = self.make.partition(":")[0]
        try:
            with _here():
                spec = located(package)
        except (ImportError, ValueError):
            spec = None
        return {package: Path(spec.origin)} if spec and spec.has_location and spec.origin else {}

    def network(self, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
        """Return the user's network; ConfigError if it cannot be made."""
        package, _, function = self.make.partition(":")
        try:
            with _here():
                module = getattr(importlib.import_module(package), function)(shape, classes)
        except Exception as error:
            raise ConfigError(
                f"torch-module.make = {self.make!r} failed: {type(error).__name__}: {error}; it must name "
                f"an importable function as 'package.module:function' that takes (shape, classes)"
            ) from error
        if not isinstance(module, torch.nn.Module):
            what = type(module).__name__
            raise ConfigError(f"torch-module.make = {self.make!r} returned {what}, which is not a torch.nn.Module")
        return module
