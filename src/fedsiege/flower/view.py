"""What a defense sees of the server: the global model, and what the wrapped strategy would make of an update."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from flwr.serverapp.strategy import Strategy

from fedsiege.flower.inner import move
from fedsiege.flower.layout import Layout, Values
from fedsiege.flower.stack import working_dtype


class ServerView:
    """The global model of one round, as a `LookAhead`.

    Parameters
    ----------
    values : mapping of str to numpy.ndarray
        The whole model.
    layout : Layout
        Its arrays.
    inner : Strategy
        The wrapped strategy.
    round_ : int
        Number of the round.
    """

    def __init__(self, values: Mapping[str, np.ndarray], layout: Layout, inner: Strategy, round_: int) -> None:
        self.values: Values = dict(values)
        self.layout, self.inner, self.round = layout, inner, round_
        self._tensors: dict[str, torch.Tensor] = {}

    def param(self, name: str) -> torch.Tensor:
        """Return a learnt array, as float32 or float64."""
        if name not in self._tensors:
            self._tensors[name] = torch.from_numpy(
                np.array(self.values[name], working_dtype(self.layout.by_name[name]))
            )
        return self._tensors[name]

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        """Return a table; all of its rows are up to date."""
        return self.param(name)

    def look_ahead(self, name: str, rows: np.ndarray, update: np.ndarray | None) -> np.ndarray:
        """Return the move that `update` alone (None: no update) would make in `rows` of a table, float32."""
        dim = self.values[name].shape[1]
        alone = np.zeros((rows.size, dim)) if update is None else np.asarray(update, np.float64)
        return move(self.inner, self.round, self.values, name, rows, alone).astype(np.float32)
