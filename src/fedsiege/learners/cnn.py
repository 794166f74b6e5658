"""The CNN of the ICML 2024 paper's tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsiege.capabilities import Capability
from fedsiege.errors import ConfigError
from fedsiege.learners.classifier import ClassifierConfig
from fedsiege.learners.networks import table_cnn


@dataclass(frozen=True)
class CNNConfig(ClassifierConfig):
    """CNN: two convolutions and a hidden layer, 30-50-100 wide on grey images and 32-64-512 on colour images.

    Reference: Xie et al., FedREDefense, ICML 2024, Tables 5 and 6 (padding left open there; none here).
    """

    name: ClassVar[str] = "cnn"
    provides: ClassVar[frozenset[Capability]] = frozenset({"labels", "root", "virtual", "vote"})

    def network(self, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
        """Return the network; ConfigError if images are smaller than 10 × 10."""
        if min(shape[1:]) < 10:
            raise ConfigError(f"model 'cnn' needs images of at least 10 × 10 pixels, these are {shape[1:]}; take 'mlp'")
        return table_cnn((shape[0], shape[1], shape[2]), classes)
