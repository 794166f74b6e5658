"""A small network for 8 × 8 digits, its data and its training."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

TEST = 297


def network() -> nn.Module:
    """Return the network, the same values each time; no normalisation by batches, whose statistics are not learnt."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 32), nn.Tanh(),
        nn.Linear(32, 10),
    )  # fmt: skip


def digits(place: int | None = None, places: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training digits of one of `places` clients, or for None the test digits, normalised."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(y))
    mine = order[-TEST:] if place is None else np.array_split(order[:-TEST], places)[place]
    return torch.tensor((x[mine] - 4.9) / 6.0).float().view(-1, 1, 8, 8), torch.tensor(y[mine])


def train(net: nn.Module, data: tuple[torch.Tensor, torch.Tensor], lr: float, seed: int) -> float:
    """Take one pass of SGD in batches of 64; return the mean loss."""
    x, y = data
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    total = 0.0
    for part in torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x[part]), y[part])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(part)
    return total / len(y)


def accuracy(net: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Return the share of right answers."""
    with torch.no_grad():
        return float((net(data[0]).argmax(1) == data[1]).float().mean())
