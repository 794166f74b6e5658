"""Local SGD of classifiers, one client after another or all clients as one batched computation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy

Params = dict[str, torch.Tensor]
CHUNK = 2**30
"""Bytes of inputs and parameters of clients that train as one computation."""
FELT = 0.01
"""Share of an update by which it may differ, trained together or one by one."""


@dataclass(frozen=True)
class Shard:
    """What one client trains on: ``x`` float ``(m, *shape)``, ``y`` int64 ``(m,)``, and its batches in order.

    Parameters
    ----------
    x, y : torch.Tensor
        Inputs and labels.
    order : numpy.ndarray
        int64 ``(epochs, m)``: a permutation of the samples for each epoch.
    seed : int
        Of what the network itself draws in training.
    """

    x: torch.Tensor
    y: torch.Tensor
    order: np.ndarray
    seed: int = 0

    def batches(self, size: int) -> list[np.ndarray]:
        """Return the samples of each step; the last batch of an epoch may be smaller."""
        return [epoch[i : i + size] for epoch in self.order for i in range(0, epoch.size, size)]


def one_by_one(
    module: torch.nn.Module, params: Params, shards: Sequence[Shard], lr: float, batch: int
) -> tuple[Params, np.ndarray]:
    """Train every client from `params` by plain SGD on the mean cross-entropy of each batch.

    Parameters
    ----------
    module : torch.nn.Module
        The network; its own parameters are overwritten. Those that require no gradient, or that its output does not
        read, stay as in `params`.
    params : dict of str to torch.Tensor
        Where every client starts.
    shards : sequence of Shard
        The clients' data; a client without samples stays where it is.
    lr : float
        Learning rate.
    batch : int
        Batch size.

    Returns
    -------
    updates : dict of str to torch.Tensor
        ``(n, *shape)``: trained minus starting parameters.
    loss : numpy.ndarray
        float64 ``(n,)``: mean loss over the client's steps, NaN without samples.
    """
    device = next(iter(params.values())).device
    own = dict(module.named_parameters())
    names, tensors = list(own), list[torch.Tensor](own.values())
    moving = [tensor for tensor in tensors if tensor.requires_grad]
    updates = {name: torch.empty((len(shards), *p.shape), dtype=p.dtype, device=p.device) for name, p in params.items()}
    losses = np.full(len(shards), np.nan)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for i, shard in enumerate(shards):
            with torch.no_grad():
                torch._foreach_copy_(tensors, [params[name] for name in names])
            torch.manual_seed(shard.seed)
            seen = []
            for step in shard.batches(batch):
                index = torch.from_numpy(step)
                loss = cross_entropy(module(shard.x[index]), shard.y[index])
                grads = torch.autograd.grad(loss, moving, materialize_grads=True)
                with torch.no_grad():
                    torch._foreach_add_(moving, grads, alpha=-lr)
                seen.append(loss.detach())
            if seen:
                losses[i] = float(torch.stack(seen).double().mean())
            with torch.no_grad():
                for name, tensor in zip(names, tensors, strict=True):
                    torch.sub(tensor, params[name], out=updates[name][i])
    return updates, losses


def all_at_once(
    module: torch.nn.Module, params: Params, shards: Sequence[Shard], lr: float, batch: int
) -> tuple[Params, np.ndarray]:
    """Do what `one_by_one` does with the clients' networks side by side; equal up to rounding.

    Clients with fewer steps than others wait; batches smaller than others are filled up with samples of weight zero.
    Clients are taken in chunks whose inputs and parameters fit in `CHUNK` bytes. Not every network can be trained so;
    see `obstacle`.
    """
    per_client = sum(4 * p.numel() * p.element_size() for p in params.values())
    per_client += max((s.x.numel() * s.x.element_size() for s in shards), default=0)
    size = max(1, CHUNK // max(per_client, 1))
    parts = [_chunk(module, params, shards[i : i + size], lr, batch) for i in range(0, len(shards), size)]
    if not parts:
        return {name: p.new_empty((0, *p.shape)) for name, p in params.items()}, np.empty(0)
    return {name: torch.cat([part[0][name] for part in parts]) for name in params}, np.concatenate(
        [part[1] for part in parts]
    )


def _chunk(
    module: torch.nn.Module, params: Params, shards: Sequence[Shard], lr: float, batch: int
) -> tuple[Params, np.ndarray]:
    n = len(shards)
    device = next(iter(params.values())).device
    steps = [shard.batches(batch) for shard in shards]
    most = max(map(len, steps), default=0)
    width = min(batch, max((s.y.numel() for s in shards), default=0))
    index = np.zeros((most, n, width), np.int64)
    weight = np.zeros((most, n, width), np.float32)
    for i, client in enumerate(steps):
        for t, step in enumerate(client):
            index[t, i, : step.size] = step
            weight[t, i, : step.size] = 1.0 / step.size
    length = max((s.y.numel() for s in shards), default=0)
    shape = shards[0].x.shape[1:]
    x = torch.zeros((n, length, *shape), dtype=shards[0].x.dtype, device=device)
    y = torch.zeros((n, length), dtype=torch.int64, device=device)
    for i, shard in enumerate(shards):
        x[i, : shard.y.numel()], y[i, : shard.y.numel()] = shard.x, shard.y
    frozen = {name: params[name] for name, p in module.named_parameters() if not p.requires_grad}
    state = {name: p.detach().expand(n, *p.shape).clone() for name, p in params.items() if name not in frozen}

    def loss_of(p: Params, inputs: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        output = functional_call(module, {**frozen, **p}, (inputs,))
        return (cross_entropy(output, labels, reduction="none") * share).sum()

    gradient = vmap(grad_and_value(loss_of))
    rows = torch.arange(n, device=device)[:, None]
    total = torch.zeros(n, dtype=torch.float64, device=device)
    picks, shares = torch.from_numpy(index).to(device), torch.from_numpy(weight).to(device)
    for t in range(most):
        grads, loss = gradient(state, x[rows, picks[t]], y[rows, picks[t]], shares[t])
        total += loss.detach().double()
        for name, tensor in state.items():
            tensor.sub_(grads[name], alpha=lr)
    counts = np.array([len(client) for client in steps], np.float64)
    losses = np.where(counts > 0, total.cpu().numpy() / np.maximum(counts, 1), np.nan)
    updates = {name: state[name] - p if name in state else p.new_zeros((n, *p.shape)) for name, p in params.items()}
    return updates, losses


def obstacle(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> str:
    """Return why clients cannot train `module` together, as the end of a sentence about it; empty if they can.

    Two clients take a step of the same batch size, together and one by one. One of them holds a sample less, so that
    its batch is filled up: where samples act on each other in a batch, its update changes. The module keeps its values.

    Parameters
    ----------
    module : torch.nn.Module
        The network, which draws nothing in training.
    x, y : torch.Tensor
        At least three samples as in `Shard`, on the module's device.
    """
    own = dict(module.named_parameters())
    params = {name: p.detach().clone() for name, p in own.items()}
    shards = [Shard(x[:m], y[:m], np.arange(m)[None]) for m in (len(y), len(y) - 1)]
    try:
        together, _ = all_at_once(module, params, shards, 1.0, len(y))
        alone, _ = one_by_one(module, params, shards, 1.0, len(y))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        return f"cannot be trained by torch.func.vmap ({type(error).__name__}: {reason})"
    finally:
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(params[name])

    def length(vectors: Iterable[torch.Tensor]) -> float:
        return math.sqrt(sum(float(v.double().square().sum()) for v in vectors))

    gap = length(together[name] - alone[name] for name in params)
    # Rounding is a millionth of the parameters at most, a filled batch that is felt a large part of the update.
    if gap > FELT * length(alone.values()) + 1e-6 * length(params.values()):
        return "lets the samples of a batch act on each other, as BatchNorm does, and batches are filled up"
    return ""
