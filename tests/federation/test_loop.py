"""The round: who is drawn, who attacks, who is scored, and what attackers may see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from fedsiege.arena.pairs import unheeded
from fedsiege.arena.runs import assemble, granted_norm
from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.fed_attack import FedAttack
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.none import NoAttack
from fedsiege.defenses.base import DefenseBase, DefenseView, Outcome, Verdicts
from fedsiege.defenses.none import FedAvg
from fedsiege.errors import ConfigError, KnowledgeError, UploadError
from fedsiege.federation.loop import Federation, FederationConfig
from fedsiege.federation.server import ServerConfig
from fedsiege.learners.base import Job, State
from fedsiege.learners.contrastive import ContrastiveTask
from fedsiege.learners.mlp import MLPConfig
from fedsiege.updates import UpdateBatch
from tests.pictures import pictures
from tests.small import small


def federation(**sections: object) -> Federation:
    return assemble(small(**sections))[0]


def with_attack(attack: object, **options: object) -> Federation:
    base = federation(defense="none")
    config = FederationConfig(**{"rounds": 5, "cohort": 12, "malicious": 0.3, **options})  # type: ignore[arg-type]
    return Federation(base.learner, attack, FedAvg(), config, base.model.config, 0)  # type: ignore[arg-type]


def test_cohorts_and_coalitions_depend_on_the_seed_alone() -> None:
    a = federation()
    b = federation(attack="none", defense="median")
    other = federation(seed=1)
    assert all(np.array_equal(a.cohort(r), b.cohort(r)) for r in range(1, 20))
    assert np.array_equal(a.coalition, b.coalition)
    assert not all(np.array_equal(a.cohort(r), other.cohort(r)) for r in range(1, 20))
    assert np.unique(a.cohort(3)).size == 12


def test_smaller_coalitions_are_part_of_larger_ones_and_all_are_scored_alike() -> None:
    runs = [federation(federation={"malicious": m, "reserved": 0.3}) for m in (0.0, 0.1, 0.3)]
    assert [f.coalition.size for f in runs] == [0, 6, 18]
    assert set(runs[1].coalition) < set(runs[2].coalition)
    assert all(np.array_equal(f.scored, runs[0].scored) for f in runs)
    assert not set(runs[2].coalition) & set(runs[0].scored)
    sampled = federation(federation={"evaluate_users": 7})
    assert sampled.scored.size == 7
    assert set(sampled.scored) <= set(federation().scored)
    assert set(federation(federation={"evaluate_users": 7}, seed=1).scored) != set(sampled.scored)


def test_no_attacker_is_scored_where_more_attack_than_were_reserved() -> None:
    crowd = federation(federation={"malicious": 0.4, "reserved": 0.1})
    assert crowd.coalition.size == 24
    assert not set(crowd.coalition) & set(crowd.scored)
    assert crowd.scored.size == 60 - 24


def test_without_an_attack_the_coalition_is_honest() -> None:
    quiet = federation(attack="none", federation={"malicious": 0.3})
    nobody = federation(attack="none", federation={"malicious": 0.0, "reserved": 0.3})
    for _ in range(5):
        left, right = quiet.step(), nobody.step()
        assert not left.malicious.any()
        assert left.to_json() == right.to_json()


def test_only_malicious_uploads_differ_from_an_honest_round() -> None:
    @dataclass(frozen=True)
    class Spy(AttackBase):
        name: ClassVar[str] = "spy"

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            seen.append((updates, view))
            return updates.scale(np.full(updates.n, 5.0)), state

    seen: list[tuple[UpdateBatch, AttackView]] = []
    attacked, honest = with_attack(Spy()), federation(attack="none", defense="none")
    left, right = attacked.step(), honest.step()
    np.testing.assert_allclose(left.norms, np.where(left.malicious, 5, 1) * right.norms, rtol=1e-5)
    updates, view = seen[0]
    assert updates.clients.tolist() == left.cohort[left.malicious].tolist() == view.present.tolist()
    assert view.cohort == 12
    with pytest.raises(KnowledgeError, match="'coalition' but declares 'own data'"):
        view.honest(view.present)
    with pytest.raises(KnowledgeError):
        view.benign()
    with pytest.raises(KnowledgeError):
        _ = view.model
    with pytest.raises(KnowledgeError, match="not malicious"):
        view.task(np.arange(60), ContrastiveTask())


def test_an_omniscient_attack_sees_exactly_the_benign_uploads_and_its_pool() -> None:
    @dataclass(frozen=True)
    class Omniscient(AttackBase):
        name: ClassVar[str] = "omniscient"
        knowledge: ClassVar[Knowledge] = Knowledge.BENIGN | Knowledge.COALITION | Knowledge.MODEL

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            benign, pool = view.benign(), view.honest(view.pool())
            assert not set(benign.clients) & set(view.coalition)
            assert benign.n + updates.n == view.cohort
            assert set(pool.clients) == set(view.coalition)
            assert view.pool(3).size == 3
            own = pool.select(np.isin(pool.clients, view.present))
            torch.testing.assert_close(own.flat(), updates.flat())
            before = fed.learner.state()["users"]["weight"].clone()
            view.honest(view.pool())
            assert torch.equal(before, fed.learner.state()["users"]["weight"])
            return updates, state

    fed = with_attack(Omniscient())
    for _ in range(3):
        fed.step()


def test_only_members_of_the_coalition_can_be_asked() -> None:
    @dataclass(frozen=True)
    class Nosy(AttackBase):
        name: ClassVar[str] = "nosy"
        knowledge: ClassVar[Knowledge] = Knowledge.COALITION

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            benign = np.setdiff1d(np.arange(60), view.coalition)[[1, 4]]
            named = f"clients {benign[0]}, {benign[1]} would upload"
            for ask in (view.honest, lambda clients: view.task(clients, ContrastiveTask())):
                with pytest.raises(KnowledgeError, match=named):
                    ask(np.append(view.coalition, benign))
                assert ask(view.coalition).n == view.coalition.size
            return updates, state

    with_attack(Nosy()).step()


def test_an_attacker_reads_the_model_and_nothing_else_of_the_servers() -> None:
    @dataclass(frozen=True)
    class Reader(AttackBase):
        name: ClassVar[str] = "reader"
        knowledge: ClassVar[Knowledge] = Knowledge.MODEL

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            seen.append(view.model)
            torch.testing.assert_close(view.model.table("items"), fed.model.table("items"))
            torch.testing.assert_close(view.model.param("items"), fed.model.param("items"))
            return updates, state

    seen: list[object] = []
    fed = with_attack(Reader())
    fed.step()
    for name in ("look_ahead", "tables", "moments", "apply", "state"):
        assert hasattr(fed.model, name)
        assert not hasattr(seen[0], name)


@pytest.mark.parametrize("model", ["mf", "sasrec"])
def test_poisoned_data_may_depend_on_the_model_only_if_that_is_declared(model: str) -> None:
    @dataclass(frozen=True)
    class Blind(FedAttack):
        name: ClassVar[str] = "blind"
        knowledge: ClassVar[Knowledge] = Knowledge.NONE

    base = federation(defense="none", model={"name": model, "dim": 8})
    config = FederationConfig(rounds=5, cohort=12, malicious=0.3)
    for attack in (Blind(), FedAttack(), LabelFlip()):
        fed = Federation(base.learner, attack, FedAvg(), config, base.model.config, 0)
        if attack.name == "blind":
            with pytest.raises(KnowledgeError, match="'model' but declares 'own data'"):
                fed.step()
        else:
            assert fed.step().malicious.any()


def test_an_attack_may_not_speak_for_others_nor_change_shapes() -> None:
    @dataclass(frozen=True)
    class Impostor(AttackBase):
        name: ClassVar[str] = "impostor"

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            return UpdateBatch(updates.clients + 1, updates.counts, updates.blocks), state

    @dataclass(frozen=True)
    class Renamer(AttackBase):
        name: ClassVar[str] = "renamer"

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            return UpdateBatch(updates.clients, updates.counts, {"other": updates.blocks["items"]}), state

    with pytest.raises(UploadError, match="impostor"):
        with_attack(Impostor()).step()
    with pytest.raises(UploadError, match="blocks"):
        with_attack(Renamer()).step()


def test_a_round_of_rejected_uploads_leaves_the_model_as_it_was() -> None:
    @dataclass(frozen=True)
    class Breaker(AttackBase):
        name: ClassVar[str] = "breaker"

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            return updates.scale(np.full(updates.n, np.nan)), state

    fed = with_attack(Breaker(), malicious=0.99)
    before = fed.model.snapshot()
    record = fed.step()
    if record.malicious.all():
        assert not record.applied
        assert torch.equal(before["items"], fed.model.snapshot()["items"])
    assert (~record.verdicts.accepted == record.malicious).all()
    assert record.projection is None


def test_client_side_halves_bind_honest_clients_only() -> None:
    plain = federation(attack="labelflip", defense="none")
    union = federation(attack="labelflip", defense="union")
    a, b = plain.step(), union.step()
    same = np.isclose(a.norms, b.norms, rtol=1e-6)
    assert same[a.malicious].all()
    assert not same[~a.malicious].any()


def test_fl_wbc_perturbs_honest_uploads_only() -> None:
    plain = federation(attack="labelflip", defense="none")
    noisy = federation(attack="labelflip", defense="fl-wbc")
    a, b = plain.step(), noisy.step()
    same = np.isclose(a.norms, b.norms, rtol=1e-9)
    assert same[a.malicious].all()
    assert not same[~a.malicious].any()


def test_the_defense_is_told_a_count_only_if_granted() -> None:
    assert federation().told() is None
    assert federation(federation={"tell_defense": True}).told() == 3


@pytest.mark.parametrize(
    ("attackers", "expelled", "told"),
    [
        # 12 of 60 clients are malicious, and 12 are drawn: 12 · 12 / 60 is 2.4.
        (None, 0, 3), (None, 9, 1), (None, 12, 0),
        (3, 0, 3), (3, 9, 3), (3, 10, 2), (3, 12, 0), (12, 0, 12), (12, 7, 5),
    ],
)  # fmt: skip
def test_attackers_that_were_expelled_are_not_told_of(attackers: int | None, expelled: int, told: int) -> None:
    @dataclass(frozen=True)
    class Listener(FedAvg):
        name: ClassVar[str] = "listener"

        @property
        def heeds(self) -> frozenset[str]:  # type: ignore[override]
            return frozenset({"count"})

        def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
            heard.append(view.told)
            return super().step(updates, state, view)

    heard: list[int | None] = []
    base = federation(defense="none")
    config = FederationConfig(rounds=5, cohort=12, malicious=0.2, attackers=attackers, tell_defense=True)
    fed = Federation(base.learner, NoAttack(), Listener(), config, base.model.config, 0)
    at_first = fed.told()
    fed.expelled[fed.coalition[:expelled]] = True
    fed.step()
    assert heard == [told]
    # What a result says was granted does not depend on when it is asked.
    assert fed.told() == at_first == (3 if attackers is None else attackers)


def test_honest_clients_that_were_expelled_leave_more_attackers_to_a_cohort() -> None:
    fed = federation(federation={"tell_defense": True})
    fed.expelled[np.setdiff1d(np.arange(60), fed.coalition)[:40]] = True
    # 12 of the 20 that are left.
    assert fed.told(12) == 8
    assert fed.told(5) == 3


def test_more_attackers_than_there_are_cannot_be_told_of() -> None:
    fed = federation(federation={"tell_defense": True, "malicious": 0.05, "attackers": 6})
    assert fed.cohort(1).size == 9
    assert fed.told() == fed.told(9) == 3
    assert federation(federation={"tell_defense": True, "malicious": 0.0, "attackers": 12}).told() == 0


def test_so_many_attackers_sit_in_every_cohort_where_that_is_fixed() -> None:
    wanted = {"malicious": 0.2, "attackers": 3, "tell_defense": True}
    attacked = federation(attack="fang", federation=wanted)
    calm = federation(attack="none", federation=wanted)
    for round_ in range(1, 30):
        cohort = attacked.cohort(round_)
        assert np.isin(cohort, attacked.coalition).sum() == 3
        assert np.unique(cohort).size == 12
        np.testing.assert_array_equal(cohort, calm.cohort(round_))
    assert attacked.told() == 3
    attacked.expelled[attacked.coalition[1:]] = True
    cohort = attacked.cohort(1)
    assert attacked.coalition[0] in cohort
    assert cohort.size == 10


def test_a_number_of_attackers_must_fit_the_cohort_and_the_federation() -> None:
    with pytest.raises(ConfigError, match="attackers = 13 exceeds the cohort"):
        federation(federation={"attackers": 13})
    with pytest.raises(ConfigError, match="attackers = -1"):
        federation(federation={"attackers": -1})
    with pytest.raises(ConfigError, match="10 places of a cohort to 6 benign clients"):
        federation(federation={"malicious": 0.9, "attackers": 2})


def test_a_setting_that_older_runs_lack_leaves_their_hashes_alone() -> None:
    config = small()
    assert "attackers" not in config.to_dict()["federation"]
    assert small(federation={"attackers": 2}).hash != config.hash


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"cohort": 0}, "cohort"),
        ({"malicious": 1.0}, "malicious"),
        ({"rounds": 0}, "rounds"),
        ({"cutoffs": ()}, "cutoffs"),
        ({"cutoffs": (5, 0)}, "cutoffs"),
        ({"evaluate_users": 0}, "evaluate_users"),
        ({"evaluate_users": -1}, "evaluate_users"),
        ({"project_every": -1}, "project_every"),
    ],
)
def test_ranges_are_checked(options: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigError, match=f"federation.{name}"):
        FederationConfig(**options)  # type: ignore[arg-type]


def test_a_cohort_larger_than_the_federation_is_refused() -> None:
    with pytest.raises(ConfigError, match="exceeds the 60 clients"):
        federation(federation={"cohort": 61})


def test_clean_training_learns() -> None:
    fed = federation(attack="none", defense="none", federation={"rounds": 150, "cohort": 30, "evaluate_every": 150})
    start = fed.evaluate()["valid"]["HR@20"]
    records = list(fed.rounds())
    assert records[-1].loss < records[0].loss * 0.9
    assert records[-1].metrics["valid"]["HR@20"] > start


def test_sasrec_refuses_a_defense_that_asks_for_a_second_local_step() -> None:
    with pytest.raises(ConfigError, match=r"'fl-wbc' needs a second local step.*'sasrec' does not offer"):
        federation(model={"name": "sasrec", "dim": 8, "max_len": 10}, defense="fl-wbc", attack="none")


def test_the_norm_of_benign_uploads_is_told_where_it_is_granted_and_not_else() -> None:
    sections = {"attack": "gaussian", "defense": {"name": "normbound", "bound": None}}
    told = federation(**sections, federation={"tell_norm": True, "malicious": 0.3})
    untold = federation(**sections, federation={"malicious": 0.3})
    assert granted_norm(told)
    assert not granted_norm(untold)
    for _ in range(4):
        record = told.step()
        assert record.malicious.any()
        assert record.info["bound"] == pytest.approx(record.norms[~record.malicious].mean(), rel=1e-12)
        record = untold.step()
        assert record.info["bound"] == pytest.approx(np.median(record.norms), rel=1e-12)


@pytest.mark.parametrize("defense", ["none", "median", "normbound", "union+normbound"])
def test_a_norm_that_nobody_reads_is_not_granted_and_noted(defense: str) -> None:
    more = {"tell_norm": True}
    assert not granted_norm(federation(defense=defense, federation=more))
    assert unheeded(small(defense=defense, federation=more)) == [
        f"federation.tell_norm: {defense} reads no norm; normbound with `bound: null` does"
    ]
    reads = {"name": "union+normbound", "normbound": {"bound": None}}
    assert granted_norm(federation(defense=reads, federation=more))
    assert unheeded(small(defense=reads, federation=more)) == []
    # No error: a card grants all of its defenses the same.
    small(defense="none", federation={"tell_norm": True, "tell_defense": True})


def test_a_number_that_nobody_reads_is_noted() -> None:
    told = {"tell_defense": True}
    assert unheeded(small(defense="median", federation=told)) == [
        "federation.tell_defense: median reads no number of attackers, and counts as untold"
    ]
    assert unheeded(small(defense="krum", federation=told)) == []
    assert unheeded(small(defense="median")) == []


@dataclass(frozen=True)
class Listener(DefenseBase):
    """Notes what it is told."""

    name: ClassVar[str] = "listener"
    heeds: frozenset[str] = frozenset()  # type: ignore[assignment]

    def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
        info = {"told": view.told, "norm": view.benign_norm}
        return Outcome(None, Verdicts.all_accepted(updates.n), info), state


@pytest.mark.parametrize("heeds", [(), ("count",), ("norm",), ("count", "norm")])
def test_a_defense_is_told_what_it_heeds_and_nothing_else(heeds: tuple[str, ...]) -> None:
    base = federation(defense="none")
    config = FederationConfig(rounds=2, cohort=12, malicious=0.3, tell_defense=True, tell_norm=True)
    made = Federation(base.learner, base.attack, Listener(frozenset(heeds)), config, base.model.config, 0)
    info = made.step().info
    assert (info["told"] == 4) == ("count" in heeds)
    assert (info["told"] is None) != ("count" in heeds)
    assert (info["norm"] is None) != ("norm" in heeds)


def test_a_trimmed_mean_cuts_as_many_as_it_is_told() -> None:
    sections = {"attack": "fang", "federation": {"malicious": 0.3, "tell_defense": True}}
    assert federation(defense={"name": "trimmedmean", "trim": None}, **sections).step().info["trim"] == 4
    assert federation(defense="trimmedmean", **sections).step().info["trim"] == 2


def test_whoever_is_found_while_absent_is_drawn_no_more() -> None:
    @dataclass(frozen=True)
    class Finds(DefenseBase):
        name: ClassVar[str] = "finds"
        expels: ClassVar[bool] = True

        def step(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Outcome, State]:
            away = tuple(np.setdiff1d(np.arange(20), updates.clients).tolist()) if view.round == 3 else ()
            verdicts = replace(Verdicts.all_accepted(updates.n), expelled=np.zeros(updates.n, bool), absent=away)
            return Outcome(updates.weighted_sum(verdicts.weight), verdicts), state

    base = federation(attack="none", defense="none")
    config = FederationConfig(rounds=12, cohort=12, malicious=0.3)
    run = Federation(base.learner, base.attack, Finds(), config, base.model.config, 0)
    records = [run.step().to_json() for _ in range(12)]
    gone = records[2]["expelled_absent"]
    assert len(gone) >= 8
    assert [r for r in records if "expelled_absent" in r] == [records[2]]
    assert np.flatnonzero(run.expelled).tolist() == gone
    assert not any(set(gone) & set(record["cohort"]) for record in records[3:])
    assert any(set(gone) & set(record["cohort"]) for record in records[:3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_an_honest_client_that_diverged_is_no_measure_of_the_norm(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {"attack": "gaussian", "defense": {"name": "normbound", "bound": None}}
    made = federation(**sections, federation={"tell_norm": True, "malicious": 0.3})
    plain = made.learner.train
    sound: list[float] = []

    def train(model: object, job: object) -> object:
        trained = plain(model, job)
        good = ~made.is_malicious[trained.updates.clients]
        if not good.any():  # the attacker asks what its own clients would do
            return trained
        factor = np.ones(trained.updates.n)
        factor[np.flatnonzero(good)[0]] = bad
        sound.extend(trained.updates.norms[good][1:].tolist())
        return replace(trained, updates=trained.updates.scale(factor))

    monkeypatch.setattr(made.learner, "train", train)
    record = made.step()
    assert record.info["bound"] == pytest.approx(np.mean(sound), rel=1e-6)


def test_an_honest_client_without_samples_leaves_the_loss_to_the_others() -> None:
    learner = MLPConfig(together="never", batch=8).build(pictures(), "fair", 0)  # type: ignore[arg-type]
    assert learner.num_clients == 5
    config = FederationConfig(rounds=2, cohort=1.0, malicious=0.0, reserved=0.0, evaluate_every=2, project_every=0)
    made = Federation(learner, NoAttack(), FedAvg(), config, ServerConfig("sgd", 1.0), 0)
    loss = learner.train(made.model, Job(np.arange(5), 1)).loss
    assert np.flatnonzero(np.isnan(loss)).tolist() == [2]  # It holds nothing.
    assert made.step().loss == pytest.approx(np.mean([loss[i] for i in (0, 1, 3, 4)]))
    # Who holds samples and has no loss has diverged.
    for name in learner.spec.names:
        made.model.param(name).fill_(torch.nan)
    assert np.isnan(made.step().loss)


def test_a_round_of_clients_without_samples_has_no_loss() -> None:
    learner = MLPConfig(together="never").build(pictures((20, 0, 0)), "fair", 0)  # type: ignore[arg-type]
    config = FederationConfig(rounds=9, cohort=1, malicious=0.0, reserved=0.0, evaluate_every=9, project_every=0)
    made = Federation(learner, NoAttack(), FedAvg(), config, ServerConfig("sgd", 1.0), 0)
    records = list(made.rounds())
    assert [np.isnan(r.loss) for r in records] == [r.cohort.tolist() != [0] for r in records]
    assert {bool(r.cohort[0]) for r in records} == {True, False}
    assert [r.norms.any() for r in records] == [r.cohort.tolist() == [0] for r in records]
