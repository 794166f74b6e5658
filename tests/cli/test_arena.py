"""``fedsiege arena``: grids from the command line, their progress and their board."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from fedsiege.arena import grid
from fedsiege.arena.grid import Event
from fedsiege.cli import board_progress
from fedsiege.cli.board_progress import BoardProgress, duration
from tests.arena.games import TINY, Here
from tests.arena.games import grid as cells_of


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Run cells in this process; returns the numbers of jobs that were asked for."""
    asked: list[int | None] = []
    whole = grid.run_cells

    def run(cells: object, jobs: int | None, tell: object, **_: object) -> object:
        asked.append(jobs)
        return whole(cells, jobs, tell, executor=Here())  # type: ignore[arg-type]

    monkeypatch.setattr(grid, "run_cells", run)
    return asked


@pytest.fixture
def card(fedsiege: Callable) -> Path:
    """A small card in the current folder."""
    path = Path("mine.yaml")
    path.write_text(yaml.safe_dump(TINY), "utf-8")
    return path


def test_cards_are_listed(fedsiege: Callable) -> None:
    said = fedsiege("arena")
    assert said.status == 0
    assert "rec-untargeted-v1-lite" in said.out
    found = json.loads(fedsiege("arena", "--json").out)
    assert {"id", "title", "about"} == set(found[0])


def test_a_card_is_played_with_its_entrants(fedsiege: Callable, card: Path, here: list[int | None]) -> None:
    said = fedsiege("arena", "--card", card, "--seeds", 0, "--out", "r", "--jobs", 2)
    assert said.status == 0, said.err
    assert here == [2]
    assert said.err.count("finished") == 4
    assert "[4/4] finished lie/multikrum/seed0  HR@5 0." in said.err
    assert "HR@5 (test, last round)" in said.out
    rows = [line.split() for line in said.out.splitlines() if line.strip().startswith(("none", "multikrum"))]
    assert [row[0] for row in rows] == ["none", "multikrum"]
    results = {p.parts[-4:-2]: json.loads(p.read_text()) for p in Path("r").rglob("result.json")}
    assert len(results) == 4
    for row in rows:
        for attack, shown in zip(("none", "lie"), row[1:]):
            assert shown == f"{results[attack, row[0]]['last']['metrics']['test']['HR@5']:.4f}"
    assert "runs: r" in said.out
    for result in results.values():
        assert result["card"]["id"] == "tiny-v1"
        assert (result["card"]["division"], result["card"]["changes"]) == ("closed", [])

    again = fedsiege("arena", "--card", card, "--seeds", 0, "--out", "r", "--dry-run")
    assert [line.split()[0] for line in again.out.splitlines()] == ["finished"] * 4


def test_a_board_is_published_and_grows(fedsiege: Callable, card: Path, here: list[int | None]) -> None:
    command = ("arena", "--card", card, "--attacks", "none", "--publish", "boards", "--out")
    said = fedsiege(*command, "one", "--seeds", 0)
    assert said.out.split()[-2:] == [str(Path("boards/tiny-v1.json")), str(Path("boards/tiny-v1.md"))]
    fedsiege(*command, "two", "--seeds", 1)
    runs = json.loads(Path("boards/tiny-v1.json").read_text("utf-8"))["runs"]
    assert sorted((run["defense"], run.get("seed", 0)) for run in runs) == [
        ("multikrum", 0), ("multikrum", 1), ("none", 0), ("none", 1),
    ]  # fmt: skip
    page = Path("boards/tiny-v1.md").read_text("utf-8")
    assert "Mean over seeds 0, 1" in page
    assert "4 runs; commits " in page


