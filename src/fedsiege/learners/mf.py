"""Matrix factorisation with BPR, trained federatedly: the item table is shared, each user vector is personal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numba
import numpy as np
import torch

from fedsiege.capabilities import Capability
from fedsiege.checks import check_choice, check_regularisation, is_count, is_real, require
from fedsiege.data.interactions import RecDataset
from fedsiege.kernels import bpr
from fedsiege.kernels.rowsets import row_sets
from fedsiege.learners.base import (
    Goal,
    Job,
    LocalData,
    ModelView,
    Pairs,
    Scores,
    State,
    Trained,
    VirtualTask,
)
from fedsiege.learners.recommendation import ClientStore, Protocol, all_ranking, interactions
from fedsiege.learners.virtual_mf import MF_RATES
from fedsiege.optim import AdamTable
from fedsiege.rng import client_keys, generator
from fedsiege.updates import BlockSpec, ModelSpec, RowBlock, UpdateBatch

EMPTY = np.empty(0, np.int32)


def xavier_uniform(rows: int, dim: int, seed: int, purpose: str) -> torch.Tensor:
    """Return float32 ``(rows, dim)`` from U(−a, a), a = sqrt(6 / (rows + dim)) (Glorot & Bengio, 2010)."""
    bound = np.float32(np.sqrt(6.0 / (rows + dim)))
    table = generator(seed, purpose).random((rows, dim), dtype=np.float32)
    table *= 2 * bound
    table -= bound
    return torch.from_numpy(table)


TILE = 1 << 20
"""Bytes of uploads for each thread that are worked on from first to last while they lie in the cache."""


def tiles(indptr: np.ndarray, rows: int) -> Iterator[slice]:
    """Cut clients into runs that have at most so many rows in all, or are a single client."""
    start, n = 0, indptr.size - 1
    while start < n:
        stop = max(int(np.searchsorted(indptr, indptr[start] + rows, "right")) - 1, start + 1)
        yield slice(start, stop)
        start = stop


def distinct(rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Return the distinct values of `rows`, ascending; by marking where that is cheaper than sorting."""
    if num_rows > 64 * rows.size:
        return np.unique(rows)
    marked = np.zeros(num_rows, bool)
    marked[rows] = True
    return np.flatnonzero(marked)


@dataclass(frozen=True)
class MFConfig:
    """Matrix factorisation with BPR.

    Reference: Rendle et al., BPR, UAI 2009; federated as in Yu et al., AAAI 2023, section 3.1.

    Parameters
    ----------
    dim : int
        Embedding size.
    dropout : float
        Rate on user and item embeddings in training, in [0, 1).
    l2 : float
        λ of the term (λ/2)·‖Θ‖², as in public code. Equation 1 of the paper has λ·‖Θ‖², so with the λ of its Table 6
        parameters decay half as fast as it prints.
    l2_rows : {"touched", "all"}
        Whether a client's term covers the item rows it touches, so that uploads stay sparse, or the whole table,
        as the paper writes it; the server then adds the same for all. Touched is the default: a round costs what
        the cohort touches, and HR hardly moves (docs/results).
    user_lr : float
        Learning rate of the user's own Adam.
    user_clock : {"server", "own"}
        Whether the user's Adam counts the server's rounds (momentum goes on while the user is away, as with one
        Adam over both tables in the public code) or only the rounds in which the user took part.
    """

    name: ClassVar[str] = "mf"
    provides: ClassVar[frozenset[Capability]] = frozenset({"pairs", "items", "again", "virtual"})
    defenses: ClassVar[Mapping[str, Mapping[str, Any]]] = {"redefense": MF_RATES}
    dim: int = 64
    dropout: float = 0.2
    l2: float = 1e-5
    l2_rows: Literal["touched", "all"] = "touched"
    user_lr: float = 2e-3
    user_clock: Literal["server", "own"] = "server"

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        require(is_count(self.dim) and self.dim > 0, "model.dim", self.dim, "at least 1")
        check_regularisation(self.dropout, self.l2)
        check_choice("model.l2_rows", self.l2_rows, ("touched", "all"))
        check_choice("model.user_clock", self.user_clock, ("server", "own"))
        require(is_real(self.user_lr) and self.user_lr >= 0, "model.user_lr", self.user_lr, "a number of at least 0")

    def build(self, dataset: RecDataset, protocol: Protocol, seed: int) -> MF:
        """Return the learner for `dataset`; ConfigError if it does not hold interactions."""
        return MF(self, interactions(self.name, dataset), protocol, seed)


