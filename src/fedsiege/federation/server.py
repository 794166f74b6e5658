"""The global model and the optimizer that applies an aggregate to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fedsiege.checks import is_real, require
from fedsiege.learners.base import State
from fedsiege.optim import AdamTable
from fedsiege.updates import Delta, DenseBlock, ModelSpec, RowBlock


@dataclass(frozen=True)
class ServerConfig:
    """How the server applies an aggregate.

    Parameters
    ----------
    optimizer : {"adam", "sgd"}
        Adam on the pseudo-gradient ``−aggregate`` (FedAdam; Reddi et al., ICLR 2021), or plain addition (FedAvg).
    lr : float
        Server learning rate, ≥ 0.
    betas : tuple of float
        Adam's decay rates, each in [0, 1).
    eps : float
        Adam's ε, > 0.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        require(is_real(self.lr) and self.lr >= 0, "server.lr", self.lr, "a number of at least 0")
        fine = all(is_real(beta) and 0 <= beta < 1 for beta in self.betas)
        require(fine, "server.betas", self.betas, "two numbers in [0, 1)")
        require(is_real(self.eps) and self.eps > 0, "server.eps", self.eps, "a number above 0")


class ServerModel:
    """The shared parameters with their server optimizer; a `ModelView` for everyone who reads it.

    Item tables are kept in an `AdamTable`, so a round costs what its uploads touch. ``clock`` counts the
    aggregates applied so far.

    Parameters
    ----------
    spec : ModelSpec
        Names and shapes.
    params : mapping of str to torch.Tensor
        Initial values, taken over and changed in place.
    config : ServerConfig
        Optimizer and rates.
    decay : mapping of str to float
        L2 strength that every client applies to all of a block, added here once (see `Learner.decay`).
    """

    def __init__(
        self,
        spec: ModelSpec,
        params: Mapping[str, torch.Tensor],
        config: ServerConfig,
        decay: Mapping[str, float] | None = None,
    ) -> None:
        self.spec, self.config, self.decay = spec, config, dict(decay or {})
        self.clock = 0
        adam = config.optimizer == "adam"
        self.tables = {
            b.name: AdamTable(params[b.name], config.lr, config.betas, config.eps)
            for b in spec.blocks
            if b.axis == "items" and adam
        }
        self.plain = {b.name: params[b.name] for b in spec.blocks if b.name not in self.tables}
        self.moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self.plain.items() if adam}

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        """Return table `name`, brought up to date in `rows` (distinct; default all)."""
        if name in self.tables:
            return self.tables[name].refresh(self.clock, rows)
        return self.plain[name]

    def param(self, name: str) -> torch.Tensor:
        """Return the current value of any block."""
        return self.table(name)

    def _gradient(self, name: str, delta: RowBlock) -> tuple[np.ndarray, np.ndarray]:
        """Rows and float32 pseudo-gradient of a row-sparse aggregate, catalog-wide decay included."""
        rows, values = delta.rows.numpy(), delta.values.numpy()
        strength = self.decay.get(name, 0.0)
        if not strength:
            return rows, np.negative(values, dtype=np.float32)
        grad = strength * self.table(name).numpy()
        grad[rows] -= values
        return np.arange(grad.shape[0]), grad

    def apply(self, delta: Delta) -> None:
        """Advance the clock and apply one aggregate (blocks of a single upload)."""
        grads = {}
        for name in self.tables:
            block = delta[name]
            assert isinstance(block, RowBlock)
            grads[name] = self._gradient(name, block)
        self.clock += 1
        for name, (rows, grad) in grads.items():
            self.tables[name].step(self.clock, rows, grad)
        for name, param in self.plain.items():
            block = delta[name]
            if isinstance(block, RowBlock) and not self.moments:
                if self.decay.get(name):
                    param.mul_(1 - self.config.lr * self.decay[name])
                param.index_add_(0, block.rows, block.values.to(param.dtype), alpha=self.config.lr)
                continue
            assert isinstance(block, DenseBlock)
            self._dense_step(name, param, -block.values[0].to(param.dtype))

    def _dense_step(self, name: str, param: torch.Tensor, grad: torch.Tensor) -> None:
        c = self.config
        if self.decay.get(name):
            grad = grad + self.decay[name] * param
        if not self.moments:
            param.sub_(grad, alpha=c.lr)
            return
        m, v = self.moments[name]
        m.mul_(c.betas[0]).add_(grad, alpha=1 - c.betas[0])
        v.mul_(c.betas[1]).addcmul_(grad, grad, value=1 - c.betas[1])
        scale = (1 - c.betas[1] ** self.clock) ** 0.5
        param.addcdiv_(m, v.sqrt().div_(scale).add_(c.eps), value=-c.lr / (1 - c.betas[0] ** self.clock))

    def look_ahead(self, name: str, rows: np.ndarray, update: np.ndarray | None) -> np.ndarray:
        """Return the move that the next step would make in `rows` of a table under `update` alone, decay included.

        Parameters
        ----------
        name : str
            The table.
        rows : numpy.ndarray
            int64 ``(k,)``; may repeat.
        update : numpy.ndarray or None
            ``(k, dim)`` in the sign of updates; None for a round without any.

        Returns
        -------
        numpy.ndarray
            float32 ``(k, dim)``.
        """
        if self.decay.get(name):
            pull = self.decay[name] * self.table(name).numpy()[rows]
            update = -pull if update is None else update - pull
        if name in self.tables:
            return self.tables[name].look_ahead(self.clock + 1, rows, update)
        dim = self.plain[name].shape[1]
        if update is None:
            return np.zeros((len(rows), dim), np.float32)
        return (self.config.lr * update).astype(np.float32)

    def state(self) -> State:
        """Return parameters, optimizer state and clock."""
        return {
            "clock": self.clock,
            "tables": {name: table.state() for name, table in self.tables.items()},
            "plain": dict(self.plain),
            "moments": {name: {"m": m, "v": v} for name, (m, v) in self.moments.items()},
        }

    def load(self, state: State) -> None:
        """Take over a saved `state`."""
        self.clock = int(state["clock"])
        for name, table in self.tables.items():
            table.load(state["tables"][name])
        for name, param in self.plain.items():
            param.copy_(state["plain"][name])
        for name, (m, v) in self.moments.items():
            m.copy_(state["moments"][name]["m"])
            v.copy_(state["moments"][name]["v"])

    def snapshot(self) -> dict[str, torch.Tensor]:
        """Return a copy of all shared parameters, up to date."""
        return {name: self.param(name).clone() for name in self.spec.names}
