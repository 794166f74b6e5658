"""The defense interface: an aggregate, and one verdict per upload with its weight, score and reason.

A defense never learns which client is malicious, and how many only if the threat model grants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from fedsiege.capabilities import Capability
from fedsiege.checks import check_weighting
from fedsiege.learners.base import ItemTask, ModelView, State, VirtualTask
from fedsiege.rng import generator
from fedsiege.updates import Delta, ModelSpec, UpdateBatch

Grant = Literal["count", "norm"]
"""What a threat model may tell a defense: how many attack, or the mean norm of the benign uploads."""


class LookAhead(ModelView, Protocol):
    """The server's own model, which can also tell what an update would do to it."""

    def look_ahead(self, name: str, rows: np.ndarray, update: np.ndarray | None) -> np.ndarray:
        """Return the move that `update` alone (None: no update) would make in `rows` of a table."""
        ...


@dataclass(frozen=True)
class DefenseView:
    """What the server can see besides the uploads.

    Parameters
    ----------
    spec : ModelSpec
        Names and shapes of the shared parameters.
    model : LookAhead
        The global model before this round's aggregate.
    seed, round : int
        Address of the defense's randomness.
    lr : float
        Learning rate of the server's optimizer.
    told : int or None
        How many of this cohort's clients may be malicious, if the threat model grants that and the defense heeds
        ``"count"``, else None. It is the count in the whole cohort, before other filters: a defense behind some may
        be left with fewer.
    root : callable, optional
        Given a number of samples: the update that training on so many clean samples of the server's own would
        make from the current model; None where the model does not provide ``"root"``.
    virtual : VirtualTask, optional
        Training on distilled knowledge; None where the model does not provide ``"virtual"``.
    benign_norm : float or None
        Mean L2 norm of this round's benign uploads, if the threat model grants that oracle and the defense heeds
        ``"norm"``, else None.
    """

    spec: ModelSpec
    model: LookAhead
    seed: int
    round: int
    lr: float
    told: int | None = None
    root: Callable[[int], UpdateBatch] | None = None
    virtual: VirtualTask | None = None
    benign_norm: float | None = None

    def rng(self, *where: int) -> np.random.Generator:
        """Return the defense's generator of this round (and of further coordinates)."""
        return generator(self.seed, "defense", self.round, *where)


@dataclass(frozen=True)
class Verdicts:
    """What a defense decided about each upload, in the order of the uploads.

    Parameters
    ----------
    accepted : numpy.ndarray
        bool ``(n,)``: whether the upload takes part in the aggregate.
    score : numpy.ndarray
        float64 ``(n,)``: what the decision rests on (meaning is the defense's own), NaN if there is none.
    weight : numpy.ndarray
        float64 ``(n,)``: share in the aggregate; 0 where rejected.
    reason : tuple of str
        Why an upload was rejected or altered; empty where it was taken as it is.
    expelled : numpy.ndarray, optional
        bool ``(n,)``: whether the client is found malicious and takes part no more; such uploads are rejected.
        None: the defense expels nobody.
    restart : bool
        Whether training starts over from the initial model, because the present one is poisoned already.
    absent : tuple of int
        Ids of clients that are not in this round and are found malicious all the same, ascending.
    """

    accepted: np.ndarray
    score: np.ndarray
    weight: np.ndarray
    reason: tuple[str, ...]
    expelled: np.ndarray | None = None
    restart: bool = False
    absent: tuple[int, ...] = ()

    def among(self, clients: np.ndarray) -> Verdicts:
        """Return these verdicts for a round of `clients` int64 ``(n,)``, of whom some were never shown to the defense.

        Whoever is found malicious while absent, but takes part after all, is expelled like those who were seen.
        """
        here = np.isin(clients, np.array(self.absent, np.int64))
        if not here.any():
            return self
        expelled = here if self.expelled is None else self.expelled | here
        present = set(clients[here].tolist())
        return replace(self, expelled=expelled, absent=tuple(c for c in self.absent if c not in present))

    @classmethod
    def all_accepted(cls, n: int) -> Verdicts:
        """Return verdicts that accept `n` uploads without a score."""
        return cls(np.ones(n, bool), np.full(n, np.nan), np.full(n, 1.0 / max(n, 1)), ("",) * n)

    @classmethod
    def of(cls, accepted: np.ndarray, score: np.ndarray, reason: str) -> Verdicts:
        """Return verdicts that give `reason` to every rejected upload (the aggregation sets weights)."""
        return cls(
            accepted,
            np.asarray(score, np.float64),
            np.where(accepted, 1.0, 0.0),
            tuple("" if ok else reason for ok in accepted),
        )


