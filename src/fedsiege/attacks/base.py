"""The attack interface and what an attack may know.

An attack declares its knowledge; the simulator hands it an `AttackView` with exactly that. Asking for more is a
`KnowledgeError`, so a threat model is a type and not a habit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch

from fedsiege.capabilities import Capability
from fedsiege.errors import KnowledgeError, UploadError
from fedsiege.learners.base import Goal, Held, ItemTask, Labelled, LocalData, ModelView, Pairs, State
from fedsiege.rng import generator
from fedsiege.updates import Delta, ModelSpec, UpdateBatch


class Knowledge(Flag):
    """What an attack may see. Every level includes the malicious clients' own data and code."""

    NONE = 0
    MODEL = auto()
    """The model that the server broadcasts."""
    COALITION = auto()
    """Honest updates of all malicious clients, sampled in this round or not."""
    BENIGN = auto()
    """The updates of the benign clients of the round (omniscient)."""
    ORACLE = auto()
    """A replayable copy of the server's defense."""

    @property
    def words(self) -> str:
        """The level in words, such as ``"coalition + model"``, as it is stored beside every score."""
        return " + ".join(sorted(str(flag.name).lower() for flag in self)) or "own data"


def _refuse(*_: object) -> UpdateBatch:
    raise KnowledgeError("this view grants nothing")


def _check(level: Knowledge, grants: Knowledge) -> None:
    if level not in grants:
        raise KnowledgeError(
            f"the attack asked for {level.words!r} but declares {grants.words!r}; add it to the attack's `knowledge`"
        )


class ShownModel:
    """The broadcast model as an attacker reads it: a `ModelView`, and nothing of the server's besides.

    Parameters
    ----------
    model : ModelView
        The model; it is read where it is, not copied.
    grants : Knowledge
        What the attack declares. Without ``Knowledge.MODEL`` every reading is refused (KnowledgeError).
    """

    def __init__(self, model: ModelView, grants: Knowledge) -> None:
        self._model, self._grants = model, grants

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        """Return the whole table `name`; see `ModelView.table`."""
        _check(Knowledge.MODEL, self._grants)
        return self._model.table(name, rows)

    def param(self, name: str) -> torch.Tensor:
        """Return a dense parameter."""
        _check(Knowledge.MODEL, self._grants)
        return self._model.param(name)


def held(data: Held, grants: Knowledge, coalition: np.ndarray) -> Held:
    """Return what malicious clients hold as an attack that declares `grants` may read it."""
    if isinstance(data, LocalData):
        data = replace(data, model=ShownModel(data.model, grants))
    return replace(data, coalition=coalition)


@dataclass(frozen=True)
class Rehearsal:
    """What the server would make of a whole round, as far as the attacker is concerned.

    Parameters
    ----------
    accepted : numpy.ndarray
        bool ``(n,)``: whether each of the attacker's uploads would take part in the aggregate.
    aggregate : mapping of str to Block, or None
        The aggregate of all uploads, one update of the whole model; None if no upload is left.
    """

    accepted: np.ndarray
    aggregate: Delta | None


