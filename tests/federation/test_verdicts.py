"""What the loop does with decisions about clients and models: expulsion, restart, several models, oracles."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from fedsiege import registry
from fedsiege.arena.config import parse
from fedsiege.attacks.base import AttackBase, AttackView, Knowledge
from fedsiege.attacks.lie import LIE
from fedsiege.attacks.none import NoAttack
from fedsiege.defenses.base import DefenseView, Filter, Verdicts
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.fl_cert import FLCert
from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.none import FedAvg
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.errors import ConfigError, KnowledgeError
from fedsiege.federation import checkpoint
from fedsiege.federation.loop import Federation, FederationConfig
from fedsiege.federation.server import ServerConfig
from fedsiege.learners.base import Job, State
from fedsiege.learners.mlp import MLPConfig
from fedsiege.metrics.detection import final
from fedsiege.updates import UpdateBatch
from tests.pictures import pictures

SIZES = (9, 12, 8, 15, 11, 10, 14, 9, 13, 12)
SGD = ServerConfig("sgd", 1.0)


@dataclass(frozen=True)
class Banisher(Filter):
    """Expels clients 2 and 7 in the round given, and may ask for a fresh start."""

    name: ClassVar[str] = "banisher"
    expels: ClassVar[bool] = True
    at: int = 2
    restart: bool = False

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        out = np.isin(updates.clients, [2, 7]) & (view.round == self.at)
        reasons = tuple("banished" if x else "" for x in out)
        restart = self.restart and bool(out.any())
        return Verdicts(~out, np.full(updates.n, np.nan), (~out) * 1.0, reasons, out, restart), state, {}


def federation(defense: Any, attack: Any = None, **options: Any) -> Federation:
    made = MLPConfig(together="never", hidden=(4,), batch=8).build(pictures(SIZES), "fair", 0)
    config = FederationConfig(**{"rounds": 6, "cohort": 1.0, "malicious": 0.3, "reserved": 0.0, **options})
    return Federation(made, attack or NoAttack(), defense, config, SGD, 0)


def weights(f: Federation) -> torch.Tensor:
    return f.model.param("1.weight").clone()


def test_an_expelled_client_takes_part_no_more() -> None:
    f = federation(Banisher())
    records = [f.step() for _ in range(4)]
    assert [r.cohort.size for r in records] == [10, 10, 8, 8]
    assert not np.isin(records[2].cohort, [2, 7]).any()
    assert records[1].to_json()["expelled"] == [2, 7]
    assert records[0].to_json()["expelled"] == []


def test_partial_cohorts_are_drawn_from_those_who_are_left() -> None:
    f = federation(Banisher(at=1), cohort=0.5, rounds=40)
    seen = [f.step().cohort for _ in range(30)]
    assert all(c.size == 5 and np.unique(c).size == 5 for c in seen)
    gone = sorted(set(range(10)) - set(np.concatenate(seen[1:]).tolist()))
    assert gone == sorted(set(seen[0].tolist()) & {2, 7})


def test_a_restart_brings_the_initial_model_back() -> None:
    f = federation(Banisher(at=3, restart=True))
    start = weights(f)
    f.step()
    assert not torch.equal(weights(f), start)
    f.step()
    record = f.step()
    assert torch.equal(weights(f), start)
    assert record.to_json()["restart"] is True
    f.step()
    assert not torch.equal(weights(f), start)


def test_a_federation_without_clients_left_stays_as_it_is() -> None:
    f = federation(Banisher(at=1))
    f.expelled[:] = True
    before = weights(f)
    record = f.step()
    assert record.cohort.size == 0
    assert not record.applied
    assert torch.equal(weights(f), before)
    assert "test" in federation(Banisher(), evaluate_every=1).step().metrics


def test_expulsions_outlive_the_process() -> None:
    whole, cut = federation(Banisher()), federation(Banisher())
    for f in (whole, cut):
        for _ in range(3):
            f.step()
    again = federation(Banisher())
    again.load(cut.state())
    left, right = whole.step(), again.step()
    assert left.to_json() == right.to_json()
    assert torch.equal(weights(whole), weights(again))


def test_several_models_are_trained_by_their_own_clients_and_vote() -> None:
    f = federation(FLCert(groups=3), evaluate_every=1)
    record = f.step()
    assert record.cohort.tolist() == list(range(10))
    assert "TACC" in record.metrics["test"]
    params = [m.param("1.weight") for m in f.models]
    assert len(params) == 3
    assert not torch.equal(params[0], params[1])
    # A model is the median of its own group's clients, and nobody else's.
    alone = federation(FLCert(groups=3))
    group = np.flatnonzero(alone.groups.of_client == 1)
    updates = alone.learner.train(alone.models[1], Job(group, 1)).updates
    expected = alone.models[1].param("1.weight") + updates.blocks["1.weight"].dense().double().quantile(0.5, 0).float()
    torch.testing.assert_close(params[1], expected)


def test_several_models_survive_writing_and_reading(tmp_path) -> None:
    whole, cut = federation(FLCert(groups=3)), federation(FLCert(groups=3))
    whole.step(), cut.step()
    checkpoint.save(tmp_path / "state", cut.state())
    again = federation(FLCert(groups=3))
    again.load(checkpoint.load(tmp_path / "state"))
    whole.step(), again.step()
    for left, right in zip(whole.models, again.models, strict=True):
        assert torch.equal(left.param("1.weight"), right.param("1.weight"))


def test_a_group_rule_must_be_a_plain_rule() -> None:
    for rule in ("flcert", "fldetector", "union"):
        with pytest.raises(ConfigError, match="plain aggregation rule"):
            FLCert(rule=rule)
    with pytest.raises(ConfigError, match="unknown defense"):
        FLCert(rule="medain")
    with pytest.raises(ConfigError, match="groups"):
        FLCert(groups=1)
    with pytest.raises(ConfigError, match=r"flcert.rule = 'flame\+median' joins several, and a group has one rule"):
        FLCert(rule="flame+median")
    for nameless in ({"trim": 2}, {"name": 3}, 7):
        with pytest.raises(ConfigError, match=r"flcert.rule is .* the name of a rule"):
            FLCert(rule=nameless)  # type: ignore[arg-type]


def test_a_group_rule_has_settings() -> None:
    made = FLCert(groups=3, rule={"name": "trimmedmean", "trim": 2})
    assert made.inner == TrimmedMean(trim=2)
    assert made.rule == {"name": "trimmedmean", "trim": 2}
    assert FLCert(rule={"name": "krum"}).rule == {"name": "krum", "weighting": "samples", "byzantine": None}
    assert federation(FLCert(groups=2, rule={"name": "trimmedmean", "trim": 1})).step().info["0.trim"] == 1
    with pytest.raises(ConfigError, match=r"flcert.rule \(krum\) has no field 'byzantin': did you mean 'byzantine'\?"):
        FLCert(rule={"name": "krum", "byzantin": 1})
    with pytest.raises(ConfigError, match=r"trimmedmean.trim is 0.7"):
        FLCert(rule={"name": "trimmedmean", "trim": 0.7})
    assert pickle.loads(pickle.dumps(made)) == made
    assert replace(made, groups=4).rule == made.rule


def test_a_group_rule_has_what_it_needs_of_the_model() -> None:
    assert FLCert().needs == {"vote"}
    trusting = FLCert(groups=3, rule={"name": "fltrust", "samples": 20})
    assert trusting.needs == {"vote", "root"}
    record = federation(trusting).step()
    assert record.applied
    assert record.info["0.root_norm"] > 0
    # The registry, which reads the class, knows what all rules share.
    assert registry.entries("defenses")["flcert"].capabilities == ("vote",)
    config = parse({"dataset": "digits", "defense": {"name": "flcert", "rule": {"name": "fltrust", "samples": 20}}})
    assert config.defense.needs == {"vote", "root"}
    assert parse(config.to_dict()) == config
    assert replace(trusting, rule="median").needs == {"vote"}


def test_a_group_rule_is_told_what_it_heeds() -> None:
    assert FLCert().heeds == frozenset()
    made = FLCert(groups=2, rule="krum")
    assert made.heeds == {"count"}
    told = federation(made, tell_defense=True, malicious=0.4).step().info
    assert (told["0.f"], told["1.f"]) == (2, 2)
    assert federation(made, malicious=0.4).step().info["0.f"] == 1


@pytest.mark.parametrize("defense", [FLCert(groups=11), Pipeline((Flame(), FLCert(groups=11)))])
def test_more_groups_than_clients_are_refused(defense: Any) -> None:
    with pytest.raises(ConfigError, match=r"^flcert.groups = 11 exceeds the 10 clients"):
        federation(defense)


@pytest.mark.parametrize("inside", [False, True])
def test_a_server_has_no_more_clean_images_than_there_are(inside: bool) -> None:
    total = sum(SIZES) + 5  # five belong to nobody

    def made(samples: int) -> Any:
        return FLCert(groups=2, rule={"name": "fltrust", "samples": samples}) if inside else FLTrust(samples)

    with pytest.raises(
        ConfigError, match=rf"fltrust.samples is {total + 1}; it must be at most {total}, the number of"
    ):
        federation(made(total + 1))
    with pytest.raises(ConfigError, match=r"fltrust.samples"):
        federation(Pipeline((Flame(), made(total + 1))))
    assert federation(made(total)).step().applied


@dataclass(frozen=True)
class Asker(AttackBase):
    """Doubles its uploads if the server's defense would take them."""

    name: ClassVar[str] = "asker"
    knowledge: ClassVar[Knowledge] = Knowledge.ORACLE

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        twice = updates.scale(np.full(updates.n, 2.0))
        answers.append(view.oracle(twice))
        return (twice if answers[-1].all() else updates), state


