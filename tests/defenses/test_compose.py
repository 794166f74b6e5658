"""Filters in front of a rule, and the gate in front of everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from fedsiege.defenses.afa import AFA
from fedsiege.defenses.base import ClientHalf, DefenseBase, DefenseView, Filter, Outcome, Verdicts
from fedsiege.defenses.compose import Halves, Pipeline, compose
from fedsiege.defenses.contra import Contra
from fedsiege.defenses.fl_wbc import FLWBC
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.gate import guarded_step
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.none import FedAvg
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.union import Union
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from tests.worlds import World

WORLD = World()
CLIENTS = np.arange(10)


@dataclass(frozen=True)
class Ban(Filter):
    """Rejects the clients it is given."""

    name: ClassVar[str] = "ban"
    clients: tuple[int, ...] = ()
    joint: bool = False
    unit: float = 1.0

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        accepted = ~np.isin(updates.clients, self.clients)
        seen = [*state.get("seen", []), updates.n]
        return Verdicts.of(accepted, self.unit * updates.clients, "banned"), {"seen": seen}, {"n": updates.n}


def step(defense: Any, updates: UpdateBatch | None = None, state: State | None = None) -> tuple[Outcome, State]:
    updates = WORLD.honest(CLIENTS) if updates is None else updates
    state = defense.init(WORLD.spec, np.random.default_rng(0)) if state is None else state
    return guarded_step(defense, updates, state, WORLD.defense_view())


def same(left: Any, right: Any) -> None:
    for name in left:
        np.testing.assert_allclose(left[name].dense().numpy(), right[name].dense().numpy(), rtol=1e-5, atol=1e-8)


def test_a_filter_in_front_of_a_rule_is_the_rule_on_what_is_left() -> None:
    outcome, state = step(Pipeline((Ban(clients=(2, 5)), Median())))
    kept = np.setdiff1d(CLIENTS, [2, 5])
    same(outcome.delta, step(Median(), WORLD.honest(kept))[0].delta)
    assert outcome.verdicts.reason[2] == outcome.verdicts.reason[5] == "banned"
    assert outcome.verdicts.weight[[2, 5]].tolist() == [0, 0]
    assert outcome.verdicts.score.tolist() == CLIENTS.tolist()
    assert outcome.info == {"ban.n": 10}
    assert state["0"] == {"seen": [10]}


def test_filters_in_a_row_see_only_what_the_one_before_left() -> None:
    outcome, state = step(Pipeline((Ban(clients=(1,)), Ban(clients=(2,)), FedAvg())))
    assert np.flatnonzero(~outcome.verdicts.accepted).tolist() == [1, 2]
    assert state["1"] == {"seen": [9]}
    assert outcome.verdicts.weight.sum() == pytest.approx(1)


def test_the_score_of_an_upload_is_that_of_the_first_filter_that_has_one() -> None:
    outcome, _ = step(Pipeline((Ban(clients=(1,)), Ban(clients=(2,), unit=-1.0), FedAvg())))
    assert outcome.verdicts.score.tolist() == CLIENTS.tolist()
    outcome, _ = step(Pipeline((Ban(clients=(1,), unit=np.nan), Ban(clients=(2,), unit=-1.0), FedAvg())))
    np.testing.assert_array_equal(outcome.verdicts.score, np.where(CLIENTS == 1, np.nan, -CLIENTS))


def test_after_a_joint_filter_the_next_judges_all_uploads_and_the_union_is_dropped() -> None:
    outcome, state = step(Pipeline((Ban(clients=(1, 2), joint=True), Ban(clients=(2, 3)))))
    assert np.flatnonzero(~outcome.verdicts.accepted).tolist() == [1, 2, 3]
    assert state["1"] == {"seen": [10]}
    kept = np.setdiff1d(CLIENTS, [1, 2, 3])
    same(outcome.delta, step(FedAvg(), WORLD.honest(kept))[0].delta)


@pytest.mark.parametrize("last", [Median(), Ban(), MultiKrum()])
def test_when_everything_is_rejected_there_is_no_aggregate(last: Any) -> None:
    outcome, _ = step(Pipeline((Ban(clients=tuple(CLIENTS)), last)))
    assert outcome.delta is None
    assert not outcome.verdicts.accepted.any()
    assert outcome.verdicts.weight.sum() == 0


def test_a_rule_cannot_stand_in_front() -> None:
    with pytest.raises(ConfigError, match="'median' aggregates by itself"):
        Pipeline((Median(), FedAvg()))


def test_two_extra_tasks_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than one part"):
        Pipeline((Union(), Union(), FedAvg()))


def test_client_halves_are_joined() -> None:
    half = Pipeline((Union(), FLWBC())).client_half()
    assert isinstance(half, Halves)
    assert half.task is not None
    assert half.transforms
    assert half.wants_next
    assert Pipeline((MultiKrum(), NormBound())).client_half() is None
    updates = WORLD.honest(CLIENTS)
    ahead = WORLD.honest(CLIENTS)
    joined = half.transform(updates, ahead, 1, 2)
    alone = FLWBC().client_half()
    assert alone is not None
    same(joined.blocks, alone.transform(updates, ahead, 1, 2).blocks)


def test_compose_of_one_is_that_one() -> None:
    median = Median()
    assert compose((median,)) is median
    assert compose({"ban": Ban(), "median": median}).name == "ban+median"


def test_the_gate_names_non_finite_uploads_and_passes_the_others_on() -> None:
    updates = WORLD.honest(CLIENTS)
    bad = updates.scale(np.array([1, np.nan, 1, np.inf, 1e30, 1, 1, 1, 1, 1]))
    outcome, _ = step(FedAvg(), bad)
    assert np.flatnonzero(~outcome.verdicts.accepted).tolist() == [1, 3, 4]
    assert {outcome.verdicts.reason[i] for i in (1, 3, 4)} == {"non-finite"}
    same(outcome.delta, step(FedAvg(), WORLD.honest(np.setdiff1d(CLIENTS, [1, 3, 4])))[0].delta)


def test_with_nothing_left_the_gate_keeps_the_state() -> None:
    outcome, state = step(Ban(), WORLD.honest(CLIENTS).scale(np.full(10, np.nan)), {"seen": [3]})
    assert outcome.delta is None
    assert state == {"seen": [3]}
    empty, _ = step(FedAvg(), WORLD.honest(np.empty(0, np.int64)))
    assert empty.delta is None


def test_the_base_asks_nothing() -> None:
    assert DefenseBase().client_half() is None
    half = ClientHalf()
    updates = WORLD.honest(CLIENTS)
    assert half.transform(updates, None, 0, 1) is updates
    assert not half.transforms
    assert not half.wants_next


@pytest.mark.parametrize("last", [Flame(noise=0.0), Contra(), AFA()], ids=lambda d: d.name)
def test_behind_a_joint_filter_a_rule_that_aggregates_in_its_own_way_still_does(last: Any) -> None:
    outcome, _ = step(Pipeline((Ban(clients=(1, 2), joint=True), last)))
    alone, _ = step(last, WORLD.honest(np.setdiff1d(CLIENTS, [1, 2])))
    same(outcome.delta, alone.delta)
    assert np.flatnonzero(~outcome.verdicts.accepted).tolist()[:2] == [1, 2]
