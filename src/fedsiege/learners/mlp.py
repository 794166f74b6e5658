"""A multilayer perceptron for small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.learners.classifier import ClassifierConfig
from fedsiege.learners.networks import perceptron


@dataclass(frozen=True)
class MLPConfig(ClassifierConfig):
    """MLP: hidden layers with ReLU on flattened images, for digits and for quick experiments.

    Reference: McMahan et al., AISTATS 2017 (their 2NN has two hidden layers of 200).

    Parameters
    ----------
    lr : float
        Learning rate of local SGD, > 0.
    epochs, batch, device, together
        See `ClassifierConfig`.
    hidden : tuple of int
        Widths of the hidden layers, each ≥ 1.
    """

    name: ClassVar[str] = "mlp"
    provides: ClassVar[frozenset[Capability]] = frozenset({"labels", "root", "virtual", "vote"})
    lr: float = 0.05
    hidden: tuple[int, ...] = (64,)

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        ok = all(is_count(width) and width >= 1 for width in self.hidden)
        require(ok, "mlp.hidden", self.hidden, "ints of at least 1")

    def network(self, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
        """Return the network."""
        return perceptron(shape, classes, self.hidden)
