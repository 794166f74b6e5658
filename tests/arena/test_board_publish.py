"""Published leaderboards: what is written comes back, grows, and is all that the page needs."""

from __future__ import annotations

import json
import math
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest
import tyro

from fedsiege.arena import board_publish
from fedsiege.arena.board_command import command
from fedsiege.arena.board_publish import from_json, publish, render, to_json
from fedsiege.arena.card_file import load, parse
from fedsiege.arena.card_store import keep
from fedsiege.arena.names import label
from fedsiege.arena.record import Record
from fedsiege.cli.arena import Arena
from fedsiege.cli.arguments import CONFIG
from fedsiege.errors import RunError
from tests.arena.games import TINY
from tests.arena.records import record, toy

BOARDS = Path(__file__).parents[2] / "docs" / "boards"


def same(a: Record, b: Record) -> bool:
    """Equality that takes NaN for itself."""
    return all(repr(getattr(a, f.name)) == repr(getattr(b, f.name)) for f in fields(Record))


class FakeStore:
    """Gives the records of a test for those of a folder."""

    held: list[Record]

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> FakeStore:
        return self

    def __exit__(self, *_: object) -> None: ...

    def records(self, card: str) -> list[Record]:
        return [r for r in self.held if r.card == card]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> type[FakeStore]:
    monkeypatch.setattr(board_publish, "Store", FakeStore)
    FakeStore.held = []
    return FakeStore


def hashed(records: list[Record]) -> list[Record]:
    return [replace(r, config_hash=f"{r.attack}-{r.defense}-{r.seed}") for r in records]


def test_records_come_back() -> None:
    odd = record(
        "lie", "krum", 3, 0.25, tail=(0.1, math.nan), detection={"FPR": math.nan, "DACC": 0.5}, changes=("a.b", "c"),
        versions={"torch": "2"}, hardware="one", told=3, peak_bytes=7.0, warnings=("w",), attack_label="lie (z=0.3)",
    )  # fmt: skip
    data = json.loads(json.dumps(to_json("toy-v1", [odd, *toy()]), allow_nan=False))
    found = from_json(data)
    assert len(found) == len(toy()) + 1
    assert sum(same(odd, r) for r in found) == 1
    assert all(any(same(r, f) for f in found) for r in toy())
    assert len(data["origins"]) == 2


def test_the_order_of_runs_does_not_matter() -> None:
    assert to_json("toy-v1", toy()) == to_json("toy-v1", toy()[::-1])


def test_a_board_grows(store: type[FakeStore], tmp_path: Path) -> None:
    every = hashed(toy())
    store.held = every[:20]
    publish("toy-v1", tmp_path, tmp_path / "boards")
    store.held = [replace(every[0], value=0.123), *every[20:]]
    written = publish("toy-v1", tmp_path, tmp_path / "boards")
    assert [path.name for path in written] == ["toy-v1.json", "toy-v1.md"]
    data = json.loads(written[0].read_text("utf-8"))
    found = {r.config_hash: r for r in from_json(data)}
    assert found.keys() == {r.config_hash for r in every}
    assert found[every[0].config_hash].value == 0.123
    page = written[1].read_text("utf-8")
    assert page == render(data)
    assert f"{len(every)} runs" in page
    assert "JSON holds the command of each run" in page
    assert "$ fedsiege" not in page


def test_of_two_folders_with_one_configuration_the_first_is_published(store: type[FakeStore], tmp_path: Path) -> None:
    (one, *rest) = hashed(toy())
    store.held = [replace(one, path="a", value=0.1), replace(one, path="b", value=0.2), *rest]
    (written, _) = publish("toy-v1", tmp_path, tmp_path / "boards")
    (found,) = [r for r in from_json(json.loads(written.read_text("utf-8"))) if r.config_hash == one.config_hash]
    assert found.value == 0.1


def carded(id_: str = "img-untargeted-v1-lite") -> list[Record]:
    """Runs of a card that comes with FedSiege: two entrants, one of which has settings of its own there."""
    card = load(id_)
    found = []
    for degree in list(card.degrees)[:2]:
        for called, defense in (("multikrum (byzantine=0.4)", "multikrum"), ("none", "none")):
            more = {"card": id_, "card_hash": card.hash, "degree": degree, "defense_label": called, "metric": "TACC"}
            found += [record(attack, defense, seed, 0.5, **more) for attack in ("none", "lie") for seed in (0, 3)]
    return found


def played(line: str) -> set[tuple[str, ...]]:
    """The cells that a printed command stands for, by degree, labels, seed and division."""
    words = shlex.split(line)
    assert words[:2] == ["fedsiege", "arena"]
    plan = tyro.cli(Arena, args=words[2:], config=CONFIG).plan()
    return {
        (c.card.degree, label("attacks", v["attack"]), label("defenses", v["defense"]), str(c.seed), c.card.division)
        for c in (cell.config for cell in plan.cells(Path("r")))
        for v in [c.to_dict()]
    }


