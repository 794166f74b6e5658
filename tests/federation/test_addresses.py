"""Where randomness and state come from: views carry seed and round, and each group keeps states of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from fedsiege.attacks.base import AttackBase, AttackView
from fedsiege.defenses.base import DefenseBase, DefenseView, Outcome, Verdicts
from fedsiege.federation.loop import Federation, FederationConfig
from fedsiege.federation.server import ServerConfig
from fedsiege.learners.base import Held, Pairs, State
from fedsiege.learners.mlp import MLPConfig
from fedsiege.rng import generator
from fedsiege.updates import ModelSpec, UpdateBatch
from tests.pictures import pictures

SEEN: list[tuple[Any, ...]] = []


def first(rng: np.random.Generator) -> int:
    """Return a generator's first number, which names its address."""
    return int(rng.integers(2**62))


@dataclass(frozen=True)
class Watcher(AttackBase):
    """Notes what it is given, and keeps the clients that it has met."""

    name: ClassVar[str] = "watcher"
    poisons_data: ClassVar[bool] = True

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        SEEN.append(("attack-init", first(rng)))
        return {"met": []}

    def poison(self, data: Held, rng: np.random.Generator) -> Pairs:
        SEEN.append(("poison", first(rng)))
        return data  # type: ignore[return-value]

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        SEEN.append(("attack", view.round, view.seed, first(view.rng()), first(view.rng(4))))
        return updates, {"met": sorted({*state["met"], *updates.clients.tolist()})}


@dataclass(frozen=True)
class Guard(DefenseBase):
    """Notes what it is given, and keeps the clients that it has met; `models` global models."""

    name: ClassVar[str] = "guard"
    groups: int = 1

    @property
    def models(self) -> int:  # type: ignore[override]
        return self.groups

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        SEEN.append(("defense-init", first(rng)))
        return {"met": []}

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        SEEN.append(("defense", view.round, view.seed, first(view.rng()), first(view.rng(4))))
        met = sorted({*state["met"], *updates.clients.tolist()})
        return Outcome(None, Verdicts.all_accepted(updates.n), {}), {"met": met}


def federation(seed: int, groups: int = 1) -> Federation:
    learner = MLPConfig(together="never", hidden=(4,), batch=8).build(pictures((9, 12, 8, 15, 11, 10)), "fair", 0)
    config = FederationConfig(rounds=6, cohort=1.0, malicious=0.67, reserved=0.0)
    return Federation(learner, Watcher(), Guard(groups), config, ServerConfig("sgd", 1.0), seed)


@pytest.mark.parametrize("seed", [0, 9])
def test_every_draw_has_the_address_of_its_run_round_and_purpose(seed: int) -> None:
    SEEN.clear()
    f = federation(seed)
    f.step()
    f.step()
    of = lambda *address: first(generator(seed, *address))  # noqa: E731
    expected = [("attack-init", of("attack-init")), ("defense-init", of("defense-init"))]
    for round_ in (1, 2):
        expected.append(("poison", of("poison", round_)))
        whose = ("attack", "defense")
        expected += [(who, round_, seed, of(who, round_), of(who, round_, 4)) for who in whose]  # type: ignore[misc]
    assert expected == SEEN


def test_every_group_has_states_and_draws_of_its_own() -> None:
    SEEN.clear()
    f = federation(3, groups=2)
    starts = [("attack-init", first(generator(3, "attack-init", g))) for g in range(2)]
    starts += [("defense-init", first(generator(3, "defense-init", g))) for g in range(2)]
    assert starts == SEEN
    assert len({value for _, value in SEEN}) == 4
    f.step()
    for group in range(2):
        members = np.flatnonzero(f.groups.of_client == group)
        assert f.defense_state[group]["met"] == members.tolist()
        assert f.attack_state[group]["met"] == members[f.is_malicious[members]].tolist()
        assert f.attack_state[group]["met"]


def test_the_loss_of_a_round_is_that_of_its_benign_clients() -> None:
    f = federation(3)
    trained = f._train(f.model, np.arange(6), f.is_malicious, 1)
    assert f.is_malicious.any()
    assert not f.is_malicious.all()
    assert f.step().loss == pytest.approx(trained.loss[~f.is_malicious].mean())
    assert trained.loss.mean() != pytest.approx(trained.loss[~f.is_malicious].mean())