answers: list[np.ndarray] = []


def test_an_oracle_answers_as_the_defense_would_and_changes_nothing() -> None:
    answers.clear()
    f, plain = federation(Banisher(at=2), Asker()), federation(Banisher(at=2))
    coalition = f.coalition
    records = [f.step() for _ in range(2)]
    assert answers[0].all()
    np.testing.assert_array_equal(~answers[1], np.isin(coalition, [2, 7]))
    np.testing.assert_allclose(records[0].norms[coalition], 2 * plain.step().norms[coalition], rtol=1e-5)


def test_an_oracle_judges_the_uploads_that_it_is_asked_about_alone() -> None:
    @dataclass(frozen=True)
    class Few(Filter):
        name: ClassVar[str] = "few"

        def judge(
            self, updates: UpdateBatch, state: State, view: DefenseView
        ) -> tuple[Verdicts, State, dict[str, Any]]:
            return Verdicts.of(np.full(updates.n, updates.n < len(SIZES)), np.zeros(updates.n), "many"), state, {}

    answers.clear()
    record = federation(Few(), Asker()).step()
    assert answers[0].all()
    assert not record.verdicts.accepted.any()


def test_an_oracle_must_be_declared() -> None:
    @dataclass(frozen=True)
    class Cheat(Asker):
        name: ClassVar[str] = "cheat"
        knowledge: ClassVar[Knowledge] = Knowledge.MODEL

    with pytest.raises(KnowledgeError, match="oracle"):
        federation(FedAvg(), Cheat()).step()