def commands(page: str) -> list[str]:
    return [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ ")]


def test_the_command_of_a_page_plays_exactly_the_runs_of_the_cards_entrants() -> None:
    own = carded()
    page = render(to_json("img-untargeted-v1-lite", own))
    (line,) = commands(page)
    assert played(line) == {(r.degree, r.attack_label, r.defense_label, str(r.seed), r.division) for r in own}
    assert "--degrees beta0.1 beta0.5" in line
    assert "JSON holds the command of each." not in page


def test_runs_of_other_settings_and_of_the_open_division_are_not_in_the_command_of_a_page() -> None:
    own = carded()
    others = [
        replace(own[0], defense="krum", defense_label="krum (byzantine=7)"),
        replace(own[0], attack="lie", attack_label="lie (z=0.3)"),
        replace(own[0], division="open", changes=("federation.rounds",)),
        replace(own[0], seed=77, division="open", changes=("seed",)),
        replace(own[0], card_hash="of another version"),
    ]
    mine, mixed, none = (render(to_json("img-untargeted-v1-lite", runs)) for runs in (own, own + others, others))
    assert commands(mixed) == commands(mine)
    assert "5 of 21 runs are not of the card's entrants" in mixed
    assert commands(none) == []
    assert "5 of 5 runs are not" in none


def test_one_of_two_entrants_of_a_name_is_written_out() -> None:
    card = parse({**TINY, "defenses": ["krum", {"name": "krum", "byzantine": 3}, "none"]}, "tiny")
    more = {"card": card.id, "card_hash": card.hash}
    runs = [record("lie", "krum", 0, 0.5, defense_label="krum", **more)]
    line, count = command(card, runs)
    assert (shlex.split(line)[-3:], count) == (["{name: krum}", "--seeds", "0"], 1)
    line, count = command(card, [*runs, replace(runs[0], defense_label="krum (byzantine=3)")])
    assert (shlex.split(line)[-3:], count) == (["krum", "--seeds", "0"], 2)


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        (["Some CPU, 1 thread", "Another, 1 thread"], "--threads 1"),
        (["A CPU, 16 threads, NVIDIA H200"] * 2, "--threads 16"),
        (["Some CPU, 1 thread", "Some CPU, 2 threads"], ""),
        (["Some CPU, 1 thread", "Some CPU"], ""),
        (["Some CPU", ""], ""),
    ],
)
def test_threads_are_named_where_all_runs_had_as_many(hardware: list[str], said: str) -> None:
    card = parse({**TINY, "defenses": ["none"]}, "tiny")
    more = {"card": card.id, "card_hash": card.hash}
    runs = [record("lie", "none", seed, 0.5, hardware=text, **more) for seed, text in enumerate(hardware)]
    line, _ = command(card, runs)
    assert line.endswith(f"--seeds 0 1{' ' * bool(said)}{said}")


def test_a_card_of_ones_own_is_published_with_its_runs(store: type[FakeStore], tmp_path: Path) -> None:
    card = parse({**TINY, "metric": "HR@10", "higher_is_better": False, "bands": {"": [0.1, 0.2]}}, "tiny")
    keep(card, tmp_path)
    mine = {"card": card.id, "card_hash": card.hash}
    every = hashed([replace(r, path=f"{card.folder}/all/a/d/{r.seed}", **mine) for r in toy()])
    store.held = every[:20]
    publish(card.id, tmp_path, tmp_path / "boards")
    # Another machine adds runs and does not have the card.
    store.held = [replace(r, path=r.path.replace(card.folder, "elsewhere")) for r in every[20:]]
    written = publish(card.id, tmp_path, tmp_path / "boards")
    data = json.loads(written[0].read_text("utf-8"))
    assert list(data["cards"]) == [card.hash]
    page = written[1].read_text("utf-8")
    assert page == render(data)
    assert "lower is better for the defender" in page
    assert "outside the card's reference band 0.1000 to 0.2000" in page
    assert "higher is better for the defender" in render({**data, "cards": {}})


def test_nothing_to_publish_and_a_damaged_page_are_named(store: type[FakeStore], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished run of toy-v1"):
        publish("toy-v1", tmp_path, tmp_path / "boards")
    assert not (tmp_path / "boards").exists()
    store.held = hashed(toy())
    (tmp_path / "toy-v1.json").write_text("{}")
    with pytest.raises(RunError, match=r"toy-v1.json is no published leaderboard"):
        publish("toy-v1", tmp_path, tmp_path)


def test_of_two_publications_at_once_each_keeps_the_others_runs(
    store: type[FakeStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, every = board_publish.read, hashed(toy())

    def read(path: Path) -> object:
        found = whole(path)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(board_publish, "read", read)
    monkeypatch.setattr(FakeStore, "records", lambda self, card: every[:10] if self.root.name == "a" else every[10:])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda root: publish("toy-v1", tmp_path / root, tmp_path / "boards"), "ab"))
    assert len(json.loads((tmp_path / "boards" / "toy-v1.json").read_text("utf-8"))["runs"]) == len(every)
    # Nothing is left that git would show.
    assert {p.name for p in (tmp_path / "boards").iterdir()} == {"toy-v1.json", "toy-v1.md"}


@pytest.mark.parametrize("path", sorted(BOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_stored_pages_are_those_of_their_data(path: Path) -> None:
    stored, now = path.with_suffix(".md").read_text("utf-8"), render(json.loads(path.read_text("utf-8")))
    # Line by line: to compare two long pages as a whole takes minutes if they differ.
    differing = [pair for pair in zip(stored.splitlines(), now.splitlines()) if pair[0] != pair[1]]
    assert differing[:3] == []
    assert len(stored) == len(now)


def test_a_cards_defense_goes_by_the_settings_that_suit_its_model() -> None:
    card = replace(load("img-untargeted-v1-lite"), defenses=("none", "normbound"))
    named = label("defenses", card.config("lie", "normbound", 0).to_dict()["defense"])
    assert named != label("defenses", {"name": "normbound"})
    more = {"card": card.id, "card_hash": card.hash, "degree": "beta0.1", "metric": "TACC"}
    runs = [record("lie", d, s, 0.5, defense_label=d, **more) for d in ("none", named) for s in (0, 1)]
    line, count = command(card, runs)
    assert count == len(runs)
    assert "--defenses none normbound" in line
