"""``fedsiege reproduce``: verdicts with exit statuses, and the state of every table; ``list`` names the wrapper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsiege import registry
from fedsiege.arena import bands, grid
from fedsiege.arena.bands import Band
from fedsiege.arena.grid import Cell, Outcome
from fedsiege.defenses import Filter
from tests.arena.test_reproduce import fake

CLEAN, LIE = "mf/ml-1m/none/none/m0.01", "mf/ml-1m/lie/none/m0.01"
WORDS = ["reproduce", "aaai23-table4", "--seeds", "0", "--cells", "mf/ml-1m/none/*", LIE]


@pytest.fixture(autouse=True)
def _bands(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {f"aaai23/{cell}": {6000: {"HR@5": Band(0.04, 0.001, 0.0004, 3)}} for cell in (CLEAN, LIE)}
    monkeypatch.setattr(bands, "stored", lambda paper: made if paper == "aaai23" else {})


def ends_with(monkeypatch: pytest.MonkeyPatch, clean: float, lie: float) -> None:
    """Let the grid finish both cells with these values, unless they are finished."""

    def run(cells: list[Cell], *_: object, **__: object) -> list[Outcome]:
        fake([c for c in cells if not c.path.exists()], {("none", 0): clean, ("lie", 0): lie})
        return [Outcome(c, {}) for c in cells]

    monkeypatch.setattr(grid, "run_cells", run)


@pytest.mark.parametrize(
    ("lie", "status", "words"),
    [
        (0.041, 0, "verdict: 2 inside"),
        (0.05, 1, "verdict: 1 outside, 1 inside"),
        (0.02, 1, "verdict: 1 outside, 1 inside"),
    ],
)
def test_the_exit_status_is_the_verdict(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch, lie: float, status: int, words: str
) -> None:
    ends_with(monkeypatch, 0.04, lie)
    said = fedsiege(*WORDS)
    assert said.status == status, said.err
    assert words in said.out
    by = lie - (0.04 + (0.003464 if lie > 0.04 else -0.003464))
    assert (f"outside by {by:+.2g} ({100 * by / 0.04:+.1f} %)" in said.out) == (status == 1)
    found = json.loads(fedsiege(*WORDS, "--json").out)["verdict"]
    assert found["holds"] == (status == 0)
    (check,) = (c for c in found["checks"] if c["cell"] == LIE)
    assert check["paper"] == 0.03259
    assert check["difference"] == pytest.approx(lie - 0.03259)
    assert check["outside by"] == pytest.approx(by if status else 0.0, abs=1e-6)


def test_nothing_finished_is_no_success(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "run_cells", lambda cells, *_, **__: [Outcome(c, None, "why") for c in cells])
    said = fedsiege(*WORDS)
    assert (said.status, "verdict: nothing finished" in said.out) == (1, True)


def test_without_any_band_nothing_is_compared_which_is_no_success(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "stored", lambda paper: {})
    ends_with(monkeypatch, 0.04, 0.9)
    said = fedsiege(*WORDS)
    assert (said.status, "verdict: nothing to compare with: 2 without a band" in said.out) == (1, True)
    found = json.loads(fedsiege(*WORDS, "--json").out)["verdict"]
    assert (found["cells"], found["compared"], found["holds"]) == (2, 0, False)
    listed = {t["id"]: t for t in json.loads(fedsiege("reproduce", "--list", "--json").out)}["aaai23-table4"]
    assert (listed["cells"], listed["compared"], listed["holds"]) == (2, 0, None)


def test_a_cell_without_a_band_beside_one_inside_is_no_failure(
    fedsiege: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {f"aaai23/{CLEAN}": {6000: {"HR@5": Band(0.04, 0.001, 0.0004, 3)}}}
    monkeypatch.setattr(bands, "stored", lambda paper: made)
    ends_with(monkeypatch, 0.04, 0.9)
    said = fedsiege(*WORDS)
    assert (said.status, "verdict: 1 inside, 1 without a band" in said.out) == (0, True)


def test_the_exit_status_is_in_the_help(fedsiege: Callable) -> None:
    said = " ".join(fedsiege("reproduce", "--help").out.replace("│", " ").split())
    assert "exit status is 0 if at least one cell has a band" in said
    assert "nothing to compare with" in said


def test_the_list_shows_the_state_of_everything(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def state(id_: str, *more: object) -> dict:
        return {t["id"]: t for t in json.loads(fedsiege("reproduce", "--list", "--json", *more).out)}[id_]

    before = state("aaai23-table4")
    assert (before["finished"], before["published"], before["holds"]) == (0, 0, None)
    ends_with(monkeypatch, 0.04, 0.05)
    assert fedsiege(*WORDS).status == 1
    after = state("aaai23-table4")
    # Without docs/results, what --out holds of published tables counts.
    assert (after["runs"], after["finished"], after["published"]) == (45, 2, 2)
    assert (after["cells"], after["inside"], after["outside"], after["holds"]) == (2, 1, 1, False)
    # Table 1 shares both cells; its own table is not published.
    assert (state("aaai23-table1")["finished"], state("aaai23-table1")["published"]) == (2, 0)
    elsewhere = state("aaai23-table4", "--publish", "nowhere")
    assert (elsewhere["finished"], elsewhere["published"]) == (2, 0)
    shown = fedsiege("reproduce", "--list").out
    line = next(line for line in shown.splitlines() if "aaai23-table4" in line)
    assert "2 of 45" in line
    assert "1 outside, 1 inside" in line
    assert "icml24-table1 --lite" in shown
    Path("docs/results").mkdir(parents=True)
    assert state("aaai23-table4")["published"] == 0


def test_a_damaged_published_table_is_one_line(fedsiege: Callable) -> None:
    Path("docs/results").mkdir(parents=True)
    Path("docs/results/aaai23-table1.json").write_text("[]", "utf-8")
    said = fedsiege("reproduce", "--list")
    assert (said.status, len(said.err.splitlines())) == (2, 1)
    assert "aaai23-table1.json is not a published table" in said.err


def test_a_list_for_one_model_says_what_does_not_go_with_it_and_why(fedsiege: Callable) -> None:
    found = json.loads(fedsiege("list", "--model", "mf", "--json").out)
    assert list(found) == ["attacks", "defenses"]
    refused = {row["name"]: row["refused"] for rows in found.values() for row in rows if row["refused"]}
    assert refused == {
        **dict.fromkeys(
            ("scaling", "dba", "targeted-labelflip", "adaptive-targeted-labelflip"), "labelled training samples"
        ),
        "flcert": "predictions of several models that can be outvoted",
        "fltrust": "clean training data on the server",
    }
    pictures = json.loads(fedsiege("list", "attacks", "--model", "convnet", "--json").out)["attacks"]
    assert {row["name"] for row in pictures if row["refused"]} == {"clusterattack", "clusterattack+cl", "fedattack"}
    assert "no: needs" in " ".join(fedsiege("list", "defenses", "--model", "mf").out.split())
    assert "did you mean 'mf'" in fedsiege("list", "--model", "mff").err
    assert "goes with attacks and defenses" in fedsiege("list", "datasets", "--model", "mf").err


def test_a_list_says_which_defenses_are_filters(fedsiege: Callable) -> None:
    roles = {row["name"]: row["role"] for row in json.loads(fedsiege("list", "defenses", "--json").out)["defenses"]}
    for name, role in roles.items():
        cls = registry.load("defenses", name)
        assert role == ("filter" if issubclass(cls, Filter) else "rule"), name
        # Only a filter stands before a plus sign, which the configuration says too.
        said = fedsiege("list", "--defense", f"{name}+median")
        assert (said.status == 0) == (role == "filter"), said.err
    said = " ".join(fedsiege("list", "defenses").out.split())
    assert "filter / rule" in said
    assert "a rule makes the aggregate itself and can only stand last" in said


def test_a_list_for_one_defense_says_what_makes_sense_against_it_and_why(fedsiege: Callable) -> None:
    def rows(*words: str) -> dict[str, dict]:
        found = json.loads(fedsiege("list", *words, "--json").out)
        assert list(found) == ["attacks"]
        return {row["name"]: row for row in found["attacks"]}

    against = rows("--defense", "median")
    assert {name for name, row in against.items() if row["verdict"] == "doubtful"} == {
        "adaptive-labelflip", "adaptive-targeted-labelflip", "fang-krum",
    }  # fmt: skip
    assert "rejects nothing" in against["adaptive-labelflip"]["reason"]
    assert "take it against krum" in against["fang-krum"]["reason"]
    assert "with benign: false it is a fixed scaling" in against["adaptive(ATTACK)"]["reason"]
    assert set(registry.entries("attacks")) == set(against) - {"adaptive(ATTACK)", "noise(ATTACK)"}
    against = rows("attacks", "--defense", "union+multikrum")
    assert {name for name, row in against.items() if row["verdict"] == "no"} == {
        "dba", "scaling", "targeted-labelflip", "adaptive-targeted-labelflip",
    }  # fmt: skip
    assert against["dba"]["reason"] == (
        "no model offers a table of item embeddings and labelled training samples together"
    )
    assert (against["lie"]["verdict"], against["lie"]["models"]) == ("yes", ["mf", "sasrec"])
    assert against["adaptive-labelflip"]["verdict"] == against["fang-krum"]["verdict"] == "yes"
    against = rows("--defense", "fltrust", "--model", "mf")
    assert against["lie"]["reason"] == "model 'mf' does not offer clean training data on the server"
    said = " ".join(fedsiege("list", "--defense", "none").out.split())
    assert "attacks against none" in said
    assert "nobody attacks: what the defense costs" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--defense", "median+krum"], "'median' aggregates by itself and can only stand last"),
        (["--defense", "union+union-memory"], "more than one part"),
        (["--defense", "medan"], "did you mean 'median'"),
        (["models", "--defense", "median"], "--defense goes with attacks, not with models"),
        (["--defense", "median", "--model", "mff"], "did you mean 'mf'"),
    ],
)
def test_a_list_for_one_defense_refuses(fedsiege: Callable, words: list[str], message: str) -> None:
    said = fedsiege("list", *words)
    assert (said.status, len(said.err.splitlines())) == (2, 1)
    assert message in said.err


def test_a_pair_that_does_not_do_what_it_says_is_noted_at_the_start(fedsiege: Callable, config: Path) -> None:
    note = "note: adaptive-labelflip against median: it searches for how much median still accepts"
    said = fedsiege("run", config, "--set", "attack=adaptive-labelflip", "defense=median", "federation.rounds=1")
    assert (said.status, said.err.count(note)) == (0, 1)
    said = fedsiege("run", config, "--set", "attack=adaptive-labelflip", "defense=krum", "federation.rounds=1")
    assert (said.status, "note:" in said.err) == (0, False)
    grid = ["arena", "--card", "rec-untargeted-v1-lite", "--dry-run", "--defenses", "median", "krum"]
    said = fedsiege(*grid, "--attacks", "adaptive-labelflip")
    assert said.err.splitlines() == [line for line in said.err.splitlines() if note in line]
    assert len(said.err.splitlines()) == 1
    assert fedsiege(*grid, "--attacks", "lie").err == ""


def test_any_attack_may_be_wrapped(fedsiege: Callable) -> None:
    said = " ".join(fedsiege("list", "attacks").out.split())
    assert "Any attack may be wrapped, as in adaptive(minmax)" in said
    assert "adaptive(" not in fedsiege("list", "defenses").out
    json.loads(fedsiege("list", "attacks", "--json").out)
