"""SASRec, trained federatedly: every client holds one sequence, and all parameters are shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch

from fedsiege.capabilities import Capability
from fedsiege.checks import check_choice, check_regularisation, is_count, require
from fedsiege.data.interactions import RecDataset
from fedsiege.errors import ConfigError
from fedsiege.kernels import bpr
from fedsiege.kernels import sasrec as kernels
from fedsiege.kernels.rowsets import row_sets
from fedsiege.kernels.transformer import Dropout, Weights
from fedsiege.learners.base import Goal, Job, LocalData, ModelView, Pairs, Scores, State, Trained
from fedsiege.learners.mf import EMPTY, distinct, xavier_uniform
from fedsiege.learners.recommendation import ClientStore, Protocol, all_ranking, interactions
from fedsiege.learners.sasrec_net import Network, shares
from fedsiege.rng import client_keys
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, RowBlock, UpdateBatch
from fedsiege.updates.block import Block


@dataclass(frozen=True)
class SASRecConfig:
    """Self-attentive sequential recommendation with BPR.

    Reference: Kang & McAuley, Self-Attentive Sequential Recommendation, ICDM 2018; federated as in Yu et al.,
    AAAI 2023, sections 3.1 and 5.1.

    It offers no training on distilled knowledge, so FedREDefense refuses it: its hand-written kernels give gradients
    only, and the defense has to differentiate through training.

    Parameters
    ----------
    dim : int
        Embedding size.
    layers : int
        Blocks of self-attention and feed-forward network.
    heads : int
        Attention heads; ``dim / heads`` must be a multiple of 4.
    max_len : int
        Positions: a client trains on at most its last `max_len` transitions, and the last item always sits at the
        last position. The paper takes 200 for ML-1M and 100 for Gowalla.
    dropout : float
        Rate on the input embedding and on the output of each attention and feed-forward part, in [0, 1).
    l2 : float
        λ of the term (λ/2)·‖Θ‖²; see `MFConfig`.
    l2_rows : {"touched", "all"}
        Whether a client's term covers the item rows it touches or the whole item table; see `MFConfig`. All other
        parameters are always covered, on the client.
    """

    name: ClassVar[str] = "sasrec"
    provides: ClassVar[frozenset[Capability]] = frozenset({"pairs", "items"})
    dim: int = 64
    layers: int = 2
    heads: int = 1
    max_len: int = 200
    dropout: float = 0.2
    l2: float = 1e-5
    l2_rows: Literal["touched", "all"] = "touched"

    def __post_init__(self) -> None:
        """Check ranges, and refuse shapes that the kernels cannot take (ConfigError)."""
        for name in ("dim", "layers", "max_len"):
            value = getattr(self, name)
            require(is_count(value) and value > 0, f"model.{name}", value, "at least 1")
        check_regularisation(self.dropout, self.l2)
        check_choice("model.l2_rows", self.l2_rows, ("touched", "all"))
        if self.heads < 1 or self.dim % (4 * self.heads):
            raise ConfigError(f"dim {self.dim} over {self.heads} heads must give a multiple of 4; try dim=64, heads=1")

    def build(self, dataset: RecDataset, protocol: Protocol, seed: int) -> SASRec:
        """Return the learner for `dataset`; ConfigError if it does not hold interactions."""
        return SASRec(self, interactions(self.name, dataset), protocol, seed)


@dataclass
class SASRec:
    """The learner of :class:`SASRecConfig`. A client's upload is minus one full-batch gradient of its mean loss.

    At each position the client predicts the next item: the loss is BPR between that item and the negative stored
    with it (the source has binary cross-entropy on the same pair). A client with fewer than two training items
    has no transition: its sample count is 0 and it uploads the L2 term alone. A client's upload has the same
    bits wherever it stands in the cohort and whoever else is in it.
    """

    provides: ClassVar[frozenset[Capability]] = SASRecConfig.provides
    config: SASRecConfig
    dataset: RecDataset
    protocol: Protocol
    seed: int
    decay: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Draw the negatives."""
        c = self.config
        self.num_clients = self.dataset.train.num_users
        self.num_items = self.dataset.train.num_items
        self.net = Network(c.dim, c.layers, c.heads, c.max_len)
        self.spec = ModelSpec((BlockSpec("items", (self.num_items, c.dim), "items"), *self.net.blocks()))
        self.decay = {"items": c.l2} if c.l2_rows == "all" else {}
        self.store = ClientStore.build(self.dataset, self.protocol, self.seed)
        self.threshold = round(c.dropout * 65536)
        # Xavier's range makes item rows far smaller than position rows; the authors' code scales them so too.
        self.embed = np.float32(np.sqrt(c.dim))

    def init(self) -> dict[str, torch.Tensor]:
        """Return the initial parameters."""
        items = xavier_uniform(self.num_items, self.config.dim, self.seed, "init-items")
        return {"items": items, **self.net.init(self.seed)}

    def _represent(self, weights: Weights, table: np.ndarray, ptr: np.ndarray, items: np.ndarray) -> np.ndarray:
        n = ptr.size - 1
        out = np.empty((n, self.config.dim), np.float32)
        off = Dropout(np.zeros(n, np.uint64), 0, np.float32(1.0))
        # int64, as the row lists of training: one compiled network for both.
        items = items.astype(np.int64)
        dealt = shares(ptr, self.config.max_len)
        return kernels.represent(weights, self.config.heads, self.embed, ptr, items, off, table, *dealt, out)

    def _poison(self, model: ModelView, weights: Weights, job: Job, ptr: np.ndarray, triples: np.ndarray) -> None:
        """Replace the pairs of poisoned clients in `triples`; their input stays the true sequence."""
        if job.poison is None or job.poisoned is None or not job.poisoned.any():
            return
        lengths = np.diff(ptr)
        inside = np.repeat(job.poisoned, lengths)
        held_ptr = np.concatenate([[0], np.cumsum(lengths[job.poisoned])])
        held = Pairs(job.clients[job.poisoned], held_ptr, np.ascontiguousarray(triples[inside, 1:]))
        inputs = np.ascontiguousarray(triples[inside, 0])
        table = model.table("items", distinct(inputs, self.num_items)).numpy()
        users = torch.from_numpy(self._represent(weights, table, held_ptr, inputs))
        poisoned = job.poison(LocalData(held, users, model, self.num_items))
        assert isinstance(poisoned, Pairs)
        triples[inside, 1:] = poisoned.items

    def train(self, model: ModelView, job: Job) -> Trained:
        """Take one full-batch gradient on each client; see `Learner.train`. ``job.commit`` has no effect.

        Raises
        ------
        ConfigError
            If the job asks for a second local step: all clients are trained from one model here.
        """
        if job.start is not None:
            raise ConfigError(
                "sasrec takes a single local step, and this defense (fl-wbc) compares two; run it on mf, or choose "
                "another defense"
            )
        c = self.config
        clients = np.asarray(job.clients, np.int64)
        n = clients.size
        store = self.store
        ptr, triples = kernels.gather_positions(store.indptr, store.items, store.negatives, clients, c.max_len)
        weights = self.net.weights(model)
        self._poison(model, weights, job, ptr, triples)
        task_ptr, draws = self.store.task_draws(job, self.seed)
        width = draws.shape[1]
        indptr, rows, slots, task_slots = row_sets(
            ptr * 3, triples.reshape(-1), task_ptr * width, draws.reshape(-1), self.num_items
        )
        table = model.table("items", distinct(rows, self.num_items)).numpy()
        values = np.zeros((rows.size, c.dim), np.float32)
        grads = self.net.gradients(n)
        dropout = Dropout(
            client_keys(self.seed, "dropout", job.round, clients),
            self.threshold,
            np.float32(1.0 / (1.0 - c.dropout)),
        )
        loss = kernels.gradients(
            weights,
            c.heads,
            self.embed,
            c.l2,
            ptr,
            slots.reshape(-1, 3),
            table,
            indptr,
            rows,
            dropout,
            *shares(ptr, c.max_len),
            grads,
            values,
        )
        if job.task is not None:
            job.task.accumulate(task_ptr, task_slots.reshape(-1, width), table, indptr, rows, values)
        if c.l2 and c.l2_rows == "touched":
            bpr.add_decay(indptr, rows, table, np.full(n, c.l2), values)
        counts = np.diff(ptr).astype(np.float64)
        return Trained(self._batch(clients, counts, indptr, rows, values, self.net.named(grads)), loss)

    def _batch(
        self,
        clients: np.ndarray,
        counts: np.ndarray,
        indptr: np.ndarray,
        rows: np.ndarray,
        values: np.ndarray,
        network: Mapping[str, np.ndarray],
    ) -> UpdateBatch:
        blocks: dict[str, Block] = {
            "items": RowBlock(
                torch.from_numpy(indptr), torch.from_numpy(rows), torch.from_numpy(values), self.num_items
            )
        }
        blocks |= {name: DenseBlock(torch.from_numpy(value)) for name, value in network.items()}
        return UpdateBatch(clients, counts, blocks)

    def task_update(self, model: ModelView, job: Job) -> UpdateBatch:
        """Return minus the gradient of ``job.task`` alone; see `Learner.task_update`. The network's part is zero."""
        assert job.task is not None
        clients = np.asarray(job.clients, np.int64)
        task_ptr, draws = self.store.task_draws(job, self.seed)
        width = draws.shape[1]
        none = np.zeros(clients.size + 1, np.int64)
        indptr, rows, _, slots = row_sets(none, EMPTY, task_ptr * width, draws.reshape(-1), self.num_items)
        table = model.table("items", distinct(rows, self.num_items)).numpy()
        values = np.zeros((rows.size, self.config.dim), np.float32)
        job.task.accumulate(task_ptr, slots.reshape(-1, width), table, indptr, rows, values)
        lengths = self.store.indptr[clients + 1] - self.store.indptr[clients]
        counts = np.clip(lengths - 1, 0, self.config.max_len).astype(np.float64)
        network = {b.name: np.zeros((clients.size, *b.shape), np.float32) for b in self.net.blocks()}
        return self._batch(clients, counts, indptr, rows, values, network)

    def _sequences(self, users: np.ndarray, more: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Each user's last `max_len` training items as ``(ptr, items)``, item ``more[user]`` added if it is ≥ 0."""
        indptr, items = self.store.indptr, self.store.items
        extra = np.zeros(users.size, np.int64) if more is None else (more[users] >= 0).astype(np.int64)
        taken = np.minimum(indptr[users + 1] - indptr[users], self.config.max_len - extra)
        ptr = np.concatenate([[0], np.cumsum(taken + extra)])
        out = np.empty(ptr[-1], np.int32)
        within = np.arange(int(taken.sum())) - np.repeat(np.cumsum(taken) - taken, taken)
        out[np.repeat(ptr[:-1], taken) + within] = items[np.repeat(indptr[users + 1] - taken, taken) + within]
        if more is not None:
            out[ptr[1:][extra > 0] - 1] = more[users[extra > 0]]
        return ptr, out

    def evaluate(
        self, model: ModelView, clients: np.ndarray, ks: tuple[int, ...], round_: int, goal: Goal | None = None
    ) -> Scores:
        """Score by all-ranking, the test with the validation item in the sequence; see `Learner.evaluate`."""
        table = model.table("items")
        weights = self.net.weights(model)

        def scores(block: np.ndarray, more: np.ndarray | None) -> torch.Tensor:
            ptr, items = self._sequences(block, more)
            return torch.from_numpy(self._represent(weights, table.numpy(), ptr, items)) @ table.T

        return {
            "valid": all_ranking(self.dataset, clients, ks, lambda b: scores(b, None), "valid"),
            "test": all_ranking(self.dataset, clients, ks, lambda b: scores(b, self.dataset.valid), "test"),
        }

    def state(self) -> State:
        """Return an empty tree: nothing is personal."""
        return {}

    def load(self, state: State) -> None:
        """Take over a saved `state`: there is nothing to take."""