def test_an_interrupted_grid_publishes_what_is_finished(
    fedsiege: Callable, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [2]

    def run(cells: list[grid.Cell], jobs: int | None, tell: grid.Tell, **_: object) -> None:
        made, left[0] = left[0], 1
        whole(cells[:made], jobs, tell, executor=Here())  # type: ignore[arg-type]
        raise KeyboardInterrupt

    whole = grid.run_cells
    monkeypatch.setattr(grid, "run_cells", run)
    words = ["arena", "--card", card, "--publish", "boards", "--out", "r"]
    said = fedsiege(*words)
    assert said.status == 130
    assert f"resume with: fedsiege arena --card {card} --out r --publish boards" in said.err
    page = Path("boards/tiny-v1.json")
    assert len(json.loads(page.read_text("utf-8"))["runs"]) == 2
    assert said.out.split()[-2:] == [str(page), str(page.with_suffix(".md"))]
    assert fedsiege(*words, "--missing").status == 130
    assert len(json.loads(page.read_text("utf-8"))["runs"]) == 3
    left[0] = 0
    nothing = fedsiege("arena", "--card", card, "--publish", "none", "--out", "empty")
    assert (nothing.status, Path("none").exists()) == (130, False)


def test_only_what_a_published_board_lacks_is_run(fedsiege: Callable, card: Path, here: list[int | None]) -> None:
    words = ["arena", "--card", card, "--attacks", "none", "--publish", "boards"]
    fedsiege(*words, "--out", "one", "--seeds", 0)
    words += ["--missing", "--seeds", 0, 1]
    page = Path("boards/tiny-v1.json")
    listed = fedsiege(*words, "--out", "two", "--dry-run")
    assert [line.split()[2] for line in listed.out.splitlines()] == ["none/none/seed1", "none/multikrum/seed1"]
    assert f"2 of 4 runs are published in {page}; 2 are missing" in listed.err
    said = fedsiege(*words, "--out", "two")
    assert said.status == 0
    assert sorted(p.parts[-2].split("-")[0] for p in Path("two").rglob("result.json")) == ["seed1", "seed1"]
    assert len(json.loads(page.read_text("utf-8"))["runs"]) == 4
    before = page.read_bytes()
    said = fedsiege(*words, "--out", "three")
    assert (said.status, "4 of 4 runs are published" in said.err) == (0, True)
    assert page.read_bytes() == before
    assert json.loads(fedsiege(*words, "--out", "three", "--json").out)["runs"] == []
    assert json.loads(fedsiege(*words, "--out", "three", "--json", "--dry-run").out) == []
    assert not Path("three").exists()
    # Another setting is another run.
    listed = fedsiege(*words, "--out", "two", "--dry-run", "--set", "model.dim=4")
    assert len(listed.out.splitlines()) == 4
    without = fedsiege("arena", "--card", card, "--missing")
    assert (without.status, "name its folder with --publish" in without.err) == (2, True)


def test_the_missing_part_of_a_grid_has_the_threads_of_the_whole(
    fedsiege: Callable, card: Path, here: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["arena", "--card", card, "--attacks", "none", "--publish", "boards", "--seeds"]
    fedsiege(*words, 0, "--out", "one")
    sizes: list[tuple[int, int]] = []

    def stop(cells: list[grid.Cell], *_: object, whole: list[grid.Cell], **__: object) -> None:
        sizes.append((len(cells), len(whole)))
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "run_cells", stop)
    fedsiege(*words, 0, 1, "--missing", "--out", "two")
    assert sizes == [(2, 4)]


def test_a_file_is_a_grid_and_options_take_precedence(fedsiege: Callable, card: Path, here: list[int | None]) -> None:
    Path("grid.yaml").write_text(
        "{card: mine.yaml, attacks: [lie], defenses: [median], override: {federation: {rounds: 5}}}", "utf-8"
    )
    words = ["arena", "grid.yaml", "--seeds", 1, "--set", "model.dim=4", "--attacks", "{name: lie, z: 0.5}"]
    (row,) = json.loads(fedsiege(*words, "--dry-run", "--json").out)
    assert row["cell"] == "lie (z=0.5)/median/seed1"
    assert (row["division"], row["changes"]) == ("open", ["model.dim", "federation.rounds"])
    assert row["finished"] is False
    assert not Path("runs").exists()
    said = json.loads(fedsiege(*words, "--threads", 1, "--json").out)
    assert (said["card"], said["division"], said["changes"]) == ("tiny-v1", "open", ["federation.rounds", "model.dim"])
    (run,) = said["runs"]
    result = json.loads((Path(run["folder"]) / "result.json").read_text())
    assert run["scores"] == result["last"]["metrics"]["test"]
    assert result["card"]["changes"] == ["model.dim", "federation.rounds"]
    assert result["rounds"] == 5
    environment = json.loads((Path(run["folder"]) / "environment.json").read_text())
    for word in ("'{name: lie, z: 0.5}'", "--set federation.rounds=5 model.dim=4", "--out again", "--threads 1"):
        assert word in environment["command"]
    again = shlex.split(environment["command"])[1:]
    repeated = json.loads(fedsiege(*again, "--json").out)
    assert [run["scores"] for run in repeated["runs"]] == [run["scores"]]


def test_paths_of_a_grid_refer_to_its_file_and_its_command_works_from_anywhere(
    fedsiege: Callable, card: Path, here: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("grids").absolute()
    folder.mkdir()
    for path, step in ((folder / "mine.inter", 7), (Path("mine.inter"), 11)):
        lines = [f"u{u}\ti{(u * step + k * k) % 50}\t{k}" for u in range(40) for k in range(8)]
        path.write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines]) + "\n", "utf-8")
    grid_file = {"card": "demo-v1", "override": {"dataset": {"name": None, "path": "mine.inter"}}}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid_file), "utf-8")
    words = ["arena", "grids/grid.yaml", "--card", card, "--attacks", "none", "--defenses", "none", "--seeds", 0]

    def made(*more: object) -> tuple[str, list[str]]:
        (run,) = json.loads(fedsiege(*words, *more, "--json").out)["runs"]
        found = json.loads((Path(run["folder"]) / "environment.json").read_text())
        return found["data"]["source"], shlex.split(found["command"])[1:]

    source, again = made("--out", "r")
    assert source == str(folder / "mine.inter")
    # On the command line a path refers to the current folder.
    other, there = made("--out", "s", "--set", "dataset.path=mine.inter")
    assert other == str(Path("mine.inter").absolute())
    monkeypatch.chdir(folder)
    for command, before in ((again, source), (there, other)):
        (run,) = json.loads(fedsiege(*command, "--json").out)["runs"]
        assert json.loads((Path(run["folder"]) / "environment.json").read_text())["data"]["source"] == before


