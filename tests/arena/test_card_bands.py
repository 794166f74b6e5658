"""Reference bands of cards follow from clean runs, and belong to one game."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fedsiege.arena import card_bands, clean_bands
from fedsiege.arena.boards import boards
from fedsiege.arena.card_file import load, names
from fedsiege.errors import RunError
from tests.arena.records import FakeCard, cell, record

VALUES = (0.60, 0.62, 0.58, 0.61, 0.59)


class Degrees(FakeCard):
    degrees = ("", "far")


def clean(values: tuple[float, ...] = VALUES, **more: object) -> list:
    return [
        record("none", "none", seed, v, config_hash=f"h{seed}", commit="c", rounds=1, **more)
        for seed, v in enumerate(values)
    ]


def test_a_band_is_worked_by_hand() -> None:
    low, high = card_bands.band(VALUES)  # type: ignore[misc]
    sd = math.sqrt((0.0 + 0.02**2 + 0.02**2 + 0.01**2 + 0.01**2) / 4)
    assert low == pytest.approx(0.6 - 3 * sd * math.sqrt(1.2))
    assert high == pytest.approx(0.6 + 3 * sd * math.sqrt(1.2))
    assert card_bands.band(VALUES[:2]) is None


def test_only_clean_closed_runs_of_the_card_count() -> None:
    others = [
        record("fang", "none", 0, 0.1),
        record("none", "median", 0, 0.2),
        *clean(division="open"),
        *clean(card_hash="another"),
    ]
    made = card_bands.derive([*others, *clean()], [Degrees()])  # type: ignore[list-item]
    assert list(made) == ["toy-v1"]
    entry = made["toy-v1"]["degrees"]
    assert list(entry) == [""]
    assert entry[""]["values"] == dict(enumerate(VALUES))
    assert entry[""]["runs"] == [f"h{i}" for i in range(5)]
    assert (entry[""]["low"], entry[""]["high"]) == pytest.approx(card_bands.band(VALUES))
    assert card_bands.derive(others, [Degrees()]) == {}  # type: ignore[list-item]


def test_a_broken_clean_run_makes_no_band() -> None:
    with pytest.raises(RunError, match="no band"):
        card_bands.derive(clean((0.6, 0.6, math.nan)), [Degrees()])  # type: ignore[list-item]


def test_a_band_goes_with_its_game(monkeypatch: pytest.MonkeyPatch) -> None:
    card = load(names()[0])
    entry = {"hash": card.hash, "degrees": {next(iter(card.degrees)): {"low": 0.1, "high": 0.2}}}
    monkeypatch.setattr(clean_bands, "stored", lambda: {card.id: entry})
    assert clean_bands.of(card) == {next(iter(card.degrees)): (0.1, 0.2)}
    monkeypatch.setattr(clean_bands, "stored", lambda: {card.id: {**entry, "hash": "other"}})
    assert clean_bands.of(card) == {}


def test_stored_bands_follow_from_the_values_beside_them() -> None:
    assert card_bands.stored()
    for name, entry in card_bands.stored().items():
        card = load(name)
        assert entry["hash"] == card.hash, f"the game of {name} has changed: give it a new version"
        for degree, made in entry["degrees"].items():
            assert card.bands[degree] == (made["low"], made["high"])
            assert (made["low"], made["high"]) == pytest.approx(card_bands.band(made["values"].values()), rel=1e-4)


def test_every_lite_card_has_a_band_at_each_degree_from_all_its_seeds() -> None:
    small = [name for name in names() if name.endswith("-lite")]
    assert len(small) >= 7
    for name in small:
        card, degrees = load(name), card_bands.stored()[name]["degrees"]
        assert set(degrees) == set(card.degrees)
        assert all(set(made["values"]) == set(card.seeds) for made in degrees.values())


BOARD = Path(__file__).parents[2] / "docs" / "boards" / "img-untargeted-v1-lite.json"


def test_a_shipped_band_at_each_degree_is_that_of_the_published_clean_runs() -> None:
    card = load("img-untargeted-v1-lite")
    assert set(card.bands) == set(card.degrees) == {"beta0.1", "beta0.5", "beta1"}
    runs = json.loads(BOARD.read_text(encoding="utf-8"))["runs"]
    for degree, ends in card.bands.items():
        mine = {
            r.get("seed", 0): r["value"]
            for r in runs
            if (r["attack"], r["defense"], r["degree"], r["card_hash"]) == ("none", "none", degree, card.hash)
        }
        values = np.array([mine[seed] for seed in card.seeds])
        half = 3 * values.std(ddof=1) * math.sqrt(1 + 1 / 5)
        assert ends == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-5)
        assert ends[0] < values.min() < values.max() < ends[1]


def test_a_shipped_band_raises_the_flag() -> None:
    card = load("img-untargeted-v1-lite")
    mine = {"card": card.id, "card_hash": card.hash, "degree": "beta1", "metric": "TACC", "scores": {}}
    (board,) = boards(cell("none", "none", [0.93, 0.94, 0.80], **mine))
    assert [flag.code for flag in board.flags] == ["band"]
    assert "seed 2: 0.8000" in board.flags[0].message
    assert "seed 1" not in board.flags[0].message


def test_bands_do_not_enter_the_hash_of_their_card() -> None:
    for name in card_bands.stored():
        card = load(name)
        assert card.bands
        assert replace(card, bands={}).hash == card.hash


def test_published_boards_are_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_bands, "stored", dict)
    made = yaml.safe_load(card_bands.write(BOARD, folder=tmp_path).read_text(encoding="utf-8"))["cards"]
    assert list(made) == ["img-untargeted-v1-lite"]
    assert {d: (e["low"], e["high"]) for d, e in made["img-untargeted-v1-lite"]["degrees"].items()} == load(
        "img-untargeted-v1-lite"
    ).bands
    with pytest.raises(RunError, match="does not exist"):
        card_bands.write(tmp_path / "none.json", folder=tmp_path)


def test_the_file_is_written_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsiege.arena.card_file.names", lambda: ["demo-v1"])
    card = load("demo-v1")
    runs = clean(card_hash=card.hash, degree=next(iter(card.degrees)))

    class Stored:
        def __init__(self, root: Path) -> None: ...
        def __enter__(self) -> Stored:
            return self

        def __exit__(self, *_: object) -> None: ...
        def records(self) -> list:
            return runs

    monkeypatch.setattr("fedsiege.arena.store.Store", Stored)
    monkeypatch.setattr(card_bands, "stored", dict)
    path = card_bands.write(tmp_path, folder=tmp_path)
    made = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert made["rule"] == card_bands.RULE
    assert made["cards"]["demo-v1"]["degrees"][next(iter(card.degrees))]["values"] == dict(enumerate(VALUES))
