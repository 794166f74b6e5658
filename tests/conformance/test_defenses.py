"""What every defense must keep to, whatever it does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege import registry
from fedsiege.defenses import Defense, Outcome
from fedsiege.defenses.gate import guarded_step
from fedsiege.rng import generator
from fedsiege.updates import Delta, RowBlock, UpdateBatch
from tests.conformance.catalogue import DEFENSES, OWN_MEASURE, TABLE_ONLY, draws, label
from tests.trees import fingerprint, read, write
from tests.worlds import World, made_dense

CLIENTS = np.array([31, 4, 15, 92, 65, 35, 89, 79, 32, 38, 46])
BY_NAME = sorted({d.name: d for d in DEFENSES if not hasattr(d, "parts")}.items())

every = pytest.mark.parametrize("defense", DEFENSES, ids=label)


def flat(delta: Delta | None) -> np.ndarray:
    """Return an aggregate as one float64 vector."""
    assert delta is not None
    return np.concatenate([block.dense().double().numpy().ravel() for block in delta.values()])


def changes_uploads(defense: Defense) -> bool:
    half = defense.client_half()
    return half is not None and half.transforms


def trusts_counts(defense: Defense) -> bool:
    """Tell whether a rule weighs uploads by declared counts, as it is asked to (Krum takes one upload)."""
    defense = defense.parts[-1] if hasattr(defense, "parts") else defense
    return getattr(defense, "weighting", "uniform") == "samples" and defense.name != "krum"


def adds_noise(defense: Defense) -> bool:
    """Tell whether the aggregate is made noisy on purpose, by a field called ``noise``."""
    defense = defense.parts[-1] if hasattr(defense, "parts") else defense
    return getattr(defense, "noise", 0.0) > 0


def check_expelled(defense: Defense, outcome: Outcome) -> None:
    """Whoever is expelled is rejected, and only a defense that says so expels."""
    v = outcome.verdicts
    assert not v.restart or defense.expels
    if v.expelled is not None:
        assert defense.expels
        assert v.expelled.dtype == bool
        assert v.expelled.shape == v.accepted.shape
        assert not (v.expelled & v.accepted).any()


def one(defense: Defense, world: World, updates: UpdateBatch, told: int | None = None) -> Outcome:
    state = defense.init(world.spec, generator(0, "defense-init"))
    return defense.step(updates, state, world.defense_view(told=told))[0]


def with_upload(updates: UpdateBatch, place: int, value: float) -> UpdateBatch:
    """Return `updates` in which all values of one upload are `value`."""
    bad = updates.select(np.array([place]))
    blocks = {}
    for name, block in bad.blocks.items():
        filled = torch.full_like(block.values, value)  # type: ignore[attr-defined]
        blocks[name] = dataclasses.replace(block, values=filled)  # type: ignore[type-var]
    return updates.replace(np.array([place]), UpdateBatch(bad.clients, bad.counts, blocks))


@pytest.mark.parametrize(("name", "defense"), BY_NAME, ids=[n for n, _ in BY_NAME])
def test_it_is_documented_and_frozen(name: str, defense: Defense) -> None:
    assert isinstance(defense, Defense)
    assert name
    first, *rest = (type(defense).__doc__ or "").splitlines()
    assert ": " in first
    assert first.rstrip().endswith(".")
    assert any(line.strip().startswith("Reference: ") for line in rest)
    with pytest.raises(dataclasses.FrozenInstanceError):
        defense.name = "other"  # type: ignore[misc]


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_aggregate_and_verdicts_are_well_formed(defense: Defense, dtype: torch.dtype) -> None:
    world = World(dtype)
    outcome = one(defense, world, world.honest(CLIENTS))
    assert outcome.delta is not None
    UpdateBatch(np.zeros(1, np.int64), np.ones(1), outcome.delta).check(world.spec)
    assert {block.dtype for block in outcome.delta.values()} == {dtype}
    assert np.isfinite(flat(outcome.delta)).all()
    v, n = outcome.verdicts, CLIENTS.size
    assert v.accepted.dtype == bool
    assert v.score.dtype == v.weight.dtype == np.float64
    assert v.accepted.shape == v.score.shape == v.weight.shape == (n,)
    assert (v.weight >= 0).all()
    assert (v.weight[~v.accepted] == 0).all()
    assert v.weight.sum() == pytest.approx(1.0)
    assert len(v.reason) == n
    assert all(isinstance(reason, str) for reason in v.reason)
    assert all(reason for reason, ok in zip(v.reason, v.accepted) if not ok)
    check_expelled(defense, outcome)


@every
def test_same_call_same_result_and_nothing_is_changed(defense: Defense) -> None:
    world = World()
    updates, state = world.honest(CLIENTS), defense.init(world.spec, generator(0, "defense-init"))
    before = fingerprint([updates, state, world.model.params])
    first, second = (defense.step(updates, state, world.defense_view()) for _ in range(2))
    assert fingerprint(list(first)) == fingerprint(list(second))
    assert fingerprint([updates, state, world.model.params]) == before


@every
def test_random_numbers_depend_on_seed_and_round_if_there_are_any(defense: Defense) -> None:
    world = World()
    state = defense.init(world.spec, generator(0, "defense-init"))
    views = world.defense_view(), world.defense_view(seed=12), world.defense_view(round_=2)
    first, *others = (fingerprint(defense.step(world.honest(CLIENTS), state, view)[0]) for view in views)
    assert [other != first for other in others] == [draws(defense)] * 2


@every
@given(order=st.permutations(range(CLIENTS.size)), told=st.one_of(st.none(), st.integers(0, 4)))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_order_of_uploads_does_not_matter(defense: Defense, order: list[int], told: int | None) -> None:
    world, places = World(), np.array(order)
    updates = world.honest(CLIENTS)
    straight, mixed = one(defense, world, updates, told), one(defense, world, updates.select(places), told)
    np.testing.assert_allclose(flat(mixed.delta), flat(straight.delta), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(mixed.verdicts.accepted, straight.verdicts.accepted[places])
    np.testing.assert_allclose(mixed.verdicts.score, straight.verdicts.score[places], rtol=1e-4)
    np.testing.assert_allclose(mixed.verdicts.weight, straight.verdicts.weight[places], rtol=1e-9)
    assert mixed.verdicts.reason == tuple(straight.verdicts.reason[p] for p in places)


@every
def test_state_survives_writing_reading_and_changing_cohorts(defense: Defense, tmp_path: Path) -> None:
    world = World()
    ends = []
    for saved in (False, True):
        state = defense.init(world.spec, generator(0, "defense-init"))
        outcomes = []
        for round_ in range(1, 6):
            if saved:
                write(state, tmp_path / str(round_))
                state = read(tmp_path / str(round_))
            rng = generator(3, "cohort", round_)
            cohort = np.sort(rng.choice(40, int(rng.integers(1, 14)), replace=False))
            outcome, state = defense.step(world.honest(cohort, round_), state, world.defense_view(round_))
            assert outcome.verdicts.accepted.size == cohort.size
            check_expelled(defense, outcome)
            outcomes.append(outcome)
        ends.append(fingerprint([outcomes, state]))
    assert ends[0] == ends[1]


@every
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("told", [None, 0, 1, 5])
def test_few_clients(defense: Defense, n: int, told: int | None) -> None:
    world = World()
    outcome = one(defense, world, world.honest(CLIENTS[:n]), told)
    if outcome.delta is not None:
        assert np.isfinite(flat(outcome.delta)).all()
        assert outcome.verdicts.weight.sum() == pytest.approx(1.0)
    if n == 1:
        assert outcome.verdicts.accepted.all()


@pytest.mark.parametrize(
    "defense", [d for d in DEFENSES if not adds_noise(d) and not OWN_MEASURE & set(d.name.split("+"))], ids=label
)
@pytest.mark.parametrize("value", [None, 0.0])
def test_equal_uploads_are_their_own_aggregate(defense: Defense, value: float | None) -> None:
    world = World(scale=1e-4)
    single = world.honest(CLIENTS[:1])
    if value is not None:
        single = with_upload(single, 0, value)
    same = single.select(np.zeros(CLIENTS.size, np.int64))
    updates = UpdateBatch(CLIENTS, same.counts, same.blocks)
    outcome = one(defense, world, updates)
    np.testing.assert_allclose(flat(outcome.delta), flat(single.blocks), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    "defense", [d for d in DEFENSES if not TABLE_ONLY & set(d.name.split("+")) and not adds_noise(d)], ids=label
)
def test_dense_uploads_give_what_sparse_ones_give(defense: Defense) -> None:
    world = World()
    updates = world.honest(CLIENTS)
    sparse, dense = one(defense, world, updates), one(defense, world, made_dense(updates))
    np.testing.assert_allclose(flat(dense.delta), flat(sparse.delta), rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(dense.verdicts.accepted, sparse.verdicts.accepted)
    np.testing.assert_allclose(dense.verdicts.score, sparse.verdicts.score, rtol=1e-5)


def remembered(state: object, clients: set[int], where: str = "") -> dict[str, str]:
    """Return, by its place in a state, a fingerprint of whatever is kept under the id of one of `clients`."""
    found = {}
    if isinstance(state, dict):
        for key, value in state.items():
            if (isinstance(key, int) or key.isdigit()) and int(key) in clients:
                found[f"{where}/{key}"] = fingerprint(value)
            else:
                found |= remembered(value, clients, f"{where}/{key}")
    if isinstance(state, list):
        found |= {f"{where}/{x}": "listed" for x in state if isinstance(x, int) and x in clients}
    return found


REMEMBERING = {"union-memory", "contra", "fldetector", "redefense"}
"""Names of the defenses that must be seen to remember clients by id."""


def gathered(updates: UpdateBatch, world: World) -> UpdateBatch:
    """Return uploads that move every item they touch to one point."""
    table, block = world.model.params["items"], updates.blocks["items"]
    assert isinstance(block, RowBlock)
    blocks = {**updates.blocks, "items": dataclasses.replace(block, values=(table.mean(0) - table)[block.rows])}
    return UpdateBatch(updates.clients, updates.counts, blocks)


@every
def test_what_is_remembered_of_absent_clients_stays(defense: Defense) -> None:
    # Ids beyond any number of a round or of a part, so that a key which is a client's id is one.
    world, absent, others = World(), np.arange(500, 506), np.arange(600, 610)
    everyone = np.concatenate([absent, others])
    state = defense.init(world.spec, generator(0, "defense-init"))
    for round_ in range(1, 5):
        updates = world.honest(everyone, round_)
        odd = np.array([0, 1, 7])
        updates = updates.replace(odd, gathered(updates.select(odd), world))
        _, state = defense.step(updates, state, world.defense_view(round_))
    kept = remembered(state, set(absent.tolist()))
    outcome, after = defense.step(world.honest(others, 5), state, world.defense_view(5))
    if not outcome.verdicts.restart:
        assert kept.items() <= remembered(after, set(absent.tolist())).items()
    if REMEMBERING & set(defense.name.split("+")):
        assert kept
        assert not outcome.verdicts.restart


@pytest.mark.parametrize("defense", [d for d in DEFENSES if d.expels], ids=label)
def test_an_expelled_client_stays_out_while_others_go_on(defense: Defense) -> None:
    world, far = World(), np.array([4, 9])
    clients = np.arange(20)
    state, out = defense.init(world.spec, generator(0, "defense-init")), np.zeros(clients.size, bool)
    for round_ in range(1, 15):
        updates = world.honest(clients, round_)
        updates = updates.replace(far, updates.select(far).scale(np.full(far.size, -3.0 if round_ % 2 else 5.0)))
        outcome, state = defense.step(updates, state, world.defense_view(round_))
        check_expelled(defense, outcome)
        assert not outcome.verdicts.accepted[out].any()
        if outcome.verdicts.expelled is not None:
            out |= outcome.verdicts.expelled
        assert outcome.verdicts.accepted[~out].any()


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_unusable_uploads_are_rejected_before_any_rule(defense: Defense, value: float) -> None:
    world = World()
    good = world.honest(CLIENTS)
    bad = with_upload(with_upload(good, 2, value), 7, value)
    state = defense.init(world.spec, generator(0, "defense-init"))
    outcome, after = guarded_step(defense, bad, state, world.defense_view())
    v = outcome.verdicts
    assert [i for i, reason in enumerate(v.reason) if reason == "non-finite"] == [2, 7]
    assert not v.accepted[[2, 7]].any()
    assert (v.weight[[2, 7]] == 0).all()
    left = np.setdiff1d(np.arange(CLIENTS.size), [2, 7])
    alone, expected = defense.step(good.select(left), state, world.defense_view())
    np.testing.assert_array_equal(flat(outcome.delta), flat(alone.delta))
    np.testing.assert_array_equal(v.accepted[left], alone.verdicts.accepted)
    assert fingerprint(after) == fingerprint(expected)


@every
def test_a_round_of_unusable_uploads_leaves_the_model(defense: Defense) -> None:
    world = World()
    state = defense.init(world.spec, generator(0, "defense-init"))
    bad = with_upload(world.honest(CLIENTS[:1]), 0, np.nan)
    outcome, after = guarded_step(defense, bad, state, world.defense_view())
    assert outcome.delta is None
    assert outcome.verdicts.reason == ("non-finite",)
    assert fingerprint(after) == fingerprint(state)


@pytest.mark.parametrize("defense", [d for d in DEFENSES if not trusts_counts(d)], ids=label)
def test_a_claimed_sample_count_buys_nothing_without_sample_weights(defense: Defense) -> None:
    world = World()
    updates = world.honest(CLIENTS)
    counts = updates.counts.copy()
    counts[4] = 1e9
    claimed = UpdateBatch(updates.clients, counts, updates.blocks)
    np.testing.assert_array_equal(flat(one(defense, world, claimed).delta), flat(one(defense, world, updates).delta))


@every
@pytest.mark.parametrize("count", [0.0, -5.0, np.nan, np.inf])
def test_impossible_sample_counts_do_no_harm(defense: Defense, count: float) -> None:
    world = World()
    updates = world.honest(CLIENTS)
    counts = updates.counts.copy()
    counts[4] = count
    outcome = one(defense, world, UpdateBatch(updates.clients, counts, updates.blocks))
    assert np.isfinite(flat(outcome.delta)).all()
    assert outcome.verdicts.weight.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("defense", [d for d in DEFENSES if changes_uploads(d)], ids=label)
def test_the_client_half_is_addressed_by_client(defense: Defense) -> None:
    half = defense.client_half()
    assert half is not None
    world = World()
    now, later = world.honest(CLIENTS), world.honest(CLIENTS).scale(np.full(CLIENTS.size, 0.99))
    before = fingerprint([now, later])
    whole = half.transform(now, later if half.wants_next else None, 3, 8)
    assert fingerprint([now, later]) == before
    whole.check(world.spec)
    assert whole.finite.all()
    assert {b.dtype for b in whole.blocks.values()} == {torch.float32}
    np.testing.assert_array_equal(whole.clients, now.clients)
    np.testing.assert_array_equal(whole.counts, now.counts)
    some = np.array([6, 2])
    part = half.transform(now.select(some), later.select(some) if half.wants_next else None, 3, 8)
    assert fingerprint(part) == fingerprint(whole.select(some))
    other = half.transform(now, later if half.wants_next else None, 3, 9)
    assert fingerprint(other) != fingerprint(whole)
    none = np.array([], np.int64)
    assert half.transform(now.select(none), later.select(none), 3, 8).n == 0


def test_every_registered_defense_is_examined() -> None:
    names = {part.name for one in DEFENSES for part in getattr(one, "parts", (one,))}
    assert set(registry.entries("defenses")) <= names
