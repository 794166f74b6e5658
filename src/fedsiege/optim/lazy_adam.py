"""`AdamTable`: dense Adam's semantics for a table, at a cost that follows the touched rows."""

from __future__ import annotations

import math

import numpy as np
import torch

from fedsiege.kernels import lazy_adam as kernels


class AdamTable:
    """A table of parameters ``(rows, dim)`` with Adam state for each row and one clock for all.

    Equal to dense Adam (Kingma & Ba, ICLR 2015, Algorithm 1) in which untouched rows have gradient zero and so
    go on moving by their momentum; those moves are applied when a row is next read. Momentum older than
    ``cut`` steps (where β1^k < 2⁻³⁰, below float32's resolution of a step) counts as zero.

    Parameters
    ----------
    weight : torch.Tensor
        float32 ``(rows, dim)``, taken over and changed in place.
    lr : float
        Learning rate, > 0.
    betas : tuple of float
        Decay rates of the moments, each in [0, 1).
    eps : float
        Added to the denominator.
    """

    def __init__(
        self, weight: torch.Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.weight = weight
        # Touch the pages now: first writes into fresh zero pages would be paid in the rounds.
        self.m = torch.empty_like(weight).fill_(0)
        self.v = torch.empty_like(weight).fill_(0)
        self.touched = torch.full((weight.shape[0],), -1, dtype=torch.int32)
        self.fresh = torch.full((weight.shape[0],), -1, dtype=torch.int32)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.cut = 1 if betas[0] == 0 else math.ceil(30 * math.log(2) / -math.log(betas[0]))

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(t.numpy() for t in (self.weight, self.m, self.v, self.touched, self.fresh))

    def refresh(self, clock: int, rows: np.ndarray | None = None) -> torch.Tensor:
        """Apply the moves up to step `clock` to `rows` (distinct; default all) and return the whole table."""
        if rows is None:
            rows = np.arange(self.weight.shape[0])
        kernels.replay(*self._arrays(), rows, clock, self.lr, *self.betas, self.eps, self.cut)
        return self.weight

    def step(self, clock: int, rows: np.ndarray, grad: np.ndarray) -> None:
        """Take step `clock` (1-based, strictly growing) with `grad` float32 ``(len(rows), dim)`` in `rows`."""
        kernels.step(*self._arrays(), rows, grad, clock, self.lr, *self.betas, self.eps, self.cut)

    def look_ahead(self, clock: int, rows: np.ndarray, update: np.ndarray | None) -> np.ndarray:
        """Return the move that step `clock` would make in `rows` with gradient ``−update``, without making it.

        `update` is ``(len(rows), dim)``, or None for a gradient of zero; the result is float32.
        """
        _, m, v, touched, _ = self._arrays()
        if update is None:
            return kernels.idle_ahead(m, v, touched, rows, clock, self.lr, *self.betas, self.eps)
        return kernels.look_ahead(m, v, touched, rows, update, clock, self.lr, *self.betas, self.eps)

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that must outlive the process (views, not copies)."""
        return {
            "weight": self.weight,
            "m": self.m,
            "v": self.v,
            "touched": self.touched,
            "fresh": self.fresh,
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over a saved `state`; ValueError if a shape differs."""
        for name, mine in self.state().items():
            if state[name].shape != mine.shape:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}, expected {tuple(mine.shape)}")
            mine.copy_(state[name])
