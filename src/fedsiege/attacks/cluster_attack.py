"""ClusterAttack: upload gradients that draw the item embeddings into a few dense clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.craft import known
from fedsiege.attacks.kmeans import lloyd
from fedsiege.capabilities import Capability
from fedsiege.checks import is_count, is_real, require
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.updates import ModelSpec, RowBlock, UpdateBatch

NORMS = ("touched", "all")


@dataclass(frozen=True)
class ClusterAttack(AttackBase):
    """ClusterAttack: pulls item embeddings towards k-means centroids, within the norms of honest gradients.

    The attack loss is the within-cluster variance; its gradient is bounded, per item and client, by μ + λσ of the
    norms of the coalition's honest item gradients, λ uniform on [0, 3]; the number of clusters adapts to whether
    the smoothed loss keeps falling. Other blocks of the upload, the user's own step and the sample count are genuine.

    Reference: Yu et al., AAAI 2023, section 4.1, Equations 2 and 3, Algorithm 1.

    Parameters
    ----------
    clusters : int
        Initial number of clusters K (paper: 2 on ML-1M, 8 on Gowalla).
    adaptive : bool
        Whether K follows Algorithm 1 (off for the ablation of Figure 3).
    bounds : tuple of int
        Smallest and largest K.
    threshold : int
        R, ≥ 1: K changes when rises and falls of the smoothed loss differ by more than this. Then the counts and t
        start from 0 (Algorithm 1, lines 9 and 13), and with t the moving average: losses of another K do not compare.
    decay : float
        β of the moving average, in [0, 1).
    spread : float
        Upper end of λ, ≥ 0.
    rescale : bool
        False clips gradients to the bound (Equation 3); True scales every gradient to it, as the public code does.
    norms : {"touched", "all"}
        Which honest gradients give μ and σ: those of items that a client touches, or of all items with zeros for
        the untouched, as the public code pools them.
    as_published : bool
        Follow the public code where it leaves the paper: rescale, norms over all items, loss divided by K,
        ``≥ R``, rounding for the floor.
    """

    name: ClassVar[str] = "clusterattack"
    needs: ClassVar[frozenset[Capability]] = frozenset({"items"})
    knowledge: ClassVar[Knowledge] = Knowledge.MODEL | Knowledge.COALITION
    clusters: int = 2
    adaptive: bool = True
    bounds: tuple[int, int] = (1, 50)
    threshold: int = 100
    decay: float = 0.999
    spread: float = 3.0
    rescale: bool = False
    norms: Literal["touched", "all"] = "touched"
    as_published: bool = False

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        if not 1 <= self.bounds[0] <= self.clusters <= self.bounds[1]:
            raise ConfigError(f"clusterattack.clusters = {self.clusters} is outside bounds {self.bounds}")
        if not 0 <= self.decay < 1:
            raise ConfigError(f"clusterattack.decay = {self.decay} must lie in [0, 1)")
        high = is_count(self.threshold) and self.threshold > 0
        require(high, f"{self.name}.threshold", self.threshold, "a number of rounds of at least 1")
        require(is_real(self.spread) and self.spread >= 0, f"{self.name}.spread", self.spread, "a number of at least 0")
        require(self.norms in NORMS, f"{self.name}.norms", self.norms, "'touched' or 'all'")

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the state of Algorithm 1; ConfigError if the model has no item table."""
        if spec.item_table is None:
            raise ConfigError("clusterattack needs a model with a table of item embeddings")
        return self._restart(self.clusters)

    @staticmethod
    def _restart(clusters: int) -> State:
        return {"clusters": clusters, "average": 0.0, "smoothed": 0.0, "rises": 0, "falls": 0, "steps": 0}

    def bound(self, honest: RowBlock) -> tuple[float, float]:
        """Return mean and standard deviation of the norms of honest item gradients."""
        norms = honest.row_norms()
        entries = honest.n * honest.num_rows if self.as_published or self.norms == "all" else norms.size
        mean = norms.sum() / max(entries, 1)
        return float(mean), float(np.sqrt(max((norms**2).sum() / max(entries, 1) - mean**2, 0.0)))

    def gradient(self, table: torch.Tensor, state: State, view: AttackView) -> tuple[torch.Tensor, float]:
        """Return the unbounded malicious item gradient ``(items, dim)`` and the attack loss (Equation 2)."""
        centroids, labels = lloyd(table, state["clusters"], view.rng(1))
        pull = 2 * (table - centroids[labels])
        loss = float((pull / 2).double().square().sum())
        if self.as_published:
            pull, loss = pull / state["clusters"], loss / state["clusters"]
        return pull, loss

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Replace the item block of each malicious upload (Equation 3) and adapt K (Algorithm 1)."""
        item_block = view.spec.item_table
        assert item_block is not None
        honest = known(view).blocks[item_block.name]
        assert isinstance(honest, RowBlock)
        mean, std = self.bound(honest)
        table = view.model.table(item_block.name)
        pull, loss = self.gradient(table, state, view)
        blocks = dict(updates.blocks)
        blocks[item_block.name] = self._bounded(pull, mean, std, updates, view)
        return UpdateBatch(updates.clients, updates.counts, blocks), self._adapt(state, loss)

    def _bounded(self, pull: torch.Tensor, mean: float, std: float, updates: UpdateBatch, view: AttackView) -> RowBlock:
        """Return the uploads of the item table: `pull` bounded for each client of `updates`."""
        return self._clip(pull[None], self._limits(pull.shape[0], mean, std, updates, view))

    def _limits(self, items: int, mean: float, std: float, updates: UpdateBatch, view: AttackView) -> torch.Tensor:
        draws = np.stack([view.rng(2, int(c)).random(items, np.float32) for c in updates.clients])
        return mean + self.spread * std * torch.from_numpy(draws)

    def _clip(self, gradient: torch.Tensor, limit: torch.Tensor) -> RowBlock:
        numbers = torch.finfo(gradient.dtype)
        factor = limit / gradient.norm(dim=2).clamp(min=numbers.tiny)
        # An item on its centroid has a gradient of zero, which no factor changes but infinity.
        factor = factor.clamp(max=numbers.max if self.rescale or self.as_published else 1.0)
        return RowBlock.from_dense(-(gradient * factor[:, :, None]))

    def _adapt(self, state: State, loss: float) -> State:
        new = dict(state)
        new["steps"] += 1
        new["average"] = self.decay * state["average"] + (1 - self.decay) * loss
        new["smoothed"] = new["average"] / (1 - self.decay ** new["steps"])
        new["rises" if new["smoothed"] > state["smoothed"] else "falls"] += 1
        if not self.adaptive:
            return new
        low, high = self.bounds
        whole = round if self.as_published else math.floor
        reach = self.threshold - 1 if self.as_published else self.threshold
        clusters = new["clusters"]
        if new["rises"] - new["falls"] > reach:
            return self._restart(min(whole(clusters + math.sqrt(high - clusters)), high))
        if new["falls"] - new["rises"] > reach:
            return self._restart(max(whole(clusters - math.sqrt(clusters - low)), low))
        return new
