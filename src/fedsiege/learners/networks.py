"""The networks of the classifiers, as plain torch modules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


def table_cnn(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return the CNN of Tables 5 and 6 of Xie et al. (ICML 2024).

    Two 3×3 convolutions without padding, each with ReLU and 2×2 max pooling, and one hidden layer: 30, 50 and 100
    wide for one input channel (Table 5), 32, 64 and 512 for three (Table 6). The tables leave padding open. ReLU
    follows pooling, which gives the same values as the other order at a quarter of ReLU's cost.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, height, width)``, at least 10 × 10.
    classes : int
        Number of classes.
    """
    channels, height, width = shape
    a, b, hidden = (30, 50, 100) if channels == 1 else (32, 64, 512)
    size = ((height - 2) // 2 - 2) // 2 * (((width - 2) // 2 - 2) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, a, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(a, b, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(b * size, hidden), nn.ReLU(), nn.Linear(hidden, classes),
    )  # fmt: skip


def conv_net(shape: tuple[int, int, int], classes: int, width: int = 128) -> nn.Sequential:
    """Return the ConvNet of dataset distillation, which the public code of Xie et al. (ICML 2024) runs.

    Three blocks of a 3×3 convolution, instance normalisation (as GroupNorm with one group a channel), ReLU and 2×2
    average pooling, then a linear layer. One-channel images are padded by 3, so that 28 becomes 32.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, height, width)``.
    classes : int
        Number of classes.
    width : int
        Channels of each block.
    """
    channels, height, breadth = shape
    layers: list[nn.Module] = []
    for depth in range(3):
        padding = 3 if depth == 0 and channels == 1 else 1
        layers += [
            nn.Conv2d(channels if depth == 0 else width, width, 3, padding=padding),
            nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2),
        ]  # fmt: skip
        height, breadth = (height + 2 * padding - 2) // 2, (breadth + 2 * padding - 2) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * height * breadth, classes))


def perceptron(shape: tuple[int, ...], classes: int, hidden: Sequence[int]) -> nn.Sequential:
    """Return a multilayer perceptron with ReLU between its layers.

    Parameters
    ----------
    shape : tuple of int
        Shape of an input, flattened.
    classes : int
        Number of classes.
    hidden : sequence of int
        Widths of the hidden layers.
    """
    widths = [int(torch.Size(shape).numel()), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