@dataclass(frozen=True)
class Outcome:
    """Everything a defense decided in one round.

    Parameters
    ----------
    delta : mapping of str to Block, or None
        The aggregate; None if no upload is left, and the model stays as it is.
    verdicts : Verdicts
        One verdict per upload.
    info : mapping
        Numbers about the round as a whole (for records and plots).
    """

    delta: Delta | None
    verdicts: Verdicts
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientHalf:
    """What a defense asks of honest clients.

    Parameters
    ----------
    task : ItemTask or None
        An extra local objective on the item table.
    """

    task: ItemTask | None = None

    def transform(self, updates: UpdateBatch, next_updates: UpdateBatch | None, seed: int, round_: int) -> UpdateBatch:
        """Return what clients upload instead of `updates`; `next_updates` as asked for by ``wants_next``."""
        return updates

    @property
    def wants_next(self) -> bool:
        """Whether ``transform`` needs the uploads that the clients would make after applying their own."""
        return False

    @property
    def transforms(self) -> bool:
        """Whether ``transform`` changes anything."""
        return False


@runtime_checkable
class Defense(Protocol):
    """A defense: a frozen dataclass of hyper-parameters with pure steps.

    ``models`` is the number of global models it keeps side by side: the clients fall into so many groups, each
    group trains its own model and is judged alone (`step` sees one group), and the models vote. ``expels`` says
    that it passes a last judgement on clients.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    expels: ClassVar[bool]

    @property
    def models(self) -> int:
        """Number of global models, ≥ 1."""
        ...

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the state before the first round; whatever must outlive a round, keyed by client id."""
        ...

    def client_half(self) -> ClientHalf | None:
        """Return what honest clients must do differently, or None."""
        ...

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Aggregate finite, well-formed uploads (n ≥ 1) and judge each of them."""
        ...


@dataclass(frozen=True)
class DefenseBase:
    """Defaults for defenses: one model, no state, nothing asked of clients, nothing to be told."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset()
    expels: ClassVar[bool] = False

    @property
    def models(self) -> int:
        """Number of global models."""
        return 1

    never_rejects: ClassVar[bool] = False
    """Whether it rejects no upload (what no rule could use is rejected before it)."""

    @property
    def heeds(self) -> frozenset[Grant]:
        """What it makes use of if the threat model grants it; it is told nothing else."""
        return frozenset()

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return an empty state."""
        return {}

    def client_half(self) -> ClientHalf | None:
        """Ask nothing of clients."""
        return None


def never_rejects(defense: object) -> bool:
    """Return whether a defense rejects no upload, but weighs, trims or clips; not of one that does not say."""
    return bool(getattr(defense, "never_rejects", False))


def heeded(defense: object) -> frozenset[Grant]:
    """Return what a defense heeds of that which a threat model may grant; nothing of one that does not say."""
    found: frozenset[Grant] = getattr(defense, "heeds", frozenset())
    return found


LARGEST_COUNT = 1e290
"""Declared sample count from which all are scaled down, before their sum overflows."""


def shares(updates: UpdateBatch, accepted: np.ndarray, weighting: str) -> np.ndarray:
    """Return weights that sum to 1 over accepted uploads, float64 ``(n,)``.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        By the sample counts that clients declare, or equal. Counts that are not positive finite numbers count
        as zero; if none is left, weights are equal.
    """
    raw = np.where(accepted, 1.0, 0.0)
    if weighting == "samples":
        counts = np.where(np.isfinite(updates.counts) & (updates.counts > 0), updates.counts, 0.0)
        if counts.max(initial=0.0) > LARGEST_COUNT:
            # Two clients that claim half of all that float64 holds must not make everybody's weight zero.
            counts = counts / counts.max()
        if (raw * counts).sum() > 0:
            raw = raw * counts
    total = raw.sum()
    return raw / total if total > 0 else raw


@dataclass(frozen=True)
class Filter(DefenseBase):
    """A defense that accepts or rejects whole uploads and averages the accepted ones.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        How accepted uploads are averaged when the filter aggregates by itself; see `shares`.
    """

    weighting: str = "samples"

    def __post_init__(self) -> None:
        """Check ranges; rules with checks of their own call this first."""
        check_weighting(f"{self.name}.weighting", self.weighting)

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Return verdicts, the next state and numbers about the round."""
        raise NotImplementedError

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        """Judge, then average what was accepted."""
        verdicts, state, info = self.judge(updates, state, view)
        weight = shares(updates, verdicts.accepted, self.weighting)
        verdicts = replace(verdicts, weight=weight)
        delta = updates.weighted_sum(weight) if verdicts.accepted.any() else None
        return Outcome(delta, verdicts, info), state
