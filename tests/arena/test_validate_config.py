"""A configuration is one validated mapping: what is wrong is named, what is right survives a round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege import registry
from fedsiege.arena.config import DatasetConfig, RunConfig, parse, read
from fedsiege.arena.data import load_dataset
from fedsiege.arena.runs import assemble
from fedsiege.cli.data import Info
from fedsiege.data.federated import FederatedImages
from fedsiege.data.partition import make
from fedsiege.defenses.compose import Pipeline
from fedsiege.errors import ConfigError, DataError
from fedsiege.rng import generator

BASE: dict[str, Any] = {"dataset": "synthetic"}


def config(**sections: Any) -> RunConfig:
    return parse({**BASE, **sections})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], ["a configuration is a mapping", "list"]),
        (None, ["a configuration is a mapping"]),
        ({}, ["needs a `dataset` section"]),
        ({**BASE, "atack": "lie"}, ["no section 'atack'", "'attack'"]),
        ({**BASE, "attack": "li"}, ["unknown attack 'li'", "'lie'"]),
        ({**BASE, "attack": {"z": 1.0}}, ["attack must be a name or a mapping with a `name`"]),
        ({**BASE, "attack": {"name": "lie", "zz": 1.0}}, ["attack (lie)", "no field 'zz'", "z"]),
        ({**BASE, "attack": {"name": "lie", "z": "much"}}, ["attack (lie)", "'z'", "'much'"]),
        ({**BASE, "attack": {"name": "labelflip", "z": 1}}, ["it takes no parameters"]),
        ({**BASE, "defense": {"name": "multikrum", "byzantin": 2}}, ["no field 'byzantin'", "'byzantine'"]),
        ({**BASE, "defense": {"name": "multikrum", "byzantine": -2}}, ["byzantine", "-2", "at least 0"]),
        ({**BASE, "defense": "union+multikrumm"}, ["unknown defense 'multikrumm'", "'multikrum'"]),
        ({**BASE, "defense": {"name": "union+krum", "multikrum": {}}}, ["no part 'multikrum'", "'krum'"]),
        ({**BASE, "defense": "median+krum"}, ["'median' aggregates by itself", "last"]),
        ({**BASE, "defense": "union+union-memory"}, ["more than one part", "extra task"]),
        ({**BASE, "model": "mff"}, ["unknown model 'mff'", "'mf'"]),
        ({**BASE, "federation": {"round": 3}}, ["federation", "no field 'round'", "'rounds'"]),
        ({**BASE, "federation": {"rounds": 0}}, ["federation.rounds", "at least 1"]),
        ({**BASE, "federation": {"malicious": 1.0}}, ["federation.malicious", "[0, 1)"]),
        ({**BASE, "federation": 3}, ["section 'federation' must be a mapping"]),
        ({**BASE, "server": {"optimizer": "adamw"}}, ["server", "'optimizer'", "'adam' or 'sgd'", "'adamw'"]),
        ({**BASE, "seed": "one"}, ["seed must be an integer", "'one'"]),
        ({**BASE, "seed": True}, ["seed must be an integer"]),
        ({"dataset": {"name": "ml-1m", "path": "x"}}, ["either `name`", "`path`", "not both"]),
        ({"dataset": {"users": 3}}, ["either `name`", "`path`"]),
        ({"dataset": {"name": "ml-1m", "protocol": "unfair"}}, ["dataset", "'protocol'", "'fair' or 'paper'"]),
        ({**BASE, "plugins": ["absent.py"]}, ["absent.py", "does not exist"]),
    ],
)  # fmt: skip
def test_errors_name_what_is_wrong_and_what_is_near(values: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(values)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("federation", {"rounds": True}),
        ("federation", {"cutoffs": [5, True]}),
        ("server", {"lr": True}),
        ("model", {"name": "mf", "dim": True}),
        ("attack", {"name": "lie", "z": False}),
        ("dataset", {"name": "synthetic", "users": True}),
    ],
)
def test_true_is_no_number(section: str, values: dict[str, Any]) -> None:
    field = list(values)[-1]
    with pytest.raises(ConfigError, match=f"field '{field}': must be a number, and true and false are none, got"):
        parse({"dataset": "synthetic", section: values})


def test_true_is_true_and_what_is_quoted_counts_as_what_it_spells() -> None:
    made = parse({"dataset": {"name": "digits", "balanced": False}, "federation": {"rounds": "2"}, "seed": 1})
    assert made.dataset.balanced is False
    assert made.federation.rounds == 2


@pytest.mark.parametrize("attack", ["none", {"name": "lie", "z": 0.5}, "clusterattack"])
@pytest.mark.parametrize(
    "defense",
    ["none", {"name": "normbound", "bound": None}, {"name": "union+multikrum", "union": {"alpha": 0.5}}],
)
def test_a_configuration_survives_a_round_trip(attack: Any, defense: Any) -> None:
    made = config(attack=attack, defense=defense, seed=3, federation={"rounds": 7, "cutoffs": [5, 50]})
    text = yaml.safe_dump(made.to_dict())
    again = parse(yaml.safe_load(text))
    assert again == made
    assert again.hash == made.hash


def test_the_hash_is_that_of_the_resolved_configuration() -> None:
    short, long = config(), config(attack={"name": "none"}, model="mf", federation={"rounds": 6000}, seed=0)
    assert short.hash == long.hash
    assert len(short.hash) == 12
    others = [config(seed=1), config(attack="lie"), config(model={"name": "mf", "dim": 32}), config(server={"lr": 1})]
    assert len({short.hash, *(c.hash for c in others)}) == 5
    assert short.with_seed(1).hash == others[0].hash


@given(
    rounds=st.integers(1, 10**6),
    malicious=st.floats(0, 0.99),
    seed=st.integers(0, 2**63),
    z=st.none() | st.floats(-5, 5),
)
@settings(max_examples=40, deadline=None)
def test_any_valid_values_survive_a_round_trip(rounds: int, malicious: float, seed: int, z: float | None) -> None:
    made = config(attack={"name": "lie", "z": z}, federation={"rounds": rounds, "malicious": malicious}, seed=seed)
    assert parse(yaml.safe_load(yaml.safe_dump(made.to_dict()))) == made


def test_a_composition_is_a_value_with_its_parts() -> None:
    made = config(defense={"name": "union+multikrum", "multikrum": {"byzantine": 3}})
    assert isinstance(made.defense, Pipeline)
    assert [part.name for part in made.defense.parts] == ["union", "multikrum"]
    assert made.defense.parts[1].byzantine == 3
    assert made.to_dict()["defense"]["multikrum"]["byzantine"] == 3


def test_numbers_are_taken_for_floats_and_lists_for_tuples() -> None:
    made = config(server={"lr": 1, "betas": [0.5, 0.9]}, federation={"cutoffs": [1, 3]})
    assert made.server.lr == 1.0
    assert made.server.betas == (0.5, 0.9)
    assert made.federation.cutoffs == (1, 3)


def test_paths_refer_to_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.inter").write_text("user_id:token\titem_id:token\n1\t2\n", encoding="utf-8")
    (tmp_path / "one.yaml").write_text("dataset: {path: mine.inter}\n", encoding="utf-8")
    assert read(tmp_path / "one.yaml").dataset.path == str(tmp_path / "mine.inter")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset: [", ["one.yaml", "not valid YAML", "line"]),
        ("dataset: synthetic\natack: lie\n", ["one.yaml", "no section 'atack'"]),
    ],
)
def test_errors_of_a_file_name_the_file(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(path)
    for word in words:
        assert word in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*absent\.yaml: No such file"):
        read(tmp_path / "absent.yaml")


def test_plugins_of_a_file_are_known_to_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_extra", dict(registry._extra))
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from fedsiege.defenses import Filter\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Filter):\n"
        '    """Mine: of this test alone."""\n\n'
        '    name: ClassVar[str] = "mine-alone"\n',
        encoding="utf-8",
    )
    (tmp_path / "one.yaml").write_text(
        "dataset: synthetic\ndefense: mine-alone\nplugins: [mine.py]\n", encoding="utf-8"
    )
    made = read(tmp_path / "one.yaml")
    assert made.defense.name == "mine-alone"
    # The resolved configuration works from any folder (the file is imported anew, so classes differ).
    assert parse(made.to_dict()).hash == made.hash


def test_a_setting_younger_than_stored_runs_appears_only_where_it_is_used() -> None:
    def of(**settings: object) -> RunConfig:
        return parse({"dataset": "ml-100k", "attack": {"name": "lie", **settings}})

    assert of().to_dict()["attack"] == of(direction="gradient").to_dict()["attack"] == {"name": "lie", "z": None}
    assert of(direction="update").to_dict()["attack"]["direction"] == "update"
    assert of().hash == of(direction="gradient").hash != of(direction="update").hash
    assert parse(of(direction="update").to_dict()) == of(direction="update")


def test_digits_need_nothing_but_their_name() -> None:
    made = parse({"dataset": "digits"})
    assert made.model.name == "mlp"
    federation, info = assemble(made)
    assert federation.learner.num_clients == 100
    assert info["source"] == "scikit-learn"
    for name in ("fashion-mnist", "cifar-10", "cinic-10"):
        assert parse({"dataset": name}).model.name == "cnn"
    assert parse({"dataset": "digits", "model": "convnet"}).model.name == "convnet"


def held(seed: int = 3, **given: Any) -> FederatedImages:
    data = load_dataset(DatasetConfig(**{"name": "digits", "clients": 20, **given}), seed)
    assert isinstance(data, FederatedImages)
    return data


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, {"partition": "dirichlet"}),
        ({"beta": 0.3, "minimum": 40}, {"partition": "dirichlet", "beta": 0.3, "minimum": 40}),
        ({"balanced": False, "minimum": 1}, {"partition": "dirichlet", "unbalanced": True, "minimum": 1}),
        ({"partition": "shards", "shards": 4}, {"partition": "shards", "per_client": 4}),
        ({"partition": "iid"}, {"partition": "iid"}),
        ({"samples": 400, "beta": 0.5}, {"partition": "dirichlet", "samples": 400, "beta": 0.5}),
        ({"samples": 300, "partition": "iid"}, {"partition": "iid", "samples": 300}),
        (
            {"samples": 300, "partition": "shards", "shards": 3},
            {"partition": "shards", "samples": 300, "per_client": 3},
        ),
    ],
)
def test_a_run_has_the_partition_that_data_info_shows(
    settings: dict[str, Any], words: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = held(**settings)
    labels = data.dataset.train.labels
    Info("digits", clients=20, seed=3, json=True, out=tmp_path / "p.png", **words)()
    shown = json.loads(capsys.readouterr().out)["partition"]
    assert data.partition.counts(labels, 10).tolist() == shown["counts"]
    # Numbers alone may agree by chance: the very images are those of the generator with that address.
    named = {k: shown[k] for k in ("beta", "per_client", "minimum", "balanced") if k in shown}
    rng, kept = generator(3, "partition"), np.arange(labels.size)
    if "samples" in shown:
        kept = np.sort(rng.permutation(labels.size)[: shown["samples"]])
    assert shown.get("samples") == settings.get("samples")
    expected = make(shown["partition"], labels[kept], 20, rng, **named)
    assert np.array_equal(data.partition.index, kept[expected.index])
    assert np.array_equal(data.partition.ptr, expected.ptr)


def test_the_minimum_of_a_dirichlet_partition() -> None:
    uneven = {"balanced": False, "beta": 0.1}
    few = held(**uneven, minimum=0).partition.sizes
    assert few.min() < 10 <= held(**uneven).partition.sizes.min()
    assert held(**uneven, minimum=20).partition.sizes.min() >= 20
    with pytest.raises(DataError, match="use at most 14 clients or a smaller `minimum`"):
        held(minimum=100)
    with pytest.raises(ConfigError, match="minimum=-1"):
        held(minimum=-1)
    with pytest.raises(ConfigError, match=r"dataset\.minimum applies to images only"):
        load_dataset(DatasetConfig(name="synthetic", minimum=3), 0)


@pytest.mark.parametrize(
    ("kind", "field", "value", "reader"),
    [
        *(
            (kind, field, value, "dirichlet")
            for kind in ("iid", "shards")
            for field, value in (("beta", 0.5), ("balanced", False), ("minimum", 3))
        ),
        *((kind, "shards", value, "shards") for kind in ("iid", "dirichlet", None) for value in (4, 0)),
    ],
)
def test_a_field_that_the_partition_does_not_read(kind: str | None, field: str, value: object, reader: str) -> None:
    dataset = {"name": "digits", "partition": kind, field: value}
    message = (
        f"dataset.{field} applies to partition {reader} only, not to {kind or 'dirichlet'}; set `partition: {reader}`, "
        f"or leave {field} out"
    )
    with pytest.raises(ConfigError, match=message):
        parse({"dataset": dataset})
    assert parse({"dataset": {**dataset, "partition": reader}}).dataset.kind == reader
    # Values that change nothing are taken, as a card's may stand under another partition.
    assert parse({"dataset": {**dataset, field: None}}).dataset.kind == (kind or "dirichlet")
    usual = {"beta": 0.1, "balanced": True, "minimum": 10, "shards": 2}[field]
    assert parse({"dataset": {**dataset, field: usual}}).dataset.kind == (kind or "dirichlet")


@pytest.mark.parametrize("value", [0, -1, 73, 5000])
def test_shards_beyond_the_images(value: int) -> None:
    allowed = "it must be from 1 to 72, as 20 clients share 1442 images"
    with pytest.raises(ConfigError, match=rf"^dataset\.shards is {value}; {allowed}$"):
        held(partition="shards", shards=value)
    assert held(partition="shards", shards=72).partition.clients == 20


@pytest.mark.parametrize("value", [0, 1443])
def test_samples_beyond_the_images(value: int) -> None:
    with pytest.raises(ConfigError, match=rf"dataset\.samples is {value}; it must be .* from 1 to 1442"):
        held(samples=value)


RANKED: list[tuple[str, str, object, str]] = [
    ("dataset", "protocol", "paper", "dataset.protocol = 'paper' is about negatives of recommenders"),
    ("federation", "reserved", 0.5, r"federation.reserved = 0.5 is for recommenders.*set it to 0.0"),
    ("federation", "evaluate_users", 3, r"federation.evaluate_users = 3 is for recommenders.*set it to null"),
    ("federation", "cutoffs", [7], r"federation.cutoffs = \[7\] is for recommenders.*set it to \[5, 10, 20\]"),
]


@pytest.mark.parametrize(("section", "field", "value", "message"), RANKED)
@pytest.mark.parametrize("model", ["mlp", "convnet"])
def test_a_classifier_refuses_what_is_for_recommenders(
    section: str, field: str, value: object, message: str, model: str
) -> None:
    def of(name: str, model: str, **given: object) -> RunConfig:
        values: dict[str, Any] = {"dataset": {"name": name}, "federation": {}, "model": model}
        values[section] = {**values[section], **given}
        return parse(values)

    with pytest.raises(ConfigError, match=message):
        of("digits", model, **{field: value})
    assert of("ml-100k", "mf", **{field: value}).model.name == "mf"
    # What every stored run of a classifier holds is taken.
    plain = of("digits", model)
    assert parse(plain.to_dict()) == plain


def test_a_minimum_is_stored_only_where_it_is_asked_for() -> None:
    plain, asked = parse({"dataset": "digits"}), parse({"dataset": {"name": "digits", "minimum": 5}})
    assert "minimum" not in plain.to_dict()["dataset"]
    assert asked.to_dict()["dataset"]["minimum"] == 5
    assert plain.hash != asked.hash
    assert parse(asked.to_dict()) == asked
