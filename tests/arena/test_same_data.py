"""Data that change under a run: a resumed run and a finished one are held to the sum that they wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena import same_data
from fedsiege.arena.config import DatasetConfig, RunConfig
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Cell, Event, run_cells
from fedsiege.arena.runs import Stopped, execute
from fedsiege.arena.same_data import GridData, replaced
from fedsiege.data import cache
from fedsiege.errors import RunError
from tests.arena.games import Here
from tests.arena.stored import edit
from tests.small import small

KEPT = ("result.json", "rounds.jsonl", "model.safetensors", "config.yaml")


def write(path: Path, step: int = 7) -> Path:
    """Write a file of interactions; another `step` gives others."""
    lines = [f"u{u}\ti{(u * step + k * k) % 50}\t{k}" for u in range(40) for k in range(8)]
    path.write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines]) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "mine.inter")


def config(data: Path, **sections: Any) -> RunConfig:
    federation = {"rounds": 6, "cohort": 8, "evaluate_every": 3, "project_every": 3}
    return small(dataset={"path": str(data)}, attack="none", defense="none", federation=federation, **sections)


def stopped(data: Path, path: Path, after: int = 4) -> RunFolder:
    """Stop a run after so many rounds, with a checkpoint."""
    rounds = iter(range(after - 1))
    with pytest.raises(Stopped):
        execute(config(data), path, threads=1, stop=lambda: next(rounds, None) is None)
    return RunFolder(path)


def test_a_run_goes_on_with_its_own_data_alone(tmp_path: Path, data: Path) -> None:
    execute(config(data), tmp_path / "whole", threads=1)
    folder = stopped(data, tmp_path / "run")
    before = folder.environment.read_bytes(), folder.checkpoint.read_bytes(), folder.rounds.read_bytes()
    write(data, step=11)
    with pytest.raises(RunError, match=r"begun on other data .*mine\.inter.*put the old data back.*--out") as caught:
        execute(config(data), folder.path, threads=1)
    sums = [cache.sha256(data)[:12], json.loads(before[0])["data"]["sha256"][:12]]
    assert "SHA-256 {} now, {} then".format(*sums) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (folder.environment.read_bytes(), folder.checkpoint.read_bytes(), folder.rounds.read_bytes()) == before
    assert json.loads(folder.failed.read_text())["kind"] == "RunError"
    # The remedies work: the old file back, or a new folder.
    execute(config(data), tmp_path / "new", threads=1)
    write(data)
    execute(config(data), folder.path, threads=1)
    assert all((folder.path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in KEPT)


def test_a_run_without_a_checkpoint_starts_on_the_data_that_are_there(tmp_path: Path, data: Path) -> None:
    folder = stopped(data, tmp_path / "run")
    folder.checkpoint.unlink()
    write(data, step=11)
    execute(config(data), folder.path, threads=1)
    assert same_data.told(folder)["sha256"] == cache.sha256(data)  # type: ignore[index]


@pytest.mark.parametrize("told", ["nothing", "no sum", "no file", "torn"])
def test_an_older_run_that_told_no_sum_goes_on(tmp_path: Path, data: Path, told: str) -> None:
    folder = stopped(data, tmp_path / "run")
    if told in ("nothing", "no sum"):
        edit(folder.environment, data=None if told == "nothing" else {"source": str(data)})
    elif told == "torn":
        folder.environment.write_text("{")
    else:
        folder.environment.unlink()
    assert execute(config(data), folder.path, threads=1)["rounds"] == 6


def test_a_finished_run_of_replaced_data_is_not_passed_off_as_one_of_the_new(tmp_path: Path, data: Path) -> None:
    result = execute(config(data), tmp_path / "run", threads=1)
    assert execute(config(data), tmp_path / "run") == result
    write(data, step=11)
    with pytest.raises(RunError, match=r"was finished on other data .*put the old data back"):
        execute(config(data), tmp_path / "run")
    assert not (tmp_path / "run" / "failed.json").exists()
    # Files that are not here tell nothing.
    data.unlink()
    assert execute(config(data), tmp_path / "run") == result


def cells(data: Path, root: Path, seeds: int = 2) -> list[Cell]:
    return [Cell(config(data, seed=seed), root / f"seed{seed}", f"seed{seed}") for seed in range(seeds)]


def test_a_grid_does_not_take_cells_of_replaced_data_for_finished(tmp_path: Path, data: Path) -> None:
    grid = cells(data, tmp_path / "runs", 3)
    run_cells(grid[:2], executor=Here())
    write(data, step=11)
    events: list[Event] = []
    one, two, three = run_cells(grid, on_event=events.append, executor=Here())
    for outcome in (one, two):
        assert outcome.result is None
        assert f"{outcome.cell.path} was finished on other data" in str(outcome.error)
        assert "put the old data back, or start in a new folder with --out" in str(outcome.error)
    assert three.result is not None
    assert [(e.cell_index, e.kind) for e in events if e.kind in ("skipped", "failed")] == [(0, "failed"), (1, "failed")]
    assert RunFolder(one.cell.path).finished
    write(data)
    outcomes = run_cells(grid, executor=Here())
    assert [o.error is None for o in outcomes] == [True, True, False]


def test_a_file_is_read_once_for_a_grid(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = cells(data, tmp_path / "runs", 4)
    run_cells(grid, executor=Here())
    looked: list[object] = []

    def look(files: tuple[Path, ...]) -> str:
        looked.append(files)
        return cache.sums(files)

    monkeypatch.setattr(same_data, "sums", look)
    assert all(o.result for o in run_cells(grid, executor=Here()))
    assert looked == [(data,)]


def test_cells_of_other_data_show_once_one_has_loaded_them(tmp_path: Path, data: Path) -> None:
    grid = cells(data, tmp_path / "runs")
    run_cells(grid[:1], executor=Here())
    # As if it came from another machine: its file is not here, and held something else.
    before = {**same_data.told(RunFolder(grid[0].path)), "source": "/elsewhere/mine.inter"}  # type: ignore[dict-item]
    edit(grid[0].path / "environment.json", data={**before, "sha256": "ab" * 32})
    first, second = run_cells(grid, executor=Here())
    assert first.result is not None
    assert second.result is None
    assert "was finished on other data" in str(second.error)
    assert "than seed0: SHA-256" in str(second.error)
    assert "there abababababab; move the folder whose data are wrong away" in str(second.error)
    edit(grid[0].path / "environment.json", data=before)
    assert all(o.result for o in run_cells(grid, executor=Here()))


def stored(path: Path, **data: str) -> Path:
    path.mkdir()
    (path / "environment.json").write_text(json.dumps({"data": data}))
    return path


def test_a_named_set_may_be_packed_in_several_ways(tmp_path: Path) -> None:
    made, dataset = GridData(), DatasetConfig(name="fashion-mnist")
    packed = {
        "gz": {"format": "idx", "source": "/a", "sha256": f"x.gz={'1' * 64} y.gz={'2' * 64}"},
        "plain": {"format": "idx", "source": "/a", "sha256": f"x={'3' * 64} y={'4' * 64}"},
        "parquet": {"format": "parquet", "source": "/a", "sha256": f"x={'5' * 64} y={'6' * 64}"},
        "other": {"format": "idx", "source": "/b", "sha256": f"x={'3' * 64} y={'7' * 64}"},
    }
    said = {name: made.objection(dataset, stored(tmp_path / name, **data), name) for name, data in packed.items()}
    assert [name for name, why in said.items() if why] == ["other"]
    assert f"than plain: SHA-256 x={'3' * 12} y={'7' * 12}, there x={'3' * 12} y={'4' * 12};" in str(said["other"])


def test_what_has_been_replaced(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    files = tmp_path / "a", tmp_path / "b"
    one = {"format": "recbole", "source": str(files[0]), "sha256": cache.sha256(files[0])}
    two = {"format": "lightgcn", "source": str(tmp_path), "sha256": cache.sums(files)}
    assert replaced(one) is replaced(two) is None
    assert replaced({**two, "source": str(files[0])}) is None
    files[1].write_text("new")
    assert replaced(one) is None
    assert replaced(two) == cache.sums(files)
    files[0].write_text("new")
    assert replaced(one) == cache.sha256(files[0])
    # Generated data, those of a package, class folders and files that are gone.
    for unknown in ({"format": None}, {"format": "none"}, {"source": str(tmp_path)}, {"source": str(tmp_path / "c")}):
        assert replaced({**one, **unknown}) is None
