"""The interface of a learner, and the hooks through which attacks and client-side defenses reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from fedsiege.capabilities import Capability
from fedsiege.updates import ModelSpec, UpdateBatch

State = dict[str, Any]
"""A tree of tensors, arrays, numbers and strings that can be written to disk and read back."""


class ModelView(Protocol):
    """The global model as a client or an observer reads it."""

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        """Return the whole table `name`; only `rows` (distinct; default all) are guaranteed up to date."""
        ...

    def param(self, name: str) -> torch.Tensor:
        """Return a dense parameter."""
        ...


@dataclass(frozen=True)
class Pairs:
    """Training pairs of several clients, for pairwise losses such as BPR.

    Parameters
    ----------
    clients : numpy.ndarray
        int64 ``(n,)``: client ids.
    ptr : numpy.ndarray
        int64 ``(n + 1,)``: client i owns the pairs ``ptr[i]`` to ``ptr[i + 1] - 1``.
    items : numpy.ndarray
        int32 ``(total, 2)``: positive and negative item of each pair.
    """

    clients: np.ndarray
    ptr: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class LocalData:
    """What a client (or a coalition of clients) holds while it trains on pairs.

    Parameters
    ----------
    pairs : Pairs
        The training pairs.
    users : torch.Tensor
        Float ``(n, dim)``: the clients' user vectors under the current model.
    model : ModelView
        The model that the server has sent; an attack reads it only if it declares ``Knowledge.MODEL``.
    num_items : int
        Size of the catalog.
    coalition : numpy.ndarray or None
        int64: ids of all malicious clients, ascending, for data poisoning that shares out the work; None where nobody
        says.
    """

    pairs: Pairs
    users: torch.Tensor
    model: ModelView
    num_items: int
    coalition: np.ndarray | None = None


@dataclass(frozen=True)
class Labelled:
    """Labelled samples of several clients, for classification.

    Parameters
    ----------
    clients : numpy.ndarray
        int64 ``(n,)``: client ids.
    ptr : numpy.ndarray
        int64 ``(n + 1,)``: client i owns the samples ``ptr[i]`` to ``ptr[i + 1] - 1``.
    x : torch.Tensor
        Float ``(total, *shape)``: inputs as the model reads them (normalised).
    y : torch.Tensor
        int64 ``(total,)``: labels in [0, `num_classes`).
    num_classes : int
        Number of classes.
    coalition : numpy.ndarray or None
        int64: ids of all malicious clients, ascending, for data poisoning that shares out the work; None where nobody
        says.
    """

    clients: np.ndarray
    ptr: np.ndarray
    x: torch.Tensor
    y: torch.Tensor
    num_classes: int
    coalition: np.ndarray | None = None


Held = LocalData | Labelled
"""What a coalition holds while it trains: pairs of a recommender, or labelled samples."""

Poison = Callable[[Held], Pairs | Labelled]
"""Data poisoning: given what a coalition holds, return that on which it trains instead (Labelled for Labelled)."""


@dataclass(frozen=True)
class Goal:
    """What a targeted attack wants of the final model.

    Parameters
    ----------
    target : int
        The class that the attacker wants.
    source : int, optional
        Which samples are meant; None: all that are not of class `target`.
    trigger : callable, optional
        Returns inputs ``(n, *shape)`` with the trigger in them; None: inputs as they are.
    """

    target: int
    source: int | None = None
    trigger: Callable[[torch.Tensor], torch.Tensor] | None = None


class VirtualTask(Protocol):
    """Training on distilled knowledge, as functions (for FedREDefense): nothing here is about images.

    Tensors of one client; `loss` is pure, so that it can be mapped over clients.
    """

    def knowledge(self, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Return the knowledge to start from: ``inputs`` and ``labels`` of `count` virtual samples."""
        ...

    def problem(self, model: ModelView, upload: UpdateBatch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the parameters from which virtual training starts and the update to reconstruct, block by block.

        `upload` is a single one; of a row-sparse block only the rows it touches appear.
        """
        ...

    def loss(self, params: Mapping[str, torch.Tensor], knowledge: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the scalar training loss on `knowledge`, differentiable twice in both arguments."""
        ...


@runtime_checkable
class AligningTask(VirtualTask, Protocol):
    """A `VirtualTask` whose knowledge takes its shape from the upload, such as one label for each row it touches."""

    def align(self, knowledge: Mapping[str, torch.Tensor], upload: UpdateBatch) -> dict[str, torch.Tensor]:
        """Return `knowledge`, the first draw or what an earlier upload has left, in the shape that `upload` asks for.

        Pieces other than ``inputs``, ``labels`` and ``rate``, integers among them, are shown to `loss` and kept with
        the others, but not optimised. The number of pieces and their names stay as drawn.
        """
        ...


@runtime_checkable
class LabelTask(VirtualTask, Protocol):
    """A `VirtualTask` that can tell from an upload which labels were trained on."""

    def read_labels(
        self,
        params: Mapping[str, torch.Tensor],
        target: Mapping[str, torch.Tensor],
        knowledge: Mapping[str, torch.Tensor],
        inner: int,
    ) -> dict[str, torch.Tensor]:
        """Return `knowledge` with ``labels`` read from the upload `target`, for `inner` steps at its ``rate``."""
        ...


class ItemTask(Protocol):
    """An extra local objective on the item table, added to the recommendation loss (a client-side half)."""

    def draw(
        self, indptr: np.ndarray, items: np.ndarray, clients: np.ndarray, keys: np.ndarray, num_items: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(ptr (n + 1,), draws int32 (total, width))``: the items that each client's objective reads."""
        ...

    def accumulate(
        self,
        ptr: np.ndarray,
        slots: np.ndarray,
        table: np.ndarray,
        indptr: np.ndarray,
        rows: np.ndarray,
        values: np.ndarray,
    ) -> np.ndarray:
        """Add the descent direction to ``values`` (entries as in ``indptr``, ``rows``); return losses ``(n,)``."""
        ...


@dataclass(frozen=True)
class Job:
    """One round of local training.

    Parameters
    ----------
    clients : numpy.ndarray
        int64 ``(n,)``: the clients that train.
    round : int
        Number of the round, from 1.
    task : ItemTask, optional
        Extra objective for the clients marked in `task_for`.
    task_for : numpy.ndarray
        bool ``(n,)``.
    poison : callable, optional
        Data poisoning for the clients marked in `poisoned`.
    poisoned : numpy.ndarray
        bool ``(n,)``.
    commit : bool
        Whether personal parameters are updated at once; False asks what the clients would upload, and leaves
        the update to `Trained.commit`.
    start : UpdateBatch, optional
        What the same clients uploaded in this round: each starts from the model plus its own update, as after one
        local step of rate 1.
    """

    clients: np.ndarray
    round: int
    task: ItemTask | None = None
    task_for: np.ndarray | None = None
    poison: Poison | None = None
    poisoned: np.ndarray | None = None
    commit: bool = True
    start: UpdateBatch | None = None


@dataclass(frozen=True)
class Trained:
    """Result of local training.

    Parameters
    ----------
    updates : UpdateBatch
        The uploads, in the order of the job.
    loss : numpy.ndarray
        float64 ``(n,)``: mean local loss of each client.
    commit : callable
        Updates the clients' personal parameters, if the job has not done so; to be called at most once.
    """

    updates: UpdateBatch
    loss: np.ndarray
    commit: Callable[[], None] = field(default=lambda: None, repr=False)


Scores = dict[str, dict[str, float]]
"""Metrics by split: ``{"valid": {"HR@5": …}, "test": {…}}``."""


class Learner(Protocol):
    """A model and how a cohort of clients trains it locally, all clients at once."""

    provides: ClassVar[frozenset[Capability]]
    """What attacks and defenses may ask of it."""
    spec: ModelSpec
    num_clients: int
    decay: Mapping[str, float]
    """L2 strength per block that every honest client applies to *all* of the block; the server adds it once."""

    def init(self) -> dict[str, torch.Tensor]:
        """Return the initial shared parameters, and reset personal ones."""
        ...

    def train(self, model: ModelView, job: Job) -> Trained:
        """Train `job.clients` from `model`; their uploads are in the order of the job."""
        ...

    def task_update(self, model: ModelView, job: Job) -> UpdateBatch:
        """Return what ``job.task`` alone would make each client of the job upload."""
        ...

    def evaluate(
        self, model: ModelView, clients: np.ndarray, ks: tuple[int, ...], round_: int, goal: Goal | None = None
    ) -> Scores:
        """Score the model for `clients` after round `round_`, and how far a targeted attack has reached its `goal`."""
        ...

    def state(self) -> State:
        """Return personal parameters, as a tree that can be written."""
        ...

    def load(self, state: State) -> None:
        """Take over a saved `state`."""
        ...


class RootLearner(Learner, Protocol):
    """A learner that provides ``"root"``."""

    def root_update(self, model: ModelView, samples: int, round_: int) -> UpdateBatch:
        """Return the single update of honest local training on `samples` clean training samples (the same always)."""
        ...


class VotingLearner(Learner, Protocol):
    """A learner that provides ``"vote"``."""

    def vote(self, models: Sequence[ModelView], goal: Goal | None = None) -> Scores:
        """Score the majority vote of several models."""
        ...


class VirtualLearner(Learner, Protocol):
    """A learner that provides ``"virtual"``."""

    def virtual(self) -> VirtualTask:
        """Return its training on distilled knowledge."""
        ...
