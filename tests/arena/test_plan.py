"""Grids: what a file and a command line mean, where runs go, and the command that repeats one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsiege.arena.plan import Plan, entrants, parse, read, text
from fedsiege.defenses.krum import Krum
from fedsiege.errors import ConfigError
from tests.arena.games import TINY, tiny


def test_a_grid_is_every_attack_against_every_defense_with_every_seed() -> None:
    game = tiny(degrees={"few": {"federation": {"cohort": 6}}, "many": {}})
    cells = Plan(game, ("none", {"name": "lie", "z": 0.3}), ("multikrum",), (1, 0)).cells(Path("r"))
    assert [c.label for c in cells] == [
        f"{degree}/{attack}/multikrum/seed{seed}"
        for seed in (1, 0) for degree in ("few", "many") for attack in ("none", "lie (z=0.3)")
    ]  # fmt: skip
    last = cells[-1]
    folder = f"r/tiny-v1-{game.hash[:6]}/many/lie(z=0.3)/multikrum/seed0-{last.config.hash}"
    assert last.path == Path(folder)
    assert {c.config.card.division for c in cells} == {"closed"}  # type: ignore[union-attr]
    assert Plan(tiny()).cells(Path("r"))[0].path.parts[2] == "all"


def test_controls_are_played_against_fedavg_alone() -> None:
    attacks = ("none", {"name": "lie", "z": 0.3}, "gaussian", "adaptive(fang)", "noise(fang)")
    cells = Plan(tiny(), attacks, ("multikrum",), (0,), noise=True).cells(Path("r"))
    labels = [c.label for c in cells]
    assert labels[:5] == [f"{a}/multikrum/seed0" for a in (
        "none", "lie (z=0.3)", "gaussian", "adaptive(fang)", "noise(fang)")]  # fmt: skip
    assert labels[5:] == ["noise(lie) (z=0.3)/none/seed0", "noise(adaptive(fang))/none/seed0"]
    assert {c.config.card.division for c in cells} == {"closed"}  # type: ignore[union-attr]
    words = shlex.split(cells[5].command or "")
    spec = entrants([words[words.index("--attacks") + 1]], "attacks")
    assert Plan(tiny(), spec, ("none",), (0,)).cells(Path("r"))[0].path == cells[5].path
    assert parse({"card": "demo-v1", "noise": True}).noise
    with pytest.raises(ConfigError, match="`noise` of a grid must be true or false"):
        parse({"card": "demo-v1", "noise": "yes"})


def test_the_same_cell_stands_once() -> None:
    cells = Plan(tiny(), ("lie", {"name": "lie"}, "lie"), ("none",), (0, 0)).cells(Path("r"))
    assert len(cells) == 1


def test_a_mistake_anywhere_is_found_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="needs"):
        Plan(tiny(), ("none", "scaling")).cells(Path("r"))


def test_a_name_means_the_entrant_of_the_card() -> None:
    krum, other = {"name": "krum", "byzantine": 2}, {"name": "krum", "byzantine": 3}
    game = tiny(defenses=["none", krum, other, {"name": "normbound", "bound": 0.5}])

    def asked(*defenses: Any) -> list[Any]:
        return [cell.config.defense for cell in Plan(game, ("none",), defenses, (0,)).cells(Path("r"))]

    assert [(d.name, d.bound) for d in asked("normbound")] == [("normbound", 0.5)]
    assert [d.byzantine for d in asked("krum")] == [2, 3]
    assert [d.byzantine for d in asked({"name": "krum"})] == [Krum().byzantine]
    assert asked("median") == asked({"name": "median"})
    # What a cell prints as its command means the same cell, defaults included.
    for spec in (krum, {"name": "krum"}, {"name": "krum", "byzantine": 4}):
        (cell,) = Plan(game, ("none",), (spec,), (0,)).cells(Path("r"))
        words = shlex.split(cell.command or "")
        again = entrants([words[words.index("--defenses") + 1]], "defenses")
        assert Plan(game, ("none",), again, (0,)).cells(Path("r"))[0].path == cell.path


def test_the_command_of_a_cell_makes_the_same_cell() -> None:
    from fedsiege.cli.arena import Arena

    plan = parse(
        {
            "card": "rec-untargeted-v1-lite",
            "attacks": [{"name": "lie", "z": 0.3}],
            "defenses": [{"name": "union+multikrum", "union": {"alpha": 0.5}}],
            "seeds": [3],
            "override": {"federation": {"rounds": 4}, "model": {"user_lr": 0.5}},
        }
    )
    (cell,) = plan.cells(Path("r"))
    assert cell.command is not None
    program, command, *words = shlex.split(cell.command)
    assert (program, command) == ("fedsiege", "arena")
    import tyro

    from fedsiege.cli.arguments import CONFIG

    again = tyro.cli(Arena, args=words, config=CONFIG)
    assert again.out == Path("again")
    (same,) = again.plan().cells(again.out)
    assert same.config == cell.config
    assert same.config.card is not None
    assert same.config.card.changes == ("model.user_lr", "federation.rounds")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY), "utf-8")
    path = tmp_path / "grid.yaml"
    path.write_text("{card: mine.yaml, attacks: [lie], seeds: [0], override: {federation: {rounds: 5}}}", "utf-8")
    found = read(path)
    assert (found.card, found.attacks, found.seeds) == (tiny(), ("lie",), (0,))
    assert {c.config.federation.rounds for c in found.cells(tmp_path)} == {5}
    assert found.source == str(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match="cannot read grid"):
        read(tmp_path / "other.yaml")
    path.write_text("card: [", "utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "a grid is a mapping with a `card`"),
        ({"attacks": ["lie"]}, "a grid is a mapping with a `card`"),
        ({"card": "demo-v1", "atacks": []}, "did you mean 'attacks'"),
        ({"card": "demo-v1", "attacks": "lie"}, "`attacks` of a grid must be a list"),
        ({"card": "demo-v1", "seeds": [True]}, "must be integers"),
        ({"card": "demo-v1", "override": [1]}, "must be a mapping of sections"),
        ({"card": "demo-v2"}, "did you mean 'demo-v1'"),
        ({"card": "demo-v1", "attacks": [5]}, "attack must be a name or a mapping with a `name`, got 5"),
        ({"card": "demo-v1", "defenses": [{"z": 1}]}, "defense must be a name or a mapping with a `name`"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_grid_is_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(values)
    assert message in str(caught.value)


def test_entrants_are_written_and_read_back() -> None:
    spec = {"name": "adaptive(lie)", "steps": 3, "lie": {"z": 0.3}}
    assert entrants([text(spec), "union+multikrum", "adaptive(lie)"], "attacks") == (
        spec,
        "union+multikrum",
        "adaptive(lie)",
    )
    with pytest.raises(ConfigError, match="--attacks"):
        entrants(["{name"], "attacks")


def test_a_plain_entrant_beside_others_of_its_name_is_repeated_alone() -> None:
    game = tiny(defenses=["krum", {"name": "krum", "byzantine": 3}], attacks=["lie"])
    for cell in Plan(game, seeds=(0,)).cells(Path("r")):
        words = shlex.split(cell.command or "")
        spec = entrants([words[words.index("--defenses") + 1]], "defenses")
        assert [c.path for c in Plan(game, ("lie",), spec, (0,)).cells(Path("r"))] == [cell.path]
