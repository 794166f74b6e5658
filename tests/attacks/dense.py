"""The small world with every block dense, as a classifier's uploads are."""

from __future__ import annotations

import numpy as np

from fedsiege.updates import UpdateBatch
from tests.worlds import World, made_dense


class DenseWorld(World):
    """`World`, whose honest uploads are the same numbers without sparsity."""

    def honest(self, clients: np.ndarray, round_: int = 1) -> UpdateBatch:
        return made_dense(super().honest(clients, round_))
