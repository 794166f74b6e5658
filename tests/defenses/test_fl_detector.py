"""FLDetector against dense matrices and loops, on federated problems whose Hessian is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fedsiege.defenses.base import DefenseView, Outcome
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.fl_detector import FLDetector, hessian_times
from fedsiege.defenses.median import Median
from fedsiege.errors import ConfigError
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch
from tests.trees import fingerprint
from tests.worlds import StaticModel, World

SIZE = 12
SPEC = ModelSpec((BlockSpec("a", (2, 3)), BlockSpec("b", (6,))))


def dense_bfgs(steps: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """The matrix that BFGS updates lead to, from σI, one pair after another."""
    pairs = [(s, y) for s, y in zip(steps, changes) if s @ y > 1e-8 * np.linalg.norm(s) * np.linalg.norm(y)]
    if not pairs:
        return np.zeros((steps.shape[1], steps.shape[1]))
    s, y = pairs[-1]
    b = np.eye(s.size) * (y @ s) / (s @ s)
    for s, y in pairs:
        b = b - np.outer(b @ s, b @ s) / (s @ b @ s) + np.outer(y, y) / (y @ s)
    return b


def hessian(seed: int, low: float = 0.5, high: float = 2.0) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))
    return q @ np.diag(np.linspace(low, high, SIZE)) @ q.T


class Problem:
    """Clients with losses ½ (w − cᵢ)ᵀA(w − cᵢ); the server takes plain steps.

    Besides its pull to cᵢ each client adds a little noise, so that scores are not all alike.
    """

    def __init__(self, clients: int, bad: int = 0, rate: float = 0.3, noise: float = 0.01, seed: int = 0) -> None:
        self.a, self.rate, self.noise, self.seed = hessian(seed), rate, noise, seed
        self.centres = np.random.default_rng(seed + 1).normal(size=(clients, SIZE))
        self.bad, self.w = np.arange(bad), 5 * np.random.default_rng(seed + 2).normal(size=SIZE)
        self.start = self.w.copy()

    def view(self, round_: int) -> DefenseView:
        w = torch.from_numpy(self.w)
        model = StaticModel({"a": w[:6].reshape(2, 3), "b": w[6:]})
        return DefenseView(SPEC, model, 7, round_, 1.0)

    def uploads(self, round_: int, clients: np.ndarray) -> UpdateBatch:
        rng = generator(self.seed, "problem", round_)
        noise = rng.normal(size=self.centres.shape)
        x = -self.rate * (self.w - self.centres) @ self.a + self.noise * noise
        x[self.bad] = 3 * noise[self.bad]
        x = torch.from_numpy(x[clients])
        n = clients.size
        counts = 1.0 + clients % 3
        return UpdateBatch(clients, counts, {"a": DenseBlock(x[:, :6].reshape(n, 2, 3)), "b": DenseBlock(x[:, 6:])})

    def apply(self, outcome: Outcome) -> None:
        if outcome.verdicts.restart:
            self.w = self.start.copy()
        elif outcome.delta is not None:
            self.w = self.w + np.concatenate([outcome.delta[k].dense().numpy().ravel() for k in ("a", "b")])

    def play(self, defense: Any, rounds: int, cohort: int | None = None, obey: bool = True) -> list[Outcome]:
        """Run rounds as the loop does: the expelled are not sampled any more (unless not `obey`)."""
        state, out, outcomes = defense.init(SPEC, generator(0, "init")), np.zeros(len(self.centres), bool), []
        for round_ in range(1, rounds + 1):
            left = np.flatnonzero(~out) if obey else np.arange(out.size)
            if cohort:
                left = np.sort(generator(9, "cohort", round_).choice(left, min(cohort, left.size), replace=False))
            updates, view = self.uploads(round_, left), self.view(round_)
            before = fingerprint(state)
            outcome, after = defense.step(updates, state, view)
            assert fingerprint(state) == before
            state = after
            if outcome.verdicts.expelled is not None:
                out[left[outcome.verdicts.expelled]] = True
            out[list(outcome.verdicts.absent)] = True
            self.apply(outcome)
            outcomes.append(outcome)
        self.state, self.out = state, out
        return outcomes


@pytest.mark.parametrize("m", [1, 2, 5, 10])
def test_the_compact_form_is_bfgs(m: int) -> None:
    rng = np.random.default_rng(m)
    steps = rng.normal(size=(m, SIZE)) * 10.0 ** -np.arange(m)[:, None]
    changes = steps @ hessian(m)
    vectors = rng.normal(size=(3, SIZE))
    got = hessian_times(*map(torch.from_numpy, (steps, changes, vectors)))
    np.testing.assert_allclose(got.numpy(), vectors @ dense_bfgs(steps, changes), rtol=1e-8, atol=1e-10)
    # The secant condition: the last pair is reproduced.
    last = hessian_times(*map(torch.from_numpy, (steps, changes, steps[-1:])))
    np.testing.assert_allclose(last.numpy(), changes[-1:], rtol=1e-8)


def test_pairs_without_curvature_are_left_out() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(5, SIZE))
    changes = steps @ hessian(0)
    changes[1], changes[3], steps[4] = -changes[1], 0.0, 0.0
    vectors = rng.normal(size=(2, SIZE))
    tensors = [torch.from_numpy(t) for t in (steps, changes, vectors)]
    np.testing.assert_allclose(
        hessian_times(*tensors).numpy(), vectors @ dense_bfgs(steps, changes), rtol=1e-8, atol=1e-10
    )
    assert not hessian_times(tensors[0], -tensors[1].abs() * tensors[0].sign(), tensors[2]).any()


def test_near_parallel_steps_stay_finite_and_bounded() -> None:
    rng = np.random.default_rng(0)
    a, line = hessian(0), rng.normal(size=SIZE)
    steps = np.stack([0.5**k * line + 1e-9 * rng.normal(size=SIZE) for k in range(10)])
    vectors = rng.normal(size=(4, SIZE))
    got = hessian_times(*map(torch.from_numpy, (steps, steps @ a, vectors))).numpy()
    assert (np.linalg.norm(got, axis=1) < 10 * np.linalg.norm(vectors, axis=1)).all()


def test_what_memory_held_before_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(4, SIZE))
    tensors = [torch.from_numpy(t) for t in (steps, steps @ hessian(0), rng.normal(size=(3, SIZE)))]
    seen = set()
    for turn in range(200):
        dirt = [torch.full((k,), turn % 2, dtype=torch.int32) for k in range(1, 20)]
        del dirt
        seen.add(hessian_times(*tensors).numpy().tobytes())
    assert len(seen) == 1


def naive_scores(problem: Problem, window: int, cold: int, rounds: int, cohort: int | None) -> list[dict[int, float]]:
    """Scores of every round by dense matrices and per-client records, averages by sample counts, no verdicts."""
    last: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    errors: dict[int, list[float]] = {}
    steps: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    previous: tuple[np.ndarray, np.ndarray] | None = None
    table = []
    for round_ in range(1, rounds + 1):
        ids = np.arange(len(problem.centres))
        if cohort:
            ids = np.sort(generator(9, "cohort", round_).choice(ids, cohort, replace=False))
        sent = problem.uploads(round_, ids)
        g = -sent.flat().numpy()
        if round_ > cold and steps:
            b = dense_bfgs(np.array(steps[-window:]), np.array(changes[-window:]))
            off = {}
            for k, i in enumerate(ids):
                if i in last:
                    w, before = last[i]
                    off[i] = float(np.linalg.norm(before + b @ (problem.w - w) - g[k]))
            for i, value in off.items():
                errors[i] = [*errors.get(i, []), value / (sum(off.values()) / len(off))][-window:]
        table.append({int(i): float(np.mean(errors[i])) for i in ids if i in errors})
        mean = np.average(g, 0, sent.counts)
        if previous is not None:
            steps.append(problem.w - previous[0])
            changes.append(mean - previous[1])
        previous = (problem.w, mean)
        for k, i in enumerate(ids):
            last[i] = (problem.w, g[k])
        problem.w = problem.w - mean
    return table


@pytest.mark.parametrize("window", [50, 4])
@pytest.mark.parametrize("cohort", [None, 7])
def test_scores_are_what_the_loops_say(cohort: int | None, window: int) -> None:
    # One cluster of honest clients and no verdict: the paths of both servers stay together.
    defense = FLDetector(cold_start=3, window=window)
    outcomes = Problem(12, noise=0.3).play(defense, 12, cohort)
    assert not any(outcome.verdicts.restart for outcome in outcomes)
    expected = naive_scores(Problem(12, noise=0.3), window, 3, 12, cohort)
    for round_, (outcome, scores) in enumerate(zip(outcomes, expected), start=1):
        ids = np.arange(12) if cohort is None else np.sort(generator(9, "cohort", round_).choice(12, 7, replace=False))
        wanted = [scores.get(int(i), np.nan) for i in ids]
        np.testing.assert_allclose(outcome.verdicts.score, wanted, rtol=2e-3)
        assert np.isnan(outcome.verdicts.score).all() == (round_ <= 3)


def test_honest_clients_on_one_quadratic_are_predicted_and_a_liar_is_not() -> None:
    problem = Problem(40, bad=1, noise=0.0)
    outcomes = problem.play(FLDetector(cold_start=8, window=10), 18)
    score = outcomes[-2].verdicts.score
    # Errors are in units of the mean; an honest one is what L-BFGS has not learnt, as the liar moves the model too.
    assert score[0] > 15
    assert (score[1:] < 0.7).all()


def test_the_prediction_is_near_exact_once_the_hessian_is_learnt() -> None:
    problem = Problem(6, noise=0.0, rate=0.1)
    problem.a = hessian(0, 0.9, 1.0)
    defense = FLDetector(cold_start=0, window=10)
    state = defense.init(SPEC, generator(0, "init"))
    for round_ in range(1, 13):
        updates = problem.uploads(round_, np.arange(6))
        if round_ > 8:
            flat = updates.flat().float()
            here = torch.from_numpy(problem.w).float()
            known, off = defense._errors(flat, here, [str(i) for i in range(6)], state)
            assert known.all()
            moved = (flat - torch.stack([state["updates"][str(i)] for i in range(6)])).norm(dim=1).numpy()
            assert (off < 0.02 * moved).all()
        outcome, state = defense.step(updates, state, problem.view(round_))
        problem.apply(outcome)


def test_attackers_are_expelled_after_the_window_and_training_starts_over() -> None:
    problem = Problem(60, bad=18)
    outcomes = problem.play(FLDetector(cold_start=5, window=4), 30)
    restarts = [k for k, o in enumerate(outcomes, start=1) if o.verdicts.restart]
    # Errors exist from round 6 on, and four of them make a score.
    assert restarts == [9]
    v = outcomes[8].verdicts
    assert v.expelled is not None
    assert v.expelled.tolist() == [True] * 18 + [False] * 42
    assert (v.accepted == ~v.expelled).all()
    assert np.flatnonzero(problem.out).tolist() == list(range(18))
    # The cold start counts anew.
    assert np.isnan(outcomes[13].verdicts.score).all()
    assert np.isfinite(outcomes[14].verdicts.score).all()
    assert problem.state["seen"] == 21
    assert sorted(problem.state["expelled"]) == list(range(18))


def test_whoever_was_expelled_stays_out_even_if_sampled_again() -> None:
    problem = Problem(60, bad=18)
    outcomes = problem.play(FLDetector(cold_start=5, window=4), 25, obey=False)
    assert sum(o.verdicts.restart for o in outcomes) == 1
    for outcome in outcomes[8:]:
        assert outcome.verdicts.expelled is not None
        assert outcome.verdicts.expelled.tolist() == [True] * 18 + [False] * 42
        assert not outcome.verdicts.accepted[:18].any()


def test_partial_participation_finds_them_all_by_id() -> None:
    problem = Problem(60, bad=16)
    outcomes = problem.play(FLDetector(cold_start=4, window=5), 110, cohort=25)
    assert problem.out[:16].all()
    # Six tests or so have fired by then, and gap statistics err now and then.
    assert problem.out[16:].sum() <= 3
    assert all(o.verdicts.accepted[~o.verdicts.expelled].all() for o in outcomes)


def test_nobody_is_judged_before_half_of_the_clients_have_a_full_window() -> None:
    defense = FLDetector(window=2)
    view = Problem(1).view(1)
    errors = {str(i): [9.0, 9.0] if i < 4 else [1.0, 1.0] for i in range(12)}
    assert defense._detect(errors, 24, view) == ["0", "1", "2", "3"]
    assert defense._detect(errors, 25, view) == []
    assert defense._detect({**errors, "0": [9.0]}, 12, view) == ["1", "2", "3"]


def test_clients_found_while_absent_are_named_at_once() -> None:
    defense, problem = FLDetector(cold_start=0, window=2), Problem(12)
    _, state = defense.step(
        problem.uploads(1, np.arange(12)), defense.init(SPEC, generator(0, "init")), problem.view(1)
    )
    errors = {str(i): [9.0, 9.0] if i in (2, 5, 9, 11) else [1.0, 1.0 + i / 1000] for i in range(12)}
    before = {**state, "errors": errors, "expelled": [77]}
    outcome, after = defense.step(problem.uploads(2, np.array([2, 3, 9])), before, problem.view(2))
    assert outcome.verdicts.expelled is not None
    assert outcome.verdicts.expelled.tolist() == [True, False, True]
    assert outcome.verdicts.absent == (5, 11)
    assert outcome.verdicts.restart
    assert sorted(after["expelled"]) == [2, 5, 9, 11, 77]


def test_a_client_found_while_absent_stays_out_if_it_returns_all_the_same() -> None:
    defense, problem = FLDetector(cold_start=0, window=2), Problem(8)
    state = {**defense.init(SPEC, generator(0, "init")), "expelled": [3, 5]}
    outcome, after = defense.step(problem.uploads(1, np.array([1, 3, 4])), state, problem.view(1))
    assert outcome.verdicts.expelled is not None
    assert outcome.verdicts.expelled.tolist() == [False, True, False]
    assert not outcome.verdicts.restart
    assert "3" not in after["updates"]
    outcome, later = defense.step(problem.uploads(2, np.array([3, 5])), after, problem.view(2))
    assert outcome.delta is None
    assert fingerprint(later) == fingerprint(after)


def test_honest_clients_are_left_alone() -> None:
    problem = Problem(60, noise=0.1)
    outcomes = problem.play(FLDetector(cold_start=5, window=10), 60)
    assert not any(o.verdicts.restart for o in outcomes)
    assert not problem.out.any()


def test_memory_holds_models_that_someone_still_needs() -> None:
    problem = Problem(10, noise=0.1)
    problem.play(FLDetector(cold_start=0, window=3), 12, cohort=4)
    state = problem.state
    assert set(state["models"]) == {str(r) for r in state["last"].values()} | {"12"}
    assert len(state["steps"]) == len(state["changes"]) == 3
    assert all(t.dtype == torch.float32 for t in [*state["updates"].values(), *state["models"].values()])
    tensors = [*state["updates"].values(), *state["models"].values(), *state["steps"], *state["changes"]]
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == len(tensors)


def test_in_front_of_a_rule_restart_and_verdicts_pass_through() -> None:
    problem = Problem(60, bad=18)
    outcomes = problem.play(Pipeline((FLDetector(cold_start=5, window=4), Median())), 12)
    assert [o.verdicts.restart for o in outcomes].count(True) == 1
    assert np.flatnonzero(problem.out).tolist() == list(range(18))


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("value", [None, 0.0])
def test_equal_and_zero_uploads_of_a_model_that_stands_still(n: int, value: float | None) -> None:
    world, defense = World(), FLDetector(cold_start=0, window=2)
    state = defense.init(world.spec, generator(0, "init"))
    for round_ in range(1, 7):
        one = world.honest(np.array([3]), round_)
        same = one.select(np.zeros(n, np.int64)).scale(np.full(n, 1.0 if value is None else value))
        updates = UpdateBatch(np.arange(n), same.counts, same.blocks)
        outcome, state = defense.step(updates, state, world.defense_view(round_))
        assert outcome.verdicts.accepted.all()
        assert not outcome.verdicts.restart


@pytest.mark.parametrize("bad", [{"cold_start": -1}, {"window": 0}, {"references": 1}, {"window": 2.5}])
def test_ranges(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"fldetector.{next(iter(bad))}"):
        FLDetector(**bad)
