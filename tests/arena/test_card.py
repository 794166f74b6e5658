"""Cards: what they fix, what their hash covers, which division a run is in, and what is wrong with a card."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from fedsiege import registry
from fedsiege.arena.card import Card
from fedsiege.arena.card_file import load, names
from fedsiege.arena.card_ref import CardRef
from fedsiege.arena.config import parse
from fedsiege.arena.paper import settings
from fedsiege.arena.runs import assemble
from fedsiege.arena.targets.aaai23 import RecommenderPoint
from fedsiege.arena.targets.icml24 import FULL
from fedsiege.errors import ConfigError
from fedsiege.learners.mf import MFConfig
from tests.arena.games import TINY, tiny

FULL_SIZE = {
    "rec-untargeted-v1", "rec-untargeted-05-v1", "rec-untargeted-5-v1", "rec-untargeted-sasrec-v1", "rec-gowalla-v1",
    "img-untargeted-v1", "img-backdoor-v1",
}  # fmt: skip

HASHES = {
    "demo-images-v1": "15e74fc537fe",
    "demo-v1": "6fcf70ebfb04",
    "img-backdoor-v1": "cbc3d67834df",
    "img-backdoor-v1-lite": "5666e4bc9192",
    "img-untargeted-v1": "651aa17a6584",
    "img-untargeted-v1-lite": "a600ea5a5b74",
    "rec-gowalla-v1": "93c44c89b62d",
    "rec-gowalla-v1-lite": "5ceeffbe2585",
    "rec-untargeted-05-v1": "e3d21b869339",
    "rec-untargeted-05-v1-lite": "56d709faef26",
    "rec-untargeted-5-v1": "b8f835f27c66",
    "rec-untargeted-5-v1-lite": "48a4974de5f1",
    "rec-untargeted-sasrec-v1": "c0dcaa465d39",
    "rec-untargeted-sasrec-v1-lite": "60082349d557",
    "rec-untargeted-v1": "5876662adbcd",
    "rec-untargeted-v1-lite": "c74e27260758",
}
"""A card whose game changes is a new card: give it a new version, and leave the old one as it is."""


def test_the_promised_cards_are_there_each_with_a_small_form() -> None:
    assert set(names()) == FULL_SIZE | {f"{id_}-lite" for id_ in FULL_SIZE} | {"demo-v1", "demo-images-v1"}


@pytest.mark.parametrize("id_", names())
def test_a_shipped_card_is_complete_and_its_game_has_not_changed(id_: str) -> None:
    found = load(id_)
    assert found.id == id_
    assert found.hash == HASHES[id_]
    assert len(found.title) > 10
    assert len(found.about) > 40
    assert len(found.tuning) > 10
    assert found.told is False
    assert "none" in found.attacks
    assert "none" in found.defenses
    if not id_.startswith("demo"):
        assert len(found.seeds) >= 5
        assert any("adaptive" in str(attack) for attack in found.attacks)
    if id_.startswith("img"):
        assert [found.values(d)["dataset"]["beta"] for d in found.degrees] == [0.1, 0.5, 1.0]
    for degree in found.degrees:
        for attack in found.attacks:
            for defense in found.defenses:
                config = found.config(attack, defense, found.seeds[0], degree)
                assert config.card == CardRef(id_, found.hash, degree)
                assert config.dataset.protocol == "fair"
                assert found.metric in config.reported


CLIENTS = {"ml-1m": 6040, "gowalla": 29858, "synthetic": 943}


def number(value: float, among: int) -> int:
    """A number of clients as rules read it: a share is rounded up."""
    return value if isinstance(value, int) else math.ceil(round(value * among, 9))


@pytest.mark.parametrize("id_", names())
def test_no_entrant_of_a_card_has_the_true_number_of_attackers_in_its_settings(id_: str) -> None:
    found = load(id_)
    guessed = set()
    for degree, spec in product(found.degrees, found.defenses):
        config = found.config("none", spec, found.seeds[0], degree)
        data, game = config.dataset, config.federation
        assert not game.tell_defense
        clients = data.clients or data.users or CLIENTS.get(str(data.name), 100)
        cohort = round(game.cohort * clients) if isinstance(game.cohort, float) else game.cohort
        mean = cohort * round(game.malicious * clients) / clients
        for part in getattr(config.defense, "parts", (config.defense,)):
            for name in {"byzantine", "trim"} & {f.name for f in fields(part)}:
                value = getattr(part, name)
                guess = number(0.1 if value is None else value, cohort)
                assert guess not in (math.floor(mean), math.ceil(mean)), f"{spec} at {degree!r}: {guess} of {cohort}"
                guessed.add(guess)
    assert guessed, "a card without a rule that guesses"


@pytest.mark.parametrize(("id_", "share"), [("rec-untargeted-05-v1", 0.005), ("rec-untargeted-5-v1", 0.05)])
def test_shares_differ_in_nothing_else(id_: str, share: float) -> None:
    mine, base = load(id_).config("lie", "none", 0), load("rec-untargeted-v1").config("lie", "none", 0)
    assert base.federation.malicious == 0.01
    assert replace(mine, federation=replace(mine.federation, malicious=0.01), card=None) == replace(base, card=None)


@pytest.mark.parametrize(
    ("id_", "model", "dataset"),
    [
        ("rec-untargeted-v1", "mf", "ml-1m"),
        ("rec-untargeted-sasrec-v1", "sasrec", "ml-1m"),
        ("rec-gowalla-v1", "mf", "gowalla"),
    ],
)
def test_recommender_cards_are_the_papers_setting_with_the_fair_protocol(id_: str, model: str, dataset: str) -> None:
    found = load(id_)
    values = RecommenderPoint(model, dataset, "none").config(0, 6000)
    values["dataset"]["protocol"] = "fair"
    assert found.config("none", "none", 0).hash == parse(values).hash
    bounds = {d["bound"] for d in found.defenses if not isinstance(d, str) and d["name"] == "normbound"}
    assert bounds == {settings(model, dataset)["normbound"]}


def test_image_cards_are_the_papers_federation() -> None:
    found = load("img-untargeted-v1").config("none", "none", 0, "beta0.1")
    assert (found.dataset.clients, found.dataset.beta, found.dataset.balanced) == (FULL.clients, 0.1, True)
    assert (found.federation.rounds, found.federation.malicious) == (FULL.rounds, FULL.malicious)
    assert (found.model.name, found.model.lr, found.model.batch) == ("convnet", FULL.of("convnet").lr, 32)
    assert not load("img-backdoor-v1").higher_is_better


@pytest.mark.parametrize(
    "changed",
    [
        {"federation": {**TINY["federation"], "rounds": 31}},
        {"model": {"name": "mf", "dim": 9}},
        {"dataset": {**TINY["dataset"], "users": 61}},
        {"server": {"lr": 0.02}},
        {"told": True},
        {"metric": "HR@10"},
        {"seeds": [0, 2]},
        {"knowledge": "model"},
        {"degrees": {"a": {}}},
        {"tuning": "none"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_the_hash_covers_the_game(changed: dict[str, Any]) -> None:
    assert tiny(**changed).hash != tiny().hash


@pytest.mark.parametrize(
    "changed",
    [
        {"title": "Other"},
        {"about": "Other."},
        {"bands": {"": [0.1, 0.2]}},
        {"attacks": ["none"]},
        {"defenses": ["krum"]},
        # Said although it is the default, and what only decides what is drawn.
        {"model": {"name": "mf", "dim": 8, "dropout": 0.2}},
        {"federation": {**TINY["federation"], "project_every": 7}},
    ],
    ids=str,
)
def test_the_hash_leaves_out_words_and_entrants(changed: dict[str, Any]) -> None:
    assert tiny(**changed).hash == tiny().hash


def test_the_card_does_not_enter_the_hash_of_a_run_and_is_stored_with_it() -> None:
    found = tiny().config("lie", "none", 0)
    assert found.hash == replace(found, card=None).hash
    values = found.to_dict()
    assert values["card"] == {"id": "tiny-v1", "hash": tiny().hash, "degree": "", "division": "closed", "changes": []}
    assert parse(values) == found
    assert "card" not in replace(found, card=None).to_dict()
    with pytest.raises(ConfigError, match=r"card has no field 'identity'"):
        parse({**values, "card": {"identity": "x"}})


def test_the_open_division_says_what_was_changed() -> None:
    game = tiny()
    found = game.play("lie", "none", 0, changed={"federation": {"rounds": 10}, "model": {"dim": 4}})
    assert found.card == CardRef("tiny-v1", game.hash, "", "open", ("model.dim", "federation.rounds"))
    assert found.federation.rounds == 10
    assert game.changes(found) == ("model.dim", "federation.rounds")
    # What is said and is as on the card is no change.
    same = game.play("lie", "none", 0, changed={"federation": {"rounds": 30, "project_every": 1}})
    assert same.card is not None
    assert same.card.division == "closed"
    assert game.play("lie", "none", 7).card.changes == ("seed",)  # type: ignore[union-attr]
    other = game.play("lie", "none", 0, changed={"model": "sasrec"}).card
    assert other is not None
    assert "model.name" in other.changes


def test_the_closed_division_refuses_what_is_not_the_cards() -> None:
    with pytest.raises(ConfigError, match="seed is not as the card says"):
        tiny().config("lie", "none", 9)
    with pytest.raises(ConfigError, match="knowledge is not as the card says"):
        tiny(knowledge="model").config("lie", "none", 0)
    assert tiny(knowledge="model").config("adaptive(lie)", "none", 0).card.changes == ()  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="no degree 'b': known: a"):
        tiny(degrees={"a": {}}).config("lie", "none", 0, "b")
    with pytest.raises(ConfigError, match="unknown attack 'lei': did you mean 'lie'"):
        tiny().config("lei", "none", 0)


def test_degrees_change_sections_and_telling_reaches_the_federation() -> None:
    game = tiny(degrees={"few": {"federation": {"cohort": 6}}, "many": {}}, told=True)
    assert [game.config("none", "none", 0, d).federation.cohort for d in ("few", "many")] == [6, 12]
    assert game.config("none", "none", 0).card.degree == "few"  # type: ignore[union-attr]
    assert game.config("none", "none", 0).federation.tell_defense


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": None}, "needs `id`"),
        ({"dataset": None}, "needs `dataset`"),
        ({"atacks": []}, "did you mean 'attacks'"),
        ({"attacks": "lie"}, "`attacks` must be a list"),
        ({"seeds": []}, "at least one degree and one seed"),
        ({"knowledge": "modle"}, "did you mean 'model'"),
        ({"bands": {"x": [0, 1]}}, "no degree 'x'"),
        ({"model": {"name": "fm"}}, "unknown model 'fm'"),
        ({"degrees": {"a": {"modle": {}}}}, "'modle' cannot be changed"),
        ({"base": "rec-untargetd-v1"}, "did you mean 'rec-untargeted-v1'"),
        ({"attacks": ["none", {"z": 1}]}, "attack must be a name or a mapping with a `name`, got {'z': 1}"),
        ({"defenses": [{"name": 5}]}, "defense must be a name or a mapping with a `name`, got {'name': 5}"),
        ({"id": "../../evil"}, "id '../../evil' is the name of a folder too"),
        ({"id": ""}, "id '' is the name of a folder too"),
        ({"id": "x" * 101}, "write at most 100 letters"),
        ({"metric": "HR@7"}, "metric 'HR@7' is never reported by model 'mf'; choose one of HR@5, NDCG@5, HR@10"),
        ({"metric": "ASR"}, "metric 'ASR' is never reported by model 'mf'"),
        (
            {"degrees": {"a": {}, "b": {"federation": {"cutoffs": [10]}}}},
            "metric 'HR@5' is never reported by model 'mf'; choose one of HR@10, NDCG@10 at degree b",
        ),
        (
            {"dataset": "digits", "model": "mlp", "federation": {"rounds": 1}, "server": {}},
            "metric 'HR@5' is never reported by model 'mlp'; choose one of TACC, ASR",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_card_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    values = {k: v for k, v in {**TINY, **fields}.items() if v is not None}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert message in str(caught.value)


def test_a_model_of_another_package_may_report_what_it_likes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Theirs(MFConfig):
        name: ClassVar[str] = "theirs"

    monkeypatch.setattr(registry, "_extra", {("models", "theirs"): Theirs})
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**TINY, "model": {"name": "theirs", "dim": 8}, "metric": "MRR"}), "utf-8")
    assert load(path).metric == "MRR"


@pytest.mark.parametrize(
    ("base", "said"), [("a.yaml", "builds on itself"), ("b.yaml", "builds on itself"), (5, "`base` must be the name")]
)
def test_a_base_is_another_card(base: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"id": "a", "base": base}), encoding="utf-8")
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({"id": "b", "base": "a.yaml"}), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load(str(tmp_path / "a.yaml"))


def test_paths_in_a_card_are_those_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "elsewhere").mkdir()
    # The fields of a file differ from those of a generated data set.
    values = {**TINY, "dataset": {"path": "a.tsv"}, "degrees": {"a": {}, "b": {"dataset": {"path": "../b.tsv"}}}}
    (tmp_path / "cards" / "mine.yaml").write_text(yaml.safe_dump(values), "utf-8")
    (tmp_path / "cards" / "more.yaml").write_text("{id: more-v1, base: mine.yaml}", "utf-8")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("mine", "more"):
        card = load(str(tmp_path / "cards" / f"{name}.yaml"))
        paths = [card.config("none", "none", 0, degree=degree).dataset.path for degree in ("a", "b")]
        assert paths == [str(tmp_path / "cards" / "a.tsv"), str(tmp_path / "b.tsv")]


def test_files_of_cards(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY), "utf-8")
    (tmp_path / "more.yaml").write_text("{id: more-v1, base: mine.yaml, federation: {rounds: 5}}", "utf-8")
    assert load(path) == tiny()
    more = load(tmp_path / "more.yaml").config("lie", "none", 0)
    assert (more.federation.rounds, more.federation.cohort) == (5, 12)
    with pytest.raises(ConfigError, match="cannot read card"):
        load(tmp_path / "none.yaml")
    path.write_text("id: [", "utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(path)
    path.write_text("just words", "utf-8")
    with pytest.raises(ConfigError, match="is not a card"):
        load(path)
    with pytest.raises(ConfigError, match="did you mean 'rec-untargeted-v1'"):
        load("rec-untargeted-1")


PLAYERS = [("none", "none"), ("lie", "multikrum"), ("labelflip", "median"), ("adaptive(fang)", "normbound")]


def start(game: Card, attack: str, defense: str, seed: int) -> dict[str, Any]:
    """Return all that seeds are to pair, as arrays."""
    federation, _ = assemble(game.config(attack, defense, seed))
    learner: Any = federation.learner
    data = learner.dataset
    held = data.partition.index if hasattr(data, "partition") else data.train.items
    return {
        "data": held,
        "coalition": federation.coalition,
        "scored": federation.scored,
        "cohorts": np.stack([federation.cohort(r) for r in range(1, 21)]),
        **{name: np.asarray(value) for name, value in federation.model.snapshot().items()},
    }


@pytest.mark.parametrize("kind", ["recommender", "images"])
def test_a_seed_pairs_everything_but_attack_and_defense(kind: str) -> None:
    images = {
        "dataset": {"name": "digits", "clients": 10, "partition": "dirichlet", "beta": 0.5},
        "model": {"name": "mlp"},
        "server": {},
        "federation": {"rounds": 3, "malicious": 0.3, "cohort": 5},
    }
    game = tiny(**(images if kind == "images" else {}))
    first = start(game, *PLAYERS[0], 0)
    assert len(first) > 4
    for attack, defense in PLAYERS[1:]:
        for name, value in start(game, attack, defense, 0).items():
            np.testing.assert_array_equal(value, first[name], err_msg=f"{name} under {attack} and {defense}")
    other = start(game, *PLAYERS[0], 1)
    paired = ("coalition", "cohorts", *(["data"] if kind == "images" else []))
    assert not any(np.array_equal(other[name], first[name]) for name in paired)