@dataclass
class AttackView:
    """What one round shows to the attacker, cut to the attack's declared knowledge.

    Parameters
    ----------
    grants : Knowledge
        What may be asked for.
    spec : ModelSpec
        Names and shapes of the shared parameters (always known: the attacker runs the client's code).
    seed, round : int
        Address of the attacker's randomness.
    cohort : int
        Number of clients in the round.
    coalition : numpy.ndarray
        int64: ids of all malicious clients.
    present : numpy.ndarray
        int64: ids of the malicious clients sampled in this round, in the order of their uploads.
    """

    grants: Knowledge
    spec: ModelSpec
    seed: int
    round: int
    cohort: int
    coalition: np.ndarray
    present: np.ndarray
    _model: ModelView | None = None
    _train: Callable[[np.ndarray], UpdateBatch] = field(default=_refuse)
    _task: Callable[[np.ndarray, ItemTask], UpdateBatch] = field(default=_refuse)
    _benign: Callable[[], UpdateBatch] = field(default=_refuse)
    _oracle: Callable[[UpdateBatch], np.ndarray] | None = None
    _rehearse: Callable[[UpdateBatch], Rehearsal] | None = None

    def _require(self, level: Knowledge) -> None:
        _check(level, self.grants)

    def _require_members(self, clients: np.ndarray) -> None:
        others = np.setdiff1d(clients, self.coalition)
        if others.size:
            raise KnowledgeError(
                f"the attack asked what clients {', '.join(map(str, others.tolist()))} would upload, which are not "
                f"malicious; ask for members of `view.coalition`"
            )

    def rng(self, *where: int) -> np.random.Generator:
        """Return the attacker's generator of this round (and of further coordinates)."""
        return generator(self.seed, "attack", self.round, *where)

    @property
    def model(self) -> ModelView:
        """The broadcast model; needs ``Knowledge.MODEL``."""
        self._require(Knowledge.MODEL)
        assert self._model is not None
        return ShownModel(self._model, self.grants)

    def pool(self, limit: int | None = None) -> np.ndarray:
        """Return ids of the coalition: those present first, then others by lot, at most `limit`."""
        others = np.setdiff1d(self.coalition, self.present)
        if limit is not None and limit < self.coalition.size:
            others = np.sort(self.rng(0).permutation(others)[: max(limit - self.present.size, 0)])
        return np.concatenate([self.present, others])[:limit]

    def honest(self, clients: np.ndarray) -> UpdateBatch:
        """Return what members of the coalition would upload honestly; needs ``Knowledge.COALITION``.

        Raises
        ------
        KnowledgeError
            If the level is not declared, or one of `clients` is not malicious.
        """
        self._require(Knowledge.COALITION)
        self._require_members(clients)
        return self._train(clients)

    def task(self, clients: np.ndarray, task: ItemTask) -> UpdateBatch:
        """Return what an extra local objective alone would make members upload (own data and code).

        Raises
        ------
        KnowledgeError
            If one of `clients` is not malicious.
        """
        self._require_members(clients)
        return self._task(clients, task)

    def benign(self) -> UpdateBatch:
        """Return the benign uploads of this round; needs ``Knowledge.BENIGN``."""
        self._require(Knowledge.BENIGN)
        return self._benign()

    def oracle(self, uploads: UpdateBatch) -> np.ndarray:
        """Return which of `uploads` the server's defense would accept now, bool ``(n,)``; needs ``Knowledge.ORACLE``.

        The defense judges these uploads alone, and its state stays as it is.
        """
        self._require(Knowledge.ORACLE)
        assert self._oracle is not None
        return self._oracle(uploads)

    def rehearse(self, uploads: UpdateBatch) -> Rehearsal:
        """Return what the defense would make of this round with `uploads` in it, among the benign ones.

        Needs ``Knowledge.ORACLE | Knowledge.BENIGN``. The uploads are those of the malicious clients ``present``, in
        that order. Uploaded for real they get exactly this answer: the copy has the server's settings, state and
        random numbers. The defense's state stays as it is.

        Raises
        ------
        KnowledgeError
            If either level is not declared.
        UploadError
            If the uploads are of other clients.
        """
        self._require(Knowledge.ORACLE)
        self._require(Knowledge.BENIGN)
        assert self._rehearse is not None
        if not np.array_equal(uploads.clients, self.present):
            raise UploadError("a rehearsal takes one upload of every malicious client of the round, in their order")
        return self._rehearse(uploads)


@runtime_checkable
class Attack(Protocol):
    """A poisoning attack: a frozen dataclass of hyper-parameters with pure steps.

    ``step`` gets the honest (or data-poisoned) uploads of the malicious clients of the round and returns what
    they upload instead. ``poisons_data`` attacks also have their clients' training pairs replaced through
    ``poison``. With ``honest`` the coalition does what honest clients do, client-side defenses included.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    knowledge: ClassVar[Knowledge]
    poisons_data: ClassVar[bool]
    honest: ClassVar[bool]

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return the state before the first round."""
        ...

    def goal(self) -> Goal | None:
        """Return what a targeted attack wants, so that its success can be measured; None if it is untargeted."""
        ...

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs | Labelled:
        """Return that on which malicious clients train; called only if ``poisons_data``."""
        ...

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Return the malicious uploads of this round, same clients in the same order, and the next state."""
        ...


@dataclass(frozen=True)
class AttackBase:
    """Defaults for attacks: no state, no data poisoning, uploads unchanged."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset()
    knowledge: ClassVar[Knowledge] = Knowledge.NONE
    poisons_data: ClassVar[bool] = False
    honest: ClassVar[bool] = False

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return an empty state."""
        return {}

    def goal(self) -> Goal | None:
        """Return None: the attack is untargeted."""
        return None

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs | Labelled:
        """Leave the data as it is."""
        return data.pairs if isinstance(data, LocalData) else data

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        """Leave the uploads as they are."""
        return updates, state
