"""What every attack must keep to, whatever it does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege import registry
from fedsiege.attacks import Attack, Knowledge
from fedsiege.errors import KnowledgeError
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch
from tests.conformance.catalogue import ATTACKS, draws, label
from tests.deadline import within
from tests.trees import fingerprint, read, write
from tests.worlds import Diverging, World

COALITION = np.arange(100, 112)
PRESENT = np.array([107, 101, 110])
BY_NAME = sorted({a.name: a for a in ATTACKS}.items())

every = pytest.mark.parametrize("attack", ATTACKS, ids=label)


def one(attack: Attack, world: World, present: np.ndarray = PRESENT, **view: object) -> UpdateBatch:
    state = attack.init(world.spec, generator(0, "attack-init"))
    shown = world.attack_view(attack, present, COALITION, **view)  # type: ignore[arg-type]
    return attack.step(world.honest(present), state, shown)[0]


@pytest.mark.parametrize(("name", "attack"), BY_NAME, ids=[n for n, _ in BY_NAME])
def test_it_is_documented_and_frozen(name: str, attack: Attack) -> None:
    assert isinstance(attack, Attack)
    assert name
    assert isinstance(attack.knowledge, Knowledge)
    first, *rest = (type(attack).__doc__ or "").splitlines()
    assert ": " in first
    assert first.rstrip().endswith(".")
    if name != "none":
        assert any(line.strip().startswith("Reference: ") for line in rest)
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.name = "other"  # type: ignore[misc]


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_uploads_keep_clients_shapes_dtype_and_are_finite(attack: Attack, dtype: torch.dtype) -> None:
    world = World(dtype)
    crafted = one(attack, world)
    crafted.check(world.spec)
    np.testing.assert_array_equal(crafted.clients, PRESENT)
    np.testing.assert_array_equal(crafted.counts, world.honest(PRESENT).counts)
    assert crafted.finite.all()
    assert {block.dtype for block in crafted.blocks.values()} == {dtype}


@every
def test_it_runs_on_a_model_of_an_item_table_alone(attack: Attack) -> None:
    world = World(head=False)
    one(attack, world).check(world.spec)


@every
def test_same_seed_same_uploads_and_nothing_is_changed(attack: Attack) -> None:
    world = World()
    updates, state = world.honest(PRESENT), attack.init(world.spec, generator(0, "attack-init"))
    before = fingerprint([updates, state, world.model.params])
    shown = world.attack_view(attack, PRESENT, COALITION)
    first, second = attack.step(updates, state, shown), attack.step(updates, state, shown)
    assert fingerprint(list(first)) == fingerprint(list(second))
    assert fingerprint([updates, state, world.model.params]) == before


@every
def test_random_numbers_depend_on_seed_and_round_if_there_are_any(attack: Attack) -> None:
    world = World()
    state = attack.init(world.spec, generator(0, "attack-init"))
    here = world.attack_view(attack, PRESENT, COALITION)
    there = [world.attack_view(attack, PRESENT, COALITION, seed=12), dataclasses.replace(here, round=2)]
    first, *others = (fingerprint(attack.step(world.honest(PRESENT), state, view)[0]) for view in (here, *there))
    assert [other != first for other in others] == [draws(attack)] * 2


@every
@pytest.mark.parametrize("order", [(2, 0, 4, 1, 3), (4, 3, 2, 1, 0)], ids=str)
def test_order_of_clients_does_not_matter(attack: Attack, order: tuple[int, ...]) -> None:
    world, places = World(torch.float64), np.array(order)
    present = np.array([107, 101, 110, 103, 100])
    straight, mixed = one(attack, world, present), one(attack, world, present[places])
    np.testing.assert_array_equal(mixed.counts, straight.counts[places])
    torch.testing.assert_close(mixed.flat(), straight.flat()[places], rtol=1e-6, atol=1e-9)


@every
def test_state_survives_writing_and_reading(attack: Attack, tmp_path: Path) -> None:
    world = World()
    cohorts = [PRESENT, np.array([103]), np.array([101, 103]), COALITION]
    ends = []
    for saved in (False, True):
        state = attack.init(world.spec, generator(0, "attack-init"))
        uploads = []
        for round_, present in enumerate(cohorts, 1):
            if saved:
                write(state, tmp_path / str(round_))
                state = read(tmp_path / str(round_))
            shown = world.attack_view(attack, present, COALITION, round_=round_)
            crafted, state = attack.step(world.honest(present, round_), state, shown)
            assert crafted.n == present.size
            uploads.append(crafted)
        ends.append(fingerprint([uploads, state]))
    assert ends[0] == ends[1]


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("lost", [(103, 1003), (101,), (*COALITION, 1003)], ids=["absent", "present", "all"])
def test_clients_that_have_diverged_spoil_no_upload_but_their_own(
    attack: Attack, lost: tuple[int, ...], value: float
) -> None:
    world = Diverging(lost=lost, value=value)
    with within(60):
        crafted = one(attack, world)
    crafted.check(world.spec)
    np.testing.assert_array_equal(crafted.clients, PRESENT)
    assert crafted.usable[~np.isin(PRESENT, lost)].all()


@every
def test_it_asks_for_no_more_than_it_declares(attack: Attack) -> None:
    # Levels that a step reads must be declared: without any of them the view refuses.
    read_in_step = Knowledge.COALITION | Knowledge.BENIGN | Knowledge.ORACLE
    if attack.knowledge & read_in_step:
        with pytest.raises(KnowledgeError):
            one(attack, World(), grants=Knowledge.NONE)
        for flag in attack.knowledge & read_in_step:
            with pytest.raises(KnowledgeError):
                one(attack, World(), grants=attack.knowledge & ~flag)
    else:
        one(attack, World(), grants=attack.knowledge)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if "labels" not in a.needs], ids=label)
def test_poisoned_pairs_keep_clients_lengths_and_catalog(attack: Attack) -> None:
    world = World()
    data = world.local_data(np.array([5, 3, 9, 4]))
    before = fingerprint([data.pairs, data.users, world.model.params])
    first, second = (attack.poison(data, generator(0, "poison", 1)) for _ in range(2))
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint([data.pairs, data.users, world.model.params]) == before
    np.testing.assert_array_equal(first.clients, data.pairs.clients)
    np.testing.assert_array_equal(first.ptr, data.pairs.ptr)
    assert first.items.dtype == data.pairs.items.dtype
    assert first.items.shape == data.pairs.items.shape
    assert first.items.min() >= 0
    assert first.items.max() < world.items
    changed = not np.array_equal(first.items, data.pairs.items)
    assert changed == attack.poisons_data


@pytest.mark.parametrize("attack", [a for a in ATTACKS if not {"pairs", "items"} & a.needs], ids=label)
def test_poisoned_samples_keep_clients_shapes_and_classes(attack: Attack) -> None:
    data = World().labelled(np.array([5, 3, 9, 4]))
    before = fingerprint(data)
    first, second = (attack.poison(data, generator(0, "poison", 1)) for _ in range(2))
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(data) == before
    np.testing.assert_array_equal(first.clients, data.clients)
    assert first.num_classes == data.num_classes
    # Samples may be added, but nobody who holds none gets any.
    assert first.ptr.dtype == data.ptr.dtype
    lengths, honest = np.diff(first.ptr), np.diff(data.ptr)
    assert first.ptr[0] == 0
    assert (lengths >= honest).all()
    assert not lengths[honest == 0].any()
    assert first.x.shape == (first.ptr[-1], *data.x.shape[1:])
    assert first.y.shape == (first.ptr[-1],)
    assert (first.x.dtype, first.y.dtype) == (data.x.dtype, data.y.dtype)
    assert first.x.isfinite().all()
    assert first.y.min() >= 0
    assert first.y.max() < data.num_classes
    changed = fingerprint([first.x, first.y]) != fingerprint([data.x, data.y])
    assert changed == attack.poisons_data


@every
def test_a_goal_is_a_class_and_its_trigger_is_pure(attack: Attack) -> None:
    goal = attack.goal()
    if goal is None:
        return
    assert "labels" in attack.needs
    assert goal.target >= 0
    assert goal.source is None or 0 <= goal.source != goal.target
    if goal.trigger is not None:
        x = World().labelled(np.array([5, 3])).x
        before = fingerprint(x)
        once = goal.trigger(x)
        assert (once.shape, once.dtype) == (x.shape, x.dtype)
        assert not torch.equal(once, x)
        assert torch.equal(goal.trigger(once), once)
        assert fingerprint(x) == before


@every
@given(present=st.integers(1, 5), size=st.integers(1, 6), cohort=st.integers(1, 8))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_any_coalition_and_cohort(attack: Attack, present: int, size: int, cohort: int) -> None:
    world = World(items=12, dim=2)
    coalition = np.arange(50, 50 + size)
    here = coalition[: min(present, size, cohort)]
    state = attack.init(world.spec, generator(0, "attack-init"))
    shown = world.attack_view(attack, here, coalition, cohort)
    crafted, _ = attack.step(world.honest(here), state, shown)
    crafted.check(world.spec)
    np.testing.assert_array_equal(crafted.clients, here)
    assert crafted.finite.all()


def test_every_registered_attack_is_examined() -> None:
    names = {part.name for one in ATTACKS for part in getattr(one, "parts", (one,))}
    assert set(registry.entries("attacks")) <= names
