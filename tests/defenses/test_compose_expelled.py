"""A last judgement on clients, and a restart, pass through compositions and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from fedsiege.defenses.base import DefenseView, Filter, Verdicts
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.gate import guarded_step
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.none import FedAvg
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from tests.worlds import World

WORLD = World()
CLIENTS = np.arange(10)


@dataclass(frozen=True)
class Expel(Filter):
    """Expels the clients it is given."""

    name: ClassVar[str] = "expel"
    expels: ClassVar[bool] = True
    clients: tuple[int, ...] = ()
    restart: bool = False
    joint: bool = False
    absent: tuple[int, ...] = ()

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        out = np.isin(updates.clients, self.clients)
        verdicts = Verdicts.of(~out, np.zeros(updates.n), "expelled")
        return replace(verdicts, expelled=out, restart=self.restart, absent=self.absent), state, {}


def judged(defense: Any, updates: UpdateBatch) -> Verdicts:
    state = defense.init(WORLD.spec, np.random.default_rng(0))
    return guarded_step(defense, updates, state, WORLD.defense_view())[0].verdicts


def expelled(verdicts: Verdicts) -> list[int]:
    assert verdicts.expelled is not None
    assert verdicts.expelled.shape == verdicts.accepted.shape
    assert not (verdicts.expelled & verdicts.accepted).any()
    return np.flatnonzero(verdicts.expelled).tolist()


@pytest.mark.parametrize(
    "parts",
    [
        (Expel(clients=(2, 5)), Median()),
        (Expel(clients=(2, 5)), FedAvg()),
        (MultiKrum(byzantine=0), Expel(clients=(2, 5))),
        (Expel(clients=(2,)), Expel(clients=(5,))),
        (Expel(clients=(2, 5), joint=True), MultiKrum(byzantine=0)),
        (Expel(clients=(2,), joint=True), Expel(clients=(5,)), Median()),
    ],
    ids=lambda parts: "+".join(p.name for p in parts),
)
def test_expelled_clients_keep_their_places_in_a_composition(parts: tuple[Any, ...]) -> None:
    defense = Pipeline(parts)
    assert defense.expels
    assert expelled(judged(defense, WORLD.honest(CLIENTS))) == [2, 5]


def test_the_gate_keeps_places_beside_unusable_uploads() -> None:
    bad = WORLD.honest(CLIENTS).scale(np.array([np.nan, 1, 1, np.inf, 1, 1, 1, 1, 1, 1]))
    for defense in (Expel(clients=(0, 2, 5)), Pipeline((Expel(clients=(0, 2, 5)), Median()))):
        # Client 0 sent nothing usable, and what is not judged is not expelled.
        assert expelled(judged(defense, bad)) == [2, 5]


@pytest.mark.parametrize("restart", [False, True])
def test_a_restart_passes_through(restart: bool) -> None:
    updates = WORLD.honest(CLIENTS)
    part = Expel(clients=(1,), restart=restart)
    for defense in (part, Pipeline((part, Median())), Pipeline((MultiKrum(byzantine=0), part))):
        assert judged(defense, updates).restart is restart
    everyone = Expel(clients=tuple(CLIENTS), restart=restart)
    verdicts = judged(Pipeline((everyone, Median())), updates)
    assert verdicts.restart is restart
    assert expelled(verdicts) == CLIENTS.tolist()


def test_whoever_is_found_while_absent_passes_through_compositions_and_the_gate() -> None:
    updates = WORLD.honest(CLIENTS)
    one, other = Expel(clients=(1,), absent=(70, 90)), Expel(clients=tuple(CLIENTS), absent=(80,))
    nan = updates.scale(np.array([np.nan, *np.ones(9)]))
    for given in (updates, nan):
        assert judged(one, given).absent == (70, 90)
        assert judged(Pipeline((one, Median())), given).absent == (70, 90)
        assert judged(Pipeline((MultiKrum(byzantine=0), one)), given).absent == (70, 90)
        assert judged(Pipeline((one, other)), given).absent == (70, 80, 90)
        assert judged(Pipeline((other, Median())), given).absent == (80,)


def test_without_an_expelling_part_nobody_is() -> None:
    verdicts = judged(Pipeline((MultiKrum(), Median())), WORLD.honest(CLIENTS))
    assert verdicts.expelled is None
    assert not verdicts.restart


def test_whoever_is_found_while_unseen_but_takes_part_is_expelled_and_not_absent() -> None:
    # 4 is rejected before the detector sees it, 77 is not in the round.
    found = Expel(clients=(2,), absent=(4, 77))
    verdicts = judged(Pipeline((Reject(clients=(4,)), found)), WORLD.honest(CLIENTS))
    assert expelled(verdicts) == [2, 4]
    assert verdicts.absent == (77,)
    # The gate keeps an upload that is not finite from the detector.
    broken = WORLD.honest(CLIENTS).scale(np.where(CLIENTS == 4, np.nan, 1.0))
    verdicts = judged(found, broken)
    assert expelled(verdicts) == [2, 4]
    assert verdicts.absent == (77,)
    assert verdicts.reason[4] == "non-finite"


@dataclass(frozen=True)
class Reject(Filter):
    """Rejects the clients it is given, for this round."""

    name: ClassVar[str] = "reject"
    clients: tuple[int, ...] = ()

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        return Verdicts.of(~np.isin(updates.clients, self.clients), np.zeros(updates.n), "rejected"), state, {}