def test_what_the_coalition_would_upload_is_not_trained_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    f = federation(FedAvg(), LIE())
    trained = []
    plain = f.learner.train
    monkeypatch.setattr(f.learner, "train", lambda model, job: trained.append(job.clients) or plain(model, job))
    f.step()
    assert len(trained) == 1


def test_final_judgement_of_clients() -> None:
    bad = np.array([True, True, False, False, False])
    assert final(bad, np.array([0, 4])) == {"DACC_final": 0.6, "FPR_final": pytest.approx(1 / 3), "FNR_final": 0.5}
    nobody = final(np.zeros(3, bool), np.empty(0, np.int64))
    assert nobody["DACC_final"] == 1
    assert np.isnan(nobody["FNR_final"])


def test_a_fraction_of_clients_makes_a_cohort() -> None:
    assert federation(FedAvg(), cohort=0.3).cohort(1).size == 3
    assert federation(FedAvg(), cohort=0.01).cohort(1).size == 1
    for wrong in (1.5, 0.0, 0):
        with pytest.raises(ConfigError, match="cohort"):
            federation(FedAvg(), cohort=wrong)


def test_only_the_groups_that_ask_for_it_start_over() -> None:
    f = federation(Pipeline((Banisher(at=2, restart=True), FLCert(groups=4))))
    asking = sorted({int(f.groups.of_client[client]) for client in (2, 7)})
    assert 0 < len(asking) < 4
    initial = f._initial_models()[0].snapshot()
    records = [f.step() for _ in range(2)]
    assert [r.verdicts.restart for r in records] == [False, True]
    fresh = [all(torch.equal(model.param(name), value) for name, value in initial.items()) for model in f.models]
    assert [g for g, is_fresh in enumerate(fresh) if is_fresh] == asking
    assert [model.clock for model in f.models] == [0 if g in asking else 2 for g in range(4)]
