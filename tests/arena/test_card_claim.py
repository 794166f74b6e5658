"""A run that names a card is held to it, whatever its configuration says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fedsiege.arena.card_claim import judged
from fedsiege.arena.card_file import load
from fedsiege.arena.card_ref import CardRef
from fedsiege.arena.card_store import keep
from fedsiege.arena.config import parse, read
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.runs import execute
from tests.arena.games import tiny
from tests.cli.conftest import fedsiege as fedsiege


def test_what_was_changed_of_a_shipped_card_is_found(tmp_path: Path) -> None:
    card = load("demo-v1")
    config = card.config("none", "median", 0)
    assert judged(config, tmp_path) == config
    bent = parse({**config.to_dict(), "federation": {**config.to_dict()["federation"], "rounds": 3, "malicious": 0.0}})
    assert bent.card == config.card
    assert judged(bent, tmp_path).card == CardRef(
        card.id,
        card.hash,
        config.card.degree,
        "open",
        ("federation.rounds", "federation.malicious"),  # type: ignore[union-attr]
    )
    seeded = replace(config, seed=999)
    assert judged(seeded, tmp_path).card.changes == ("seed",)  # type: ignore[union-attr]


def test_a_card_of_ones_own_is_found_above_the_run(tmp_path: Path) -> None:
    card = tiny(metric="HR@10")
    keep(card, tmp_path)
    run = tmp_path / card.folder / "all" / "none" / "median" / "seed0-abc"
    config = card.config("none", "median", 0)
    bent = replace(config, federation=replace(config.federation, rounds=3))
    assert judged(bent, run).card.changes == ("federation.rounds",)  # type: ignore[union-attr]
    # Elsewhere nobody can tell: what a run says stands, but not if it is known to have been changed.
    assert judged(bent, tmp_path / "elsewhere" / "run") == bent
    assert judged(bent, tmp_path / "elsewhere" / "run", altered=True).card is None
    assert judged(bent, run, altered=True).card == judged(bent, run).card


def test_a_run_stores_what_it_changed(tmp_path: Path) -> None:
    card = tiny()
    keep(card, tmp_path)
    config = card.config("none", "none", 0)
    bent = replace(config, federation=replace(config.federation, rounds=2))
    path = tmp_path / card.folder / "all" / "none" / "none" / "bent"
    execute(bent, path, threads=1)
    for found in (parse(RunFolder(path).read_config()).card.to_dict(), RunFolder(path).read_result()["card"]):  # type: ignore[union-attr]
        assert found["division"] == "open"
        assert found["changes"] == ["federation.rounds"]


def test_a_stored_configuration_with_set_is_an_open_entry(fedsiege: Callable) -> None:
    config = load("demo-v1").config("none", "none", 0)
    Path("stored.yaml").write_text(yaml.safe_dump(config.to_dict()), "utf-8")
    short = ["--set", "federation.rounds=1"]
    assert fedsiege("run", "stored.yaml", "--out", "a", *short).status == 0
    assert read(Path("a/config.yaml")).card == replace(config.card, division="open", changes=("federation.rounds",))  # type: ignore[type-var]
    lost = {**config.to_dict(), "card": {**config.card.to_dict(), "id": "lost-v1"}}  # type: ignore[union-attr]
    Path("lost.yaml").write_text(yaml.safe_dump(lost), "utf-8")
    said = fedsiege("run", "lost.yaml", "--out", "b", *short)
    assert said.status == 0
    assert "card lost-v1 is not at hand" in said.err
    assert read(Path("b/config.yaml")).card is None


@pytest.mark.parametrize(("cohort", "changes"), [(1.0, ()), (1, ("federation.cohort",)), (10, ("federation.cohort",))])
def test_one_client_is_not_everybody(cohort: float, changes: tuple[str, ...]) -> None:
    played = load("img-untargeted-v1-lite").play("none", "none", 0, changed={"federation": {"cohort": cohort}})
    assert played.card is not None
    assert played.card.changes == changes
