"""The network of SASRec as named parameters, and its functions over a cohort of clients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import torch

from fedsiege.kernels import transformer as kernels
from fedsiege.learners.base import ModelView
from fedsiege.learners.mf import xavier_uniform
from fedsiege.updates import BlockSpec

LAYER = (
    "norm1.scale",
    "norm1.shift",
    "query",
    "key",
    "value",
    "norm2.scale",
    "norm2.shift",
    "ffn1.weight",
    "ffn1.bias",
    "ffn2.weight",
    "ffn2.bias",
)


@dataclass(frozen=True)
class Network:
    """Shapes and functions of the network; its parameters live elsewhere and are passed in.

    Each layer is ``x + drop(attention(norm1(x)))``, then ``x + drop(ffn(norm2(x)))`` (Kang & McAuley, 2018,
    sections III-B and III-C); a norm stands at the end, as in the authors' code. Matrices act from the right:
    ``x @ query``.

    Parameters
    ----------
    dim, layers, heads, max_len : int
        Sizes; ``dim / heads`` is a multiple of 4.
    """

    dim: int
    layers: int
    heads: int
    max_len: int

    def blocks(self) -> Iterator[BlockSpec]:
        """Yield the dense blocks in order."""
        d = self.dim
        yield BlockSpec("position", (self.max_len, d))
        for layer in range(self.layers):
            for name in LAYER:
                matrix = name in ("query", "key", "value") or name.endswith("weight")
                yield BlockSpec(f"block{layer}.{name}", (d, d) if matrix else (d,))
        yield BlockSpec("norm.scale", (d,))
        yield BlockSpec("norm.shift", (d,))

    def init(self, seed: int) -> dict[str, torch.Tensor]:
        """Return initial values: matrices Xavier-uniform, norms 1 and 0, biases 0."""
        params = {}
        for block in self.blocks():
            if len(block.shape) == 2:
                params[block.name] = xavier_uniform(*block.shape, seed, f"init-{block.name}")
            else:
                params[block.name] = torch.full(block.shape, float(block.name.endswith("scale")))
        return params

    def weights(self, model: ModelView) -> kernels.Weights:
        """Return the parameters of `model` as the kernels want them (a copy of some 50,000 numbers)."""

        def get(name: str) -> np.ndarray:
            return model.param(name).numpy()

        def each(*names: str) -> list[np.ndarray]:
            return [get(f"block{layer}.{name}") for layer in range(self.layers) for name in names]

        shape = (self.layers, 2, self.dim, self.dim)
        names = ("norm1.scale", "norm1.shift", "norm2.scale", "norm2.shift")
        norm = np.stack([*each(*names), get("norm.scale"), get("norm.shift")])
        qkv = np.stack(each("query", "key", "value")).reshape(self.layers, 3, self.dim, self.dim)
        ffn = np.stack(each("ffn1.weight", "ffn2.weight")).reshape(shape)
        return kernels.Weights(
            get("position"),
            norm.reshape(2 * self.layers + 1, 2, self.dim),
            np.concatenate([qkv[:, 0], qkv[:, 1], qkv[:, 2]], axis=2),
            np.ascontiguousarray(qkv.transpose(0, 1, 3, 2)).reshape(self.layers, 3 * self.dim, self.dim),
            ffn,
            np.ascontiguousarray(ffn.transpose(0, 1, 3, 2)),
            np.stack(each("ffn1.bias", "ffn2.bias")).reshape(shape[:3]),
        )

    def gradients(self, n: int) -> kernels.Gradients:
        """Return room for the uploads of `n` clients, not initialised."""
        d, layers = self.dim, self.layers
        return kernels.Gradients(
            np.empty((n, self.max_len, d), np.float32),
            np.empty((2 * layers + 1, 2, n, d), np.float32),
            np.empty((layers, 3, n, d, d), np.float32),
            np.empty((layers, 2, n, d, d), np.float32),
            np.empty((layers, 2, n, d), np.float32),
        )

    def named(self, grads: kernels.Gradients) -> dict[str, np.ndarray]:
        """Return `grads` by block name, in the order of `blocks`, each ``(n, *shape)`` and contiguous (views)."""
        out = {"position": grads.position}
        for layer in range(self.layers):
            first, second, final = grads.norm[2 * layer], grads.norm[2 * layer + 1], grads.bias[layer]
            matrices = (*grads.qkv[layer], *grads.ffn[layer])
            values = (*first, *matrices[:3], *second, matrices[3], final[0], matrices[4], final[1])
            out |= {f"block{layer}.{name}": value for name, value in zip(LAYER, values)}
        out["norm.scale"], out["norm.shift"] = grads.norm[-1]
        return out


def share_out(lengths: np.ndarray, threads: int, max_len: int) -> tuple[np.ndarray, np.ndarray]:
    """Deal clients to threads so that each has about the same work; results do not depend on it.

    Parameters
    ----------
    lengths : numpy.ndarray
        int ``(n,)``: positions of each client; the work is taken as ``length · (2 · max_len + length)``, near what
        is measured.
    threads : int
        Number of threads, ≥ 1.

    Returns
    -------
    order, bounds : numpy.ndarray
        int64: thread k works on ``order[bounds[k]:bounds[k + 1]]``.
    """
    work = lengths * (2 * max_len + lengths)
    load = np.zeros(threads, np.int64)
    mine = np.empty(lengths.size, np.int64)
    # Longest first, each to the thread with the least so far (Graham, 1969).
    for i in np.argsort(-work, kind="stable"):
        mine[i] = load.argmin()
        load[mine[i]] += work[i]
    order = np.argsort(mine, kind="stable")
    return order, np.searchsorted(mine[order], np.arange(threads + 1))


def shares(ptr: np.ndarray, max_len: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `share_out` of the sequences ``ptr`` over numba's threads."""
    return share_out(np.diff(ptr), numba.get_num_threads(), max_len)
