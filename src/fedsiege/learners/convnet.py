"""The ConvNet of the public code of FedREDefense (ICML 2024); the paper names the CNN of its Tables 5 and 6 alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, require
from fedsiege.errors import ConfigError
from fedsiege.learners.classifier import ClassifierConfig
from fedsiege.learners.networks import conv_net


@dataclass(frozen=True)
class ConvNetConfig(ClassifierConfig):
    """ConvNet: three blocks of convolution, instance normalisation and average pooling.

    Reference: Zhao et al., Dataset Condensation, ICLR 2021; the model of the public code of Xie et al., ICML 2024.

    Parameters
    ----------
    lr, epochs, batch, device, together
        See `ClassifierConfig`.
    width : int
        Channels of each block, ≥ 1.
    """

    name: ClassVar[str] = "convnet"
    provides: ClassVar[frozenset[Capability]] = frozenset({"labels", "root", "virtual", "vote"})
    width: int = 128

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require(is_count(self.width) and self.width >= 1, "convnet.width", self.width, "an int of at least 1")

    def network(self, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
        """Return the network; ConfigError if images are smaller than 8 × 8."""
        if min(shape[1:]) < 8:
            raise ConfigError(f"model 'convnet' needs images of at least 8 × 8 pixels, these are {shape[1:]}")
        return conv_net((shape[0], shape[1], shape[2]), classes, self.width)