@dataclass
class MF:
    """The learner of :class:`MFConfig`. A client's upload is minus its full-batch gradient on its touched rows."""

    provides: ClassVar[frozenset[Capability]] = MFConfig.provides
    config: MFConfig
    dataset: RecDataset
    protocol: Protocol
    seed: int
    decay: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Draw the negatives and the personal vectors."""
        c = self.config
        self.num_clients = self.dataset.train.num_users
        self.num_items = self.dataset.train.num_items
        self.spec = ModelSpec((BlockSpec("items", (self.num_items, c.dim), "items"),))
        self.decay = {"items": c.l2} if c.l2_rows == "all" else {}
        self.store = ClientStore.build(self.dataset, self.protocol, self.seed)
        self.threshold = round(c.dropout * 65536)
        self.users = self._fresh_users()
        self.visits = np.zeros(self.num_clients, np.int64)

    def _fresh_users(self) -> AdamTable:
        table = xavier_uniform(self.num_clients, self.config.dim, self.seed, "init-users")
        return AdamTable(table, self.config.user_lr)

    def init(self) -> dict[str, torch.Tensor]:
        """Return the initial item table; users are reset."""
        self.users = self._fresh_users()
        self.visits[:] = 0
        return {"items": xavier_uniform(self.num_items, self.config.dim, self.seed, "init-items")}

    def _user_vectors(self, clients: np.ndarray, round_: int) -> np.ndarray:
        if self.config.user_clock == "server":
            self.users.refresh(round_ - 1, clients)
        return self.users.weight.numpy()[clients]

    def _user_step(self, clients: np.ndarray, grad: np.ndarray, round_: int) -> None:
        if self.config.user_clock == "server":
            self.users.step(round_, clients, grad)
            return
        self.visits[clients] += 1
        for visit in np.unique(self.visits[clients]):
            now = self.visits[clients] == visit
            self.users.step(int(visit), clients[now], grad[now])

    def _pairs(self, model: ModelView, job: Job, users: np.ndarray) -> Pairs:
        ptr, items = bpr.gather_pairs(self.store.indptr, self.store.items, self.store.negatives, job.clients)
        pairs = Pairs(job.clients, ptr, items)
        if job.poison is None or job.poisoned is None or not job.poisoned.any():
            return pairs
        bad = np.flatnonzero(job.poisoned)
        lengths = np.diff(ptr)[bad]
        inside = np.repeat(job.poisoned, np.diff(ptr))
        held = Pairs(job.clients[bad], np.concatenate([[0], np.cumsum(lengths)]), items[inside])
        poisoned = job.poison(LocalData(held, torch.from_numpy(users[bad]), model, self.num_items))
        assert isinstance(poisoned, Pairs)
        items[inside] = poisoned.items
        return pairs

    def train(self, model: ModelView, job: Job) -> Trained:
        """Take one full-batch gradient on each client; see `Learner.train`."""
        clients = np.asarray(job.clients, np.int64)
        users = self._user_vectors(clients, job.round)
        pairs = self._pairs(model, job, users)
        task_ptr, draws = self.store.task_draws(job, self.seed)
        width = draws.shape[1]
        indptr, rows, slots, task_slots = row_sets(
            pairs.ptr * 2, pairs.items.reshape(-1), task_ptr * width, draws.reshape(-1), self.num_items
        )
        table = model.table("items", distinct(rows, self.num_items)).numpy()
        if job.start is not None:
            # Each client's own copy of its rows, moved by its own update; entry e then reads row e.
            moved = job.start.blocks["items"]
            assert isinstance(moved, RowBlock)
            table, rows_of, rows = table[rows] + moved.values.numpy(), rows, np.arange(rows.size)
        else:
            rows_of = rows
        values = np.empty((rows.size, self.config.dim), np.float32)
        loss, user_grad = np.empty(clients.size), np.empty_like(users)
        keys = client_keys(self.seed, "dropout", job.round, clients)
        keep = np.float32(1.0 / (1.0 - self.config.dropout))
        slots, task_slots = slots.reshape(-1, 2), task_slots.reshape(-1, width)
        for some in tiles(indptr, TILE // (self.config.dim * values.itemsize) * numba.get_num_threads()):
            ends = slice(some.start, some.stop + 1)
            ptr, own = indptr[ends], users[some]
            values[ptr[0] : ptr[-1]] = 0.0
            loss[some], grad = bpr.gradients(
                pairs.ptr[ends], slots, own, table, ptr, rows, keys[some], self.threshold, keep, values
            )
            if job.task is not None:
                job.task.accumulate(task_ptr[ends], task_slots, table, ptr, rows, values)
            if self.config.l2:
                grad += np.float32(self.config.l2) * own
                if self.config.l2_rows == "touched":
                    bpr.add_decay(ptr, rows, table, np.full(own.shape[0], self.config.l2), values)
            user_grad[some] = grad
        counts = np.diff(pairs.ptr).astype(np.float64)
        updates = self._batch(clients, counts, indptr, rows_of, values)
        if job.commit:
            self._user_step(clients, user_grad, job.round)
            return Trained(updates, loss)
        return Trained(updates, loss, lambda: self._user_step(clients, user_grad, job.round))

    def _batch(
        self, clients: np.ndarray, counts: np.ndarray, indptr: np.ndarray, rows: np.ndarray, values: np.ndarray
    ) -> UpdateBatch:
        block = RowBlock(torch.from_numpy(indptr), torch.from_numpy(rows), torch.from_numpy(values), self.num_items)
        return UpdateBatch(clients, counts, {"items": block})

    def task_update(self, model: ModelView, job: Job) -> UpdateBatch:
        """Return minus the gradient of ``job.task`` alone; see `Learner.task_update`."""
        clients = np.asarray(job.clients, np.int64)
        task_ptr, draws = self.store.task_draws(job, self.seed)
        width = draws.shape[1]
        none = np.zeros(clients.size + 1, np.int64)
        indptr, rows, _, slots = row_sets(none, EMPTY, task_ptr * width, draws.reshape(-1), self.num_items)
        table = model.table("items", distinct(rows, self.num_items)).numpy()
        values = np.zeros((rows.size, self.config.dim), np.float32)
        assert job.task is not None
        job.task.accumulate(task_ptr, slots.reshape(-1, width), table, indptr, rows, values)
        counts = (self.store.indptr[clients + 1] - self.store.indptr[clients]).astype(np.float64)
        return self._batch(clients, counts, indptr, rows, values)

    def virtual(self) -> VirtualTask:
        """Return training on distilled users; see `UserTask`."""
        from fedsiege.learners.virtual_mf import UserTask

        return UserTask(self.config.dim)

    def evaluate(
        self, model: ModelView, clients: np.ndarray, ks: tuple[int, ...], round_: int, goal: Goal | None = None
    ) -> Scores:
        """Score by all-ranking; see `Learner.evaluate`."""
        if self.config.user_clock == "server":
            self.users.refresh(round_, clients)
        table = model.table("items")
        users = self.users.weight

        def scores(block: np.ndarray) -> torch.Tensor:
            return users[torch.from_numpy(block)] @ table.T

        return {
            "valid": all_ranking(self.dataset, clients, ks, scores, "valid"),
            "test": all_ranking(self.dataset, clients, ks, scores, "test"),
        }

    def state(self) -> State:
        """Return user vectors, their Adam state and visit counts."""
        return {"users": self.users.state(), "visits": torch.from_numpy(self.visits)}

    def load(self, state: State) -> None:
        """Take over a saved `state`."""
        self.users.load(state["users"])
        self.visits[:] = state["visits"].numpy()
