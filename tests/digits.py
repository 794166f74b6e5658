"""Real training, small: clients with two classes each of scikit-learn's 8 × 8 digits, and a network of two layers."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from fedsiege.defenses import DefenseView
from fedsiege.learners.virtual import ModuleTask
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch
from tests.worlds import StaticModel

SHAPE = (1, 8, 8)


def spec_of(net: nn.Module) -> ModelSpec:
    return ModelSpec(tuple(BlockSpec(name, tuple(p.shape)) for name, p in net.named_parameters()))


def perceptron() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def convolutional() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2), nn.GroupNorm(6, 6), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 10),
    )  # fmt: skip


@cache
def samples() -> tuple[torch.Tensor, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy((x - x.mean()) / x.std()).float().view(-1, *SHAPE), y


class Digits:
    """Clients that train `net` for an epoch; what they upload is fixed by client and round."""

    def __init__(self, net: nn.Module | None = None) -> None:
        self.net = perceptron() if net is None else net
        self.spec = spec_of(self.net)
        self.task = ModuleTask(self.net, SHAPE, 10, self.spec)
        self.model = StaticModel({name: p.detach().clone() for name, p in self.net.named_parameters()})

    def update(self, client: int, round_: int = 1) -> dict[str, torch.Tensor]:
        x, y = samples()
        classes = generator(0, "classes", client).choice(10, 2, replace=False)
        rng = generator(0, "samples", client, round_)
        mine = rng.choice(np.flatnonzero(np.isin(y, classes)), 200, replace=False)
        params = {name: p.clone().requires_grad_() for name, p in self.model.params.items()}
        for batch in np.split(mine, range(32, 200, 32)):
            output = torch.func.functional_call(self.net, params, (x[batch],))
            loss = nn.functional.cross_entropy(output, torch.from_numpy(y[batch]))
            grads = torch.autograd.grad(loss, list(params.values()))
            params = {n: (p - 1e-2 * g).detach().requires_grad_() for (n, p), g in zip(params.items(), grads)}
        return {name: p.detach() - self.model.params[name] for name, p in params.items()}

    def honest(self, clients: list[int], round_: int = 1) -> UpdateBatch:
        each = [self.update(client, round_) for client in clients]
        blocks = {name: DenseBlock(torch.stack([u[name] for u in each])) for name in self.spec.names}
        return UpdateBatch(np.array(clients), np.full(len(clients), 200.0), blocks)

    def view(self, round_: int = 1) -> DefenseView:
        return DefenseView(self.spec, self.model, 3, round_, 1.0, virtual=self.task)


def random_signs(updates: UpdateBatch, seed: int = 0) -> UpdateBatch:
    """Return the uploads with every coordinate's sign drawn anew."""
    rng = torch.Generator().manual_seed(seed)
    signs = {n: torch.randint(0, 2, b.values.shape, generator=rng) * 2 - 1 for n, b in updates.blocks.items()}  # type: ignore[attr-defined]
    blocks = {n: DenseBlock(b.values * signs[n]) for n, b in updates.blocks.items()}  # type: ignore[attr-defined]
    return UpdateBatch(updates.clients, updates.counts, blocks)
