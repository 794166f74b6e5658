"""Commands that only tell: help, list, version, data, and how errors are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import fedsiege as package
from fedsiege import registry
from fedsiege.cli import overrides
from fedsiege.errors import ConfigError
from fedsiege.redteam.choose import suited_attacks

COMMANDS = ["demo", "run", "list", "arena", "data", "reproduce", "report", "serve", "store", "export", "audit"]


def test_help_names_every_command(fedsiege: Callable) -> None:
    for said in (fedsiege("--help"), fedsiege()):
        assert said.status == 0
        for command in COMMANDS:
            assert command in said.out


@pytest.mark.parametrize("command", [[c] for c in COMMANDS] + [["data", "fetch"], ["data", "info"]], ids=" ".join)
def test_every_command_explains_itself(fedsiege: Callable, command: list[str]) -> None:
    said = fedsiege(*command, "--help")
    assert said.status == 0
    assert "usage: fedsiege " + command[0] in said.out
    assert "None" not in said.out


def test_version(fedsiege: Callable) -> None:
    assert fedsiege("--version").out.strip() == f"fedsiege {package.__version__}"


@pytest.mark.parametrize(
    "words", [["attak"], ["run"], ["run", "x.yaml", "--thread"], ["list", "colours"]], ids=" ".join
)
def test_wrong_usage_ends_with_two(fedsiege: Callable, words: list[str]) -> None:
    said = fedsiege(*words)
    assert said.status == 2
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize(
    ("kind", "known"),
    [("attacks", "clusterattack"), ("defenses", "union"), ("models", "sasrec"), ("datasets", "ml-1m")],
)
def test_list(fedsiege: Callable, kind: str, known: str) -> None:
    assert known in fedsiege("list").out
    assert known in fedsiege("list", kind).out
    found = json.loads(fedsiege("list", kind, "--json").out)
    assert list(found) == [kind]
    entry = next(e for e in found[kind] if e["name"] == known)
    assert entry["summary"]
    assert entry.get("reference") or entry.get("paper")


def test_list_tells_of_a_package_that_cannot_be_loaded(
    fedsiege: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("loud", "nowhere_at_all:Loud", "fedsiege.attacks")
    (tmp_path / "late_package.py").write_text(
        "import not_there\n\n\nclass Late:\n    name = 'late'\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    late = EntryPoint("late", "late_package:Late", "fedsiege.attacks")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point, late] if group == point.group else [])
    registry._installed.cache_clear()
    try:
        told = " ".join(fedsiege("list", "attacks").out.split())
        assert "cannot be loaded: there is no module 'nowhere_at_all'" in told
        for words in (["list", "--json"], ["list", "--model", "mf", "--json"]):
            rows = {row["name"]: row for row in json.loads(fedsiege(*words).out)["attacks"]}
            assert rows["loud"]["error"].startswith("there is no module 'nowhere_at_all'")
            assert (rows["loud"]["models"], rows["loud"]["needs"]) == ([], [])
            assert "error" not in rows["lie"]
        rows = {row["name"]: row for row in json.loads(fedsiege("list", "--defense", "krum", "--json").out)["attacks"]}
        assert rows["late"]["verdict"] == "no"
        assert "ModuleNotFoundError: No module named 'not_there'" in rows["late"]["reason"]
        assert "loud" not in rows
        (tmp_path / "run.yaml").write_text("dataset: synthetic\nattack: late\n", encoding="utf-8")
        said = fedsiege("run", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run"))
        assert said.status == 2
        assert "attack 'late' cannot be loaded" in " ".join(said.err.split())
        assert "Traceback" not in said.err
        assert "late" not in suited_attacks()
    finally:
        registry._installed.cache_clear()


def test_data_info(fedsiege: Callable, tmp_path: Path) -> None:
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"{u}\t{i}\t{10 * u + i}" for u in range(4) for i in range(5)]
    (tmp_path / "mine.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = json.loads(fedsiege("data", "info", "mine.inter", "--json").out)
    assert (found["users"], found["items"], found["interactions"]) == (4, 5, 20)
    said = fedsiege("data", "info", "mine.inter")
    assert "100.00 %" in said.out
    assert "20" in said.out


def test_data_errors_are_one_line(fedsiege: Callable) -> None:
    said = fedsiege("data", "info", "ml-1n")
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert "did you mean 'ml-1m'" in said.err
    assert said.err.count("\n") == 1
    assert fedsiege("data", "fetch", "nothing").status == 2


def test_fetch(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "generated" in fedsiege("data", "fetch", "synthetic").out
    monkeypatch.setattr("fedsiege.data.cache.fetch", lambda name: tmp_path / name)
    assert fedsiege("data", "fetch", "ml-1m").out.strip() == str(tmp_path / "ml-1m")


def test_report_wants_a_folder(fedsiege: Callable) -> None:
    said = fedsiege("report", "nowhere")
    assert said.status == 2
    assert "nowhere" in said.err


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("attack=lie", {"attack": "lie"}),
        ("attack.z=0.3", {"attack": {"name": "fang", "z": 0.3}}),
        ("federation.rounds=7", {"federation": {"rounds": 7, "cohort": 5}}),
        ("federation.cutoffs=[5, 10]", {"federation": {"cohort": 5, "cutoffs": [5, 10]}}),
        ("defense.union.alpha=0", {"defense": {"name": "union+krum", "union": {"alpha": 0}}}),
        ("model.dim=8", {"model": {"dim": 8}}),
        ("defense.name=a=b", {"defense": {"name": "a=b"}}),
        ("seed=", {"seed": None}),
    ],
)
def test_set_changes_one_value(assignment: str, expected: dict) -> None:
    values = {"attack": "fang", "federation": {"cohort": 5}, "defense": "union+krum", "model": None}
    changed = overrides.apply(values, [assignment])
    assert changed == {**values, **expected}
    assert values["federation"] == {"cohort": 5}


@pytest.mark.parametrize(
    "assignment", ["attack", "=1", "attack.=1", "seed.a=1", "attack=[", "federation.cohort.x=1", "attack={z: 1, z: 2}"]
)
def test_set_refuses_what_it_cannot_do(assignment: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        overrides.apply({"attack": "fang", "federation": {"cohort": 5}, "seed": 1}, [assignment])


@pytest.mark.parametrize(
    ("first", "second"), [("seed=1", "seed=2"), ("attack.z=0.3", "attack=lie"), ("attack.z=1", "attack.z=1")]
)
def test_set_refuses_to_replace_what_it_has_set(first: str, second: str) -> None:
    with pytest.raises(ConfigError, match=f"--set {second}: this replaces {first}"):
        overrides.apply({"attack": "fang"}, [first, second])


def test_set_goes_from_the_whole_to_its_fields() -> None:
    changed = overrides.apply({"attack": "fang"}, ["attack=lie", "attack.z=0.3", "attack.peek=true"])
    assert changed == {"attack": {"name": "lie", "z": 0.3, "peek": True}}