def test_failures_are_told_and_the_rest_is_kept(fedsiege: Callable, card: Path, here: list[int | None]) -> None:
    words = ["arena", "--card", card, "--attacks", "none", "--seeds", 0, "--out", "r"]
    said = fedsiege(*words, "--defenses", "none", "{name: union, negatives: 79}")
    assert said.status == 1
    assert "failed: none/union (negatives=79)/seed0:" in said.err
    assert "1 failed" in said.out
    assert len(list(Path("r").rglob("result.json"))) == len(list(Path("r").rglob("failed.json"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--card", "demo-v2"], "did you mean 'demo-v1'"),
        (["--card", "demo-v1", "--attacks", "lei"], "did you mean 'lie'"),
        (["--card", "demo-v1", "--attacks", "{z: 1}", "--noise"], "attack must be a name or a mapping with a `name`"),
        (["--card", "demo-v1", "--jobs", "0"], "--jobs 0 must be at least 1"),
        (["--card", "demo-v1", "--threads", "0"], "--threads 0 must be at least 1"),
        (["--card", "demo-v1", "--set", "rounds"], "section.field=value"),
        (["--card", "demo-v1", "--degrees", "x"], "no degree 'x'"),
        (["none.yaml"], "cannot read grid none.yaml"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(fedsiege: Callable, words: list[str], message: str) -> None:
    said = fedsiege("arena", *words)
    assert said.status == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def test_an_interrupted_grid_says_how_to_go_on(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def stop(*_: object, **more: object) -> None:
        given.update(more)
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "run_cells", stop)
    words = ["arena", "--card", "demo-v1", "--attacks", "{name: lie, z: 0.3}", "--seeds", "0", "1", "--set"]
    words += ["model.dim=4", "--out", "d", "--jobs", "2", "--threads", "3"]
    said = fedsiege(*words)
    assert (said.status, given["threads"]) == (130, 3)
    resumed = shlex.split(said.err.partition("resume with: ")[2])
    assert sorted(resumed[1:]) == sorted(words)


def test_on_a_terminal_the_board_fills_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    console = Console(force_terminal=True, width=120, record=True)
    monkeypatch.setattr(board_progress, "err", lambda: console)
    now = [0.0]
    monkeypatch.setattr(board_progress.time, "monotonic", lambda: now[0])
    with BoardProgress(cells_of(tmp_path), "HR@5") as tell:

        def shown() -> str:
            plain = Console(width=120, file=io.StringIO())
            plain.print(tell.picture())
            return plain.file.getvalue()  # type: ignore[attr-defined]

        assert "0 of 8 runs done  ·  0 running" in shown()
        assert " left" not in shown()
        tell(Event(0, "started", 0, 30))
        tell(Event(1, "started", 0, 30))
        tell(Event(0, "progress", 10, 30, 0.5, 0.2))
        now[0] = 10.0
        tell(Event(0, "progress", 20, 30, 0.5, 0.2))
        assert "2 running" in shown()
        # 10 rounds in 10 seconds, and 220 of 240 left.
        assert "about 3 min 40 s left" in shown()
        assert "    20 / 30  none/none/seed0" in shown()
        tell(Event(0, "finished", scores={"HR@5": 0.25}))
        tell(Event(1, "lost"))
        tell(Event(2, "busy"))
        tell(Event(3, "failed", error="why [not]"))
        tell(Event(4, "skipped", scores={"HR@5": 0.75}))
        assert "2 of 8 runs done  ·  0 running  ·  1 failed" in shown()
        assert [line.split()[1:] for line in shown().splitlines() if line.strip().startswith("none ")] == [
            ["0.5000", "–"]
        ]
        tell(Event(4, "progress", 30, 30))
        assert "0 running" in shown()
        assert "– 1 failed" in shown()
    said = console.export_text()
    assert "its worker died, it is run again: none/multikrum/seed0" in said
    assert "failed lie/multikrum/seed0  why [not]" in said


def test_a_mean_over_some_of_the_seeds_says_so(tmp_path: Path) -> None:
    tell = BoardProgress(cells_of(tmp_path), "HR@5")
    tell(Event(0, "finished", scores={"HR@5": 0.25}))
    assert tell._mean(("", "none", "none")) == "0.2500 1/2"


def test_a_redraw_looks_at_each_cell_once(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, attacks=["none", "lie", "gaussian"])
    tell = BoardProgress(cells, "HR@5")
    assert sorted(index for members in tell.members.values() for index in members) == list(range(len(cells)))
    looked: list[int] = []

    class Watched(dict[int, str]):
        def get(self, index: int, default: Any = None) -> Any:
            looked.append(index)
            return super().get(index, default)

    tell.ended = Watched()
    list(tell.tables())
    assert sorted(looked) == list(range(len(cells)))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (725, "12 min"), (3_900, "1 h 05 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_file_where_runs_should_go_is_one_line(fedsiege: Callable, card: Path) -> None:
    Path("taken").write_text("", "utf-8")
    said = fedsiege("arena", "--card", card, "--out", "taken")
    assert said.status == 2
    assert said.err.startswith("error: cannot make folder taken")


def test_the_runs_of_a_dry_run_are_listed_with_their_folders(fedsiege: Callable, card: Path) -> None:
    lines = fedsiege("arena", "--card", card, "--out", "r", "--dry-run").out.splitlines()
    found = json.loads(fedsiege("arena", "--card", card, "--out", "r", "--dry-run", "--json").out)
    folders = [row["folder"] for row in found]
    assert [line.split()[-1] for line in lines] == folders


@pytest.mark.parametrize(("where", "threads"), [("local", 2), ("10.0.0.1:6379", 1)])
def test_a_grid_goes_to_the_ray_cluster_that_is_named(
    where: str, threads: int, fedsiege: Callable, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    more = ["--threads", threads] if threads > 1 else []

    class Cluster(Here):
        def __init__(self, address: str | None, jobs: int | None, threads: int) -> None:
            super().__init__()
            asked.append((address, jobs, threads))

    monkeypatch.setattr("fedsiege.arena.ray.RayCluster", Cluster)
    said = fedsiege("arena", "--card", card, "--seeds", 0, "--out", "r", "--ray", where, "--jobs", 3, *more)
    assert said.status == 0, said.err
    assert asked == [(None if where == "local" else where, 3, threads)]
    assert said.err.count("finished") == 4
