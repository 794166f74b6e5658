"""What a defense has on a model and a data set where the configuration leaves it out."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from fedsiege.arena.config import RunConfig, parse
from fedsiege.arena.paper import icml24
from fedsiege.arena.runs import assemble
from fedsiege.arena.validate import plain
from fedsiege.defenses.redefense import FedREDefense
from fedsiege.errors import ConfigError
from fedsiege.learners.virtual_mf import MF_RATES
from tests.small import small

CLASSIFIERS = ("mlp", "cnn", "convnet")


def config(dataset: str, defense: Any, model: str | None = None) -> RunConfig:
    return parse({"dataset": dataset, "defense": defense, **({"model": model} if model else {})})


def of(redefense: Any) -> dict[str, Any]:
    return {field.name: getattr(redefense, field.name) for field in fields(FedREDefense)}


def test_redefense_on_matrix_factorisation_has_the_rates_that_suit_it() -> None:
    made = config("ml-1m", "redefense")
    assert of(made.defense) == {**of(FedREDefense()), **MF_RATES}
    assert made.to_dict()["defense"]["pairs"] == 1
    assert parse(made.to_dict()) == made
    behind = config("ml-1m", {"name": "union+redefense", "redefense": {"gamma": 0.75}}).defense.parts[1]
    assert of(behind) == {**of(made.defense), "gamma": 0.75}


def test_what_a_configuration_states_stays() -> None:
    stated = config("ml-1m", {"name": "redefense", **plain(FedREDefense())})
    assert stated.defense == FedREDefense()
    assert parse(stated.to_dict()).hash == stated.hash
    one = config("ml-1m", {"name": "redefense", "pairs": 2, "virtual_lr": 8})
    assert of(one.defense) == {**of(FedREDefense()), **MF_RATES, "pairs": 2, "virtual_lr": 8.0}


@pytest.mark.parametrize("dataset", ["cifar-10", "cinic-10"])
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_redefense_has_the_rates_of_the_papers_table_on_its_data_sets(dataset: str, model: str) -> None:
    table = icml24()["table7"][dataset]
    assert of(config(dataset, "redefense", model).defense) == {**of(FedREDefense()), **table}
    assert table["input_lr"] != FedREDefense().input_lr
    behind = config(dataset, {"name": "redefense+median", "redefense": {"first": 3}}, model).defense.parts[0]
    assert of(behind) == {**of(FedREDefense()), **table, "first": 3}


@pytest.mark.parametrize("dataset", ["fashion-mnist", "digits"])
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_elsewhere_redefense_has_its_own_defaults(dataset: str, model: str) -> None:
    made = config(dataset, "redefense", model)
    assert made.defense == FedREDefense()
    assert made.hash == config(dataset, {"name": "redefense", **plain(FedREDefense())}, model).hash


def test_runs_of_images_keep_their_hash() -> None:
    """As before defaults could depend on the model."""
    assert config("fashion-mnist", "redefense", "convnet").hash == "faa1db9e0d71"
    assert config("fashion-mnist", {"name": "normbound", "bound": None}, "convnet").hash == "6b76a5dea59f"
    assert config("ml-1m", "normbound").hash == "9d9f5563ac42"


@pytest.mark.parametrize("attack", ["fang", "gaussian"])
def test_a_plain_redefense_tells_attackers_from_users_of_a_recommender(attack: str) -> None:
    federation = assemble(
        small(
            model={"name": "mf", "dim": 32},
            attack=attack,
            defense="redefense",
            federation={"rounds": 2, "malicious": 0.3, "reserved": 0.3},
        )
    )[0]
    for record in federation.rounds():
        assert 0 < record.malicious.sum() < record.malicious.size
        np.testing.assert_array_equal(record.verdicts.accepted, ~record.malicious)
        assert record.verdicts.score[record.malicious].min() > 0.75


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_normbound_without_a_bound_takes_the_median_norm_of_classifiers(model: str) -> None:
    assert config("digits", "normbound", model).defense.bound is None
    assert config("digits", {"name": "normbound", "bound": 0.1}, model).defense.bound == 0.1
    assert config("digits", "flame+normbound", model).defense.parts[1].bound is None


def test_normbound_keeps_its_bound_on_recommenders() -> None:
    assert config("ml-1m", "normbound").defense.bound == 0.1
    assert config("ml-1m", "union+normbound").defense.parts[1].bound == 0.1


def test_the_rule_of_flcert_is_completed_too() -> None:
    plainly = config("digits", {"name": "flcert", "rule": "normbound"})
    assert plainly.defense.rule == {"name": "normbound", "bound": None, "weighting": "samples"}
    assert parse(plainly.to_dict()) == plainly
    stated = config("digits", {"name": "flcert", "rule": {"name": "normbound", "bound": 2}})
    assert stated.defense.inner.bound == 2
    assert config("digits", "flcert").defense.rule == "median"


def test_settings_that_are_none_are_refused_as_ever() -> None:
    with pytest.raises(ConfigError, match=r"has no field 'gama': did you mean 'gamma'\?"):
        config("ml-1m", {"name": "redefense", "gama": 1})
    with pytest.raises(ConfigError, match=r"defense \(flcert\), field 'rule'"):
        config("digits", {"name": "flcert", "rule": 3})
