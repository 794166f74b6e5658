"""FedREDefense: whom it accepts, when it stops, what it remembers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsiege.defenses import Outcome, redefense
from fedsiege.defenses.gate import guarded_step
from fedsiege.defenses.redefense import EXPELLED, NO_UPDATE, NOT_RECONSTRUCTED, FedREDefense
from fedsiege.errors import ConfigError
from fedsiege.federation.checkpoint import load, save
from fedsiege.learners.base import State
from fedsiege.rng import generator
from fedsiege.updates import UpdateBatch
from tests.digits import Digits, random_signs
from tests.trees import fingerprint

TUNED = FedREDefense(input_lr=20, label_lr=10, virtual_lr=0.2, rate_lr=1e-4, first=40, later=40, workers=1)
"""Step sizes for the small network of `Digits`."""

WORLD = Digits()
CLIENTS = [7, 2, 5, 11]


def start(defense: FedREDefense, seed: int = 0) -> State:
    return defense.init(WORLD.spec, generator(seed, "defense-init"))


def step(defense: FedREDefense, updates: UpdateBatch, state: State | None = None, round_: int = 1) -> Any:
    return defense.step(updates, start(defense) if state is None else state, WORLD.view(round_))


def crafted(updates: UpdateBatch) -> dict[str, UpdateBatch]:
    return {"inverted": updates.scale(np.full(updates.n, -3.0)), "signs": random_signs(updates)}


def test_training_is_accepted_and_handcrafted_updates_are_not() -> None:
    honest = WORLD.honest(CLIENTS)
    outcome: Outcome = step(TUNED, honest)[0]
    v = outcome.verdicts
    assert v.accepted.all()
    assert (v.score < 0.6).all()
    assert v.reason == ("",) * 4
    assert not v.expelled.any()
    np.testing.assert_allclose(v.weight, 0.25)
    expected = torch.stack([torch.cat([u.flatten() for u in WORLD.update(c).values()]) for c in CLIENTS]).mean(0)
    got = torch.cat([block.dense().flatten() for block in outcome.delta.values()])
    torch.testing.assert_close(got, expected)
    for attack in crafted(honest.select(np.arange(2))).values():
        outcome, state = step(TUNED, attack)
        assert outcome.delta is None
        assert (outcome.verdicts.score > 0.6).all()
        assert outcome.verdicts.reason == (NOT_RECONSTRUCTED,) * 2
        assert outcome.verdicts.expelled.all()
        assert state["expelled"] == [2, 7]
        assert outcome.info["iterations"] == [40, 40]


def test_double_precision_gives_the_same_verdicts() -> None:
    updates = WORLD.honest(CLIENTS[:3])
    updates = updates.replace(np.array([1]), crafted(updates.select(np.array([1])))["inverted"])
    single, double = (step(replace(TUNED, precision=p), updates)[0] for p in ("float32", "float64"))
    assert single.verdicts.accepted.tolist() == [True, False, True]
    np.testing.assert_array_equal(single.verdicts.accepted, double.verdicts.accepted)
    np.testing.assert_allclose(single.verdicts.score, double.verdicts.score, rtol=1e-2)
    assert single.info["iterations"] == double.info["iterations"]


def test_all_at_once_gives_the_same_verdicts() -> None:
    defense = replace(TUNED, first=12)
    updates = WORLD.honest(CLIENTS[:3])
    updates = updates.replace(np.array([1]), crafted(updates.select(np.array([1])))["inverted"])
    one, many = (step(replace(defense, mode=m), updates)[0] for m in ("single", "batched"))
    np.testing.assert_array_equal(one.verdicts.accepted, many.verdicts.accepted)
    np.testing.assert_allclose(one.verdicts.score, many.verdicts.score, rtol=1e-3)
    assert one.info["iterations"] == many.info["iterations"]


def test_it_stops_as_soon_as_the_error_is_below_gamma_and_starts_from_what_it_knows() -> None:
    outcome, state = step(TUNED, WORLD.honest(CLIENTS))
    first = outcome.info["iterations"]
    assert all(0 < i < 40 for i in first)
    for curve, score, count in zip(outcome.info["curves"], outcome.verdicts.score, first):
        assert curve[-1] == pytest.approx(score, rel=1e-5)
        assert min(curve[:-1]) >= 0.6 > curve[-1]
        assert len(curve) == 2 + int(np.ceil(np.log2(count)))
    again, _ = step(TUNED, WORLD.honest(CLIENTS, 2), state, 2)
    assert sum(again.info["iterations"]) < sum(first) / 4
    loose, _ = step(replace(TUNED, gamma=0.9), WORLD.honest(CLIENTS))
    assert all(a < b for a, b in zip(loose.info["iterations"], first))
    assert json.loads(json.dumps(outcome.info, allow_nan=False)) == outcome.info
    assert outcome.info["aoi"] == np.mean(first)


def test_the_first_participation_has_a_cap_of_its_own() -> None:
    strict = replace(TUNED, gamma=1e-6, first=3, later=1)
    updates = WORLD.honest([1])
    outcome, state = step(strict, updates)
    assert outcome.info["iterations"] == [3]
    forgiven = {**state, "expelled": []}
    assert step(strict, updates, forgiven, 2)[0].info["iterations"] == [1]


def test_the_fit_is_made_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    whole = redefense.reconstruct_all

    def noted(*given: Any) -> Any:
        asked.append(given)
        return whole(*given)

    monkeypatch.setattr(redefense, "reconstruct_all", noted)
    step(replace(TUNED, momentum=0.3, inner=4, gamma=0.7, first=3, precision="float64"), WORLD.honest([7, 2]))
    ((_, problems, how, dtype, workers, mode),) = asked
    assert (how.momentum, how.inner, how.goal, how.level) == (0.3, 4, 0.7, False)
    assert how.rates == {"inputs": 20, "labels": 10, "rate": 1e-4}
    assert [problem.cap for problem in problems] == [3, 3]
    assert (dtype, workers, mode) == (torch.float64, 1, TUNED.mode)


def test_an_expelled_client_stays_expelled_without_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    defense = replace(TUNED, first=2, gamma=0.999)
    bad = crafted(WORLD.honest([3]))["signs"].scale(np.array([50.0]))
    outcome, state = step(defense, bad)
    assert state["expelled"] == [3]
    seen: list[int] = []
    problem = WORLD.task.problem
    monkeypatch.setattr(WORLD.task, "problem", lambda m, u: seen.extend(u.clients.tolist()) or problem(m, u))
    both = WORLD.honest([3, 4], 2)
    outcome, after = step(defense, both, state, 2)
    assert seen == [4]
    assert outcome.verdicts.reason == (EXPELLED, "")
    assert outcome.verdicts.expelled.tolist() == [True, False]
    assert np.isnan(outcome.verdicts.score[0])
    assert outcome.info["iterations"][0] == 0
    assert outcome.info["curves"][0] == []
    assert outcome.info["aoi"] == outcome.info["iterations"][1]
    assert after["expelled"] == [3]
    torch.testing.assert_close(outcome.delta["1.weight"].values, both.select(np.array([1])).blocks["1.weight"].values)
    _, without = step(defense, WORLD.honest([4], 3), after, 3)
    assert without["expelled"] == [3]
    alone, _ = step(defense, WORLD.honest([3], 4), without, 4)
    assert alone.delta is None
    assert alone.info["aoi"] == 0.0


@pytest.mark.parametrize(
    ("defense", "counts"),
    [
        (replace(TUNED, schedule="continuous", first=5, refine=2), [5, 2, 2, 2, 2, 2]),
        (replace(TUNED, schedule="intermittent", first=5, refresh=4, interval=3), [5, 0, 0, 4, 0, 0]),
        (replace(TUNED, schedule="continuous", first=0, refine=2), [0, 2, 2, 2, 2, 2]),
    ],
    ids=["continuous", "intermittent", "continuous from nothing"],
)
def test_fixed_schedules_make_their_iterations(defense: FedREDefense, counts: list[int]) -> None:
    defense = replace(defense, gamma=2.0)
    state, got, errors = start(defense), [], []
    for round_ in range(1, 7):
        outcome, state = step(defense, WORLD.honest([1]), state, round_)
        got += outcome.info["iterations"]
        errors.append(outcome.verdicts.score[0])
    assert got == counts
    assert all((b < a) == (c > 0) for a, b, c in zip(errors, errors[1:], counts[1:]))


def test_average_iterations_are_those_of_table_9() -> None:
    for schedule, first, expected in (("continuous", 500, 60.88), ("intermittent", 500, 50.0)):
        defense = FedREDefense(schedule=schedule, first=first)  # type: ignore[arg-type]
        last, total = None, 0
        for round_ in range(1, 501):
            cap = defense._cap(last, round_)
            last = round_ if cap else last
            total += cap
        assert total / 500 == pytest.approx(expected)


def test_an_update_of_zero_is_no_product_of_training() -> None:
    updates = WORLD.honest([1, 2]).scale(np.array([0.0, 1.0]))
    outcome, state = step(replace(TUNED, first=2, gamma=0.99), updates)
    assert outcome.verdicts.accepted.tolist() == [False, True]
    assert outcome.verdicts.reason == (NO_UPDATE, "")
    assert outcome.verdicts.score[0] == 1.0
    assert outcome.info["iterations"][0] == 0
    assert state["expelled"] == [1]
    assert list(state["knowledge"]) == ["2"]


def test_knowledge_beyond_the_finite_numbers_reproduces_nothing_and_stays_what_it_was() -> None:
    _, state = step(replace(TUNED, first=2, gamma=2.0), WORLD.honest([1]))
    state["knowledge"]["1"]["rate"] = torch.tensor(1e38)
    outcome, after = step(TUNED, WORLD.honest([1], 2), state, 2)
    assert outcome.verdicts.score[0] == np.inf
    assert outcome.verdicts.reason == (NOT_RECONSTRUCTED,)
    assert outcome.info["curves"][0] == [None]
    assert after["expelled"] == [1]
    assert fingerprint(after["knowledge"]) == fingerprint(state["knowledge"])


def test_an_honest_client_whose_fit_runs_away_is_not_expelled() -> None:
    """Its kept virtual rate makes the error steep, and a step of the usual length leads far out."""
    _, state = step(TUNED, WORLD.honest(CLIENTS))
    state["knowledge"]["5"]["rate"] *= 12
    outcome, after = step(replace(TUNED, later=200), WORLD.honest(CLIENTS, 2), state, 2)
    place = CLIENTS.index(5)
    curve = outcome.info["curves"][place]
    assert max(curve[1:]) > 2 * min(curve[:1])
    assert outcome.verdicts.accepted.all()
    assert after["expelled"] == []


def test_uploads_that_are_not_finite_never_reach_it() -> None:
    updates = WORLD.honest([1, 2])
    updates.blocks["1.bias"].values[0, 0] = np.nan
    defense = replace(TUNED, first=1, gamma=2.0)
    outcome, state = guarded_step(defense, updates, start(defense), WORLD.view())
    assert outcome.verdicts.reason == ("non-finite", "")
    assert state["expelled"] == []
    assert list(state["knowledge"]) == ["2"]


def test_clients_are_judged_alone_whatever_their_order() -> None:
    defense = replace(TUNED, first=12)
    updates = WORLD.honest(CLIENTS)
    updates = updates.replace(np.array([1]), crafted(updates.select(np.array([1])))["inverted"])
    order = np.array([3, 1, 0, 2])
    (straight, one), (mixed, other) = step(defense, updates), step(defense, updates.select(order))
    np.testing.assert_array_equal(mixed.verdicts.score, straight.verdicts.score[order])
    assert mixed.info["iterations"] == [straight.info["iterations"][i] for i in order]
    assert mixed.info["curves"] == [straight.info["curves"][i] for i in order]
    assert one["expelled"] == other["expelled"]
    assert all(fingerprint(one["knowledge"][str(c)]) == fingerprint(other["knowledge"][str(c)]) for c in CLIENTS)
    single, _ = step(defense, updates.select(np.array([2])))
    np.testing.assert_array_equal(single.verdicts.score, straight.verdicts.score[2:3])


def test_workers_change_no_bit_and_the_state_survives_the_disk(tmp_path: Path) -> None:
    ends = []
    for workers in (1, 2):
        defense = replace(TUNED, first=8, later=2, gamma=0.9, workers=workers)
        state, outcomes = start(defense), []
        for round_, cohort in enumerate(([1, 3, 8], [3, 9], [1, 8, 9]), 1):
            if workers == 2:
                save(tmp_path / f"{round_}.safetensors", state)
                state = load(tmp_path / f"{round_}.safetensors")
            updates = WORLD.honest(cohort, round_)
            if round_ == 2:
                updates = updates.replace(np.array([1]), crafted(updates.select(np.array([1])))["signs"])
            outcome, state = step(defense, updates, state, round_)
            outcomes.append(outcome)
        ends.append(fingerprint([outcomes, state]))
    assert ends[0] == ends[1]


def test_everyone_starts_from_the_same_draw_that_the_seed_decides() -> None:
    still = replace(TUNED, first=0, gamma=9.0)
    _, state = step(still, WORLD.honest([1, 2]))
    known = state["knowledge"]
    assert fingerprint(known["1"]) == fingerprint(known["2"])
    assert not known["1"]["labels"].any()
    assert float(known["1"]["rate"]) == pytest.approx(0.2)
    assert float(known["1"]["inputs"].min()) < 0
    _, other = step(still, WORLD.honest([1]), start(still, 1))
    assert fingerprint(other["knowledge"]["1"]) != fingerprint(known["1"])
    _, flat = step(replace(still, start="uniform"), WORLD.honest([1]))
    inputs = flat["knowledge"]["1"]["inputs"]
    assert inputs.dtype == torch.float32
    assert 0 <= float(inputs.min()) < 0.05
    assert 0.95 < float(inputs.max()) < 1


def test_a_model_without_virtual_training_is_refused() -> None:
    with pytest.raises(ConfigError, match="training on distilled knowledge, which this model does not offer"):
        TUNED.step(WORLD.honest([1]), start(TUNED), replace(WORLD.view(), virtual=None))


@pytest.mark.parametrize(
    "values",
    [
        {"gamma": 0.0}, {"gamma": np.nan}, {"pairs": 0}, {"inner": 0}, {"inner": 1.5}, {"input_lr": -1.0},
        {"label_lr": np.inf}, {"virtual_lr": 0.0}, {"rate_lr": -1e-9}, {"momentum": 1.0}, {"first": -1},
        {"later": 2.5}, {"refine": -1}, {"refresh": True}, {"interval": 0}, {"schedule": "sometimes"},
        {"start": "zeros"}, {"precision": "float16"}, {"workers": 0}, {"mode": "gpu"}, {"weighting": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_ranges_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"redefense.{next(iter(values))} is"):
        FedREDefense(**values)


def test_the_defaults_are_those_of_table_7() -> None:
    d = FedREDefense()
    rates = (d.input_lr, d.label_lr, d.virtual_lr, d.rate_lr)
    assert rates == (0.5, 0.2, 0.1, 5e-6)
    assert (d.gamma, d.pairs, d.inner, d.first, d.later) == (0.6, 10, 5, 800, 2000)
