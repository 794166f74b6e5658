"""What goes wrong around a store: full disks, read-only folders, damage, and others at work in it.

Each time there is one clear message, the store stays valid and no finished run is lost.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena import store
from fedsiege.arena.card_store import keep
from fedsiege.arena.export import frame, write
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.grid import Cell, run_cells
from fedsiege.arena.index import FILE, Line
from fedsiege.arena.runs import execute
from fedsiege.arena.store import Store
from fedsiege.errors import RunError
from tests.arena.games import tiny
from tests.arena.stored import failed, finished, grid
from tests.small import small

KEPT = ("result.json", "rounds.jsonl", "model.safetensors")


@contextmanager
def room(most: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a disk that fills up would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def paths(root: Path, said: list[str] | None = None) -> list[str]:
    """Ask a store for its finished runs."""
    with Store(root, (said if said is not None else []).append) as runs:
        return [record.path for record in runs.records()]


def valid(root: Path) -> bool:
    connection = sqlite3.connect(root / FILE)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


# A disk that fills up.


@pytest.mark.parametrize("limit", [0, 3000, 9000, 20_000])
def test_a_full_disk_ends_a_run_with_one_message_and_it_resumes(tmp_path: Path, limit: int) -> None:
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    execute(small(), whole.path, threads=1)
    with room(limit), pytest.raises(RunError, match="File too large") as caught:
        execute(small(), cut.path, threads=1, checkpoint_every=7)
    assert "make room" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert paths(tmp_path) == ["whole"]
    execute(small(), cut.path, threads=1)
    assert all((whole.path / name).read_bytes() == (cut.path / name).read_bytes() for name in KEPT)
    assert paths(tmp_path) == ["cut", "whole"]


@pytest.mark.parametrize("limit", [0, 5000, 30_000])
@pytest.mark.parametrize("known", [False, True])
def test_an_index_without_room_is_kept_in_memory(tmp_path: Path, limit: int, known: bool) -> None:
    grid(tmp_path)
    expected = paths(tmp_path) if known else []
    for number in range(30):
        finished(tmp_path / f"new{number:02}", seed=number)
    said: list[str] = []
    with room(limit), Store(tmp_path, said.append) as runs:
        found = [record.path for record in runs.records()]
        assert runs.path is None
    assert len(found) == 38
    assert set(expected) <= set(found)
    assert len(said) == 1
    assert "indexed in memory this time" in said[0]
    said.clear()
    assert paths(tmp_path, said) == found
    assert said == []
    assert valid(tmp_path)


def test_an_export_without_room_leaves_the_former_one(tmp_path: Path) -> None:
    grid(tmp_path / "runs")
    out = tmp_path / "table.csv"
    with Store(tmp_path / "runs") as runs:
        write(frame(runs.records()), out)
        before = out.read_bytes()
        with room(100), pytest.raises(RunError, match=r"cannot write .*table\.csv: File too large"):
            write(frame(runs.records()), out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["table.csv"]


# A read-only folder.


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that other users can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def _close(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def as_another(call: Callable[[], Any]) -> Any:
    """Return what `call` returns in a process without the rights of root, as JSON."""
    read, to = os.pipe()
    child = os.fork()
    if child == 0:
        found: Any = "the child failed"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            found = call()
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        finally:
            os.write(to, json.dumps(found).encode())
            os._exit(0)
    os.close(to)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text)


@pytest.mark.parametrize("before", ["no index", "an index", "an old index", "a broken index"])
def test_a_read_only_store_is_indexed_in_memory(readable: Path, before: str) -> None:
    grid(readable)
    expected = paths(readable)  # Also imports what the child needs.
    if before == "no index":
        (readable / FILE).unlink()
    if before == "an old index":
        expected = [*expected, finished(readable / "z").name]
    if before == "a broken index":
        (readable / FILE).write_bytes(b"nonsense" * 1000)
    _close(readable)
    listing = sorted(readable.rglob("*"))

    def ask() -> Any:
        said: list[str] = []
        return paths(readable, said), said

    found, said = as_another(ask)
    assert found == expected
    assert len(said) == 1
    assert "in memory" in said[0]
    assert sorted(readable.rglob("*")) == listing


def test_a_run_in_a_read_only_folder_is_one_clear_error(readable: Path) -> None:
    finished(readable / "done")
    _close(readable)
    config = small()
    found = as_another(lambda: execute(config, readable / "run", threads=1))
    assert found.startswith("RunError: cannot use run folder")
    assert "Permission denied" in found
    assert paths(readable) == ["done"]


# What may not be read.


def looked(root: Path, rebuild: bool = False) -> dict[str, Any]:
    """What a store tells of its folders, to a process without the rights of root."""

    def ask() -> dict[str, Any]:
        with Store(root, lambda line: None) as runs:
            found = (runs.rebuild if rebuild else runs.refresh)()
            known = [r.path for r in runs.records()]
        return {"finished": found.finished, "gone": found.gone, "damaged": found.damaged, "paths": known}

    return as_another(ask)


def give(root: Path) -> None:
    """Let another user write a store."""
    for path in [root, *root.rglob("*")]:
        os.chmod(path, 0o777 if path.is_dir() else 0o666)


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("closed", ["lie", "lie/krum", "lie/krum/seed1", "lie/krum/seed1/result.json"])
def test_runs_out_of_reach_are_told_and_kept_as_last_seen(readable: Path, closed: str, rebuild: bool) -> None:
    everything = paths(grid(readable))
    give(readable)
    (readable / closed).chmod(0)
    found = looked(readable, rebuild)
    assert (found["finished"], found["gone"], found["paths"]) == (8, 0, everything)
    if closed.endswith(".json") and not rebuild:  # Neither size nor time have changed: nobody reads it.
        assert found["damaged"] == {}
    else:
        why, told = (readable / closed).as_posix(), {"lie": "4 runs", "lie/krum": "2 runs"}.get(closed, "1 run")
        assert found["damaged"] == {
            closed.removesuffix("/result.json"): f"{why} cannot be read: Permission denied; check its rights "
            f"(what was last seen of {told} there is kept)"
        }
    give(readable)
    assert looked(readable) == {"finished": 8, "gone": 0, "damaged": {}, "paths": everything}
    shutil.rmtree(readable / "lie/krum/seed1")
    assert (looked(readable)["finished"], looked(readable)["gone"]) == (7, 0)


@pytest.mark.parametrize("known", [False, True])
def test_a_folder_that_may_be_listed_and_not_entered(readable: Path, known: bool) -> None:
    grid(readable)
    everything = paths(readable) if known else []
    give(readable)
    (readable / "lie/krum/seed1").chmod(0o444)
    found = looked(readable)
    assert found["finished"] == len(found["paths"]) == (8 if known else 7)
    assert not known or found["paths"] == everything
    ((path, why),) = found["damaged"].items()
    assert path == "lie/krum/seed1"
    assert why.startswith(f"{readable}/lie/krum/seed1/config.yaml cannot be read: Permission denied; check its rights")


def test_runs_that_were_never_seen_are_told_and_not_called_damaged(readable: Path) -> None:
    grid(readable)
    give(readable)
    (readable / "lie/none").chmod(0)
    (readable / "none/krum/seed0/result.json").chmod(0)
    found = looked(readable)
    assert (found["finished"], found["gone"]) == (5, 0)
    assert found["damaged"] == {
        "lie/none": f"{readable}/lie/none cannot be read: Permission denied; check its rights",
        "none/krum/seed0": f"{readable}/none/krum/seed0/result.json cannot be read: Permission denied; "
        "check its rights",
    }
    give(readable)
    assert (looked(readable)["finished"], looked(readable)["damaged"]) == (8, {})


@pytest.mark.parametrize("stray", ["result.json", "failed.json"])
@pytest.mark.parametrize("place", [".", "lie"])
def test_a_stray_outcome_is_told_and_hides_no_run(tmp_path: Path, stray: str, place: str) -> None:
    everything = paths(grid(tmp_path))
    (tmp_path / place / stray).write_text("{}")
    with Store(tmp_path) as runs:
        found = runs.refresh()
        assert [r.path for r in runs.records()] == everything
        assert runs.path == tmp_path / FILE
    assert found.gone == 0
    alone = (tmp_path / place / stray).as_posix()
    assert found.damaged == {
        place: f"{alone} lies without config.yaml, so it is of no run; move it away, or put that back"
    }
    (tmp_path / place / stray).unlink()
    with Store(tmp_path) as runs:
        assert runs.refresh().damaged == {}


# Damage.


@pytest.mark.parametrize(
    ("file", "text"),
    [("result.json", "{"), ("result.json", ""), ("config.yaml", "a: ["), ("config.yaml", None), ("result.json", "{}")],
)
def test_a_damaged_run_is_left_out_with_a_message_until_it_is_mended(
    tmp_path: Path, file: str, text: str | None
) -> None:
    grid(tmp_path)
    failed(tmp_path / "failed")
    everything = paths(tmp_path)
    broken = tmp_path / "lie/krum/seed1" / file
    good = broken.read_text()
    broken.unlink() if text is None else broken.write_text(text)
    with Store(tmp_path) as runs:
        found = runs.rebuild()
        assert list(found.damaged) == ["lie/krum/seed1"]
        assert file in found.damaged["lie/krum/seed1"]
        assert (found.finished, found.failed) == (7, 1)
        assert [r.path for r in runs.records()] == [path for path in everything if path != "lie/krum/seed1"]
        assert runs.refresh().damaged == found.damaged
        broken.write_text(good)
        assert runs.refresh().damaged == {}
        assert [r.path for r in runs.records()] == everything


def test_damaged_rounds_are_one_clear_error(tmp_path: Path) -> None:
    folder = RunFolder(finished(tmp_path / "run"))
    lines = folder.rounds.read_text().splitlines(keepends=True)
    folder.rounds.write_text("".join([*lines[:3], "{oops\n", *lines[4:]]))
    with pytest.raises(RunError, match=r"rounds\.jsonl is damaged"):
        list(folder.read_rounds())


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name" * 100)


def _torn(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _scratched(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _strange_row(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET record = '[1, 2' WHERE path LIKE 'lie/krum/%'")
    connection.commit()
    connection.close()


def _no_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE runs")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("harm", [_garbage, _torn, _scratched, _strange_row, _no_table, _emptied])
def test_a_damaged_index_is_made_anew_by_itself(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    grid(tmp_path, seeds=12)
    expected = paths(tmp_path)
    harm(tmp_path / FILE)
    said: list[str] = []
    assert paths(tmp_path, said) == expected
    # An empty file is a new one.
    assert len(said) == (0 if harm is _emptied else 1)
    assert all("is made anew from the run folders" in line for line in said)
    assert valid(tmp_path)
    said.clear()
    assert paths(tmp_path, said) == expected
    assert said == []


def test_damage_under_an_open_store(tmp_path: Path) -> None:
    grid(tmp_path, seeds=6)
    said: list[str] = []
    with Store(tmp_path, said.append) as runs:
        expected = [r.path for r in runs.records()]
        _strange_row(tmp_path / FILE)
        assert [r.path for r in runs.records()] == expected
    assert len(said) == 1


# Others at work.

_fork = multiprocessing.get_context("fork")


def _all(workers: list[Any]) -> list[int | None]:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


def _use(root: Path, number: int) -> None:
    for turn in range(4):
        finished(root / f"p{number}" / f"t{turn}", seed=turn)
        with Store(root, lambda line: None) as runs:
            (runs.rebuild if turn % 2 else runs.refresh)()
            mine = {f"p{number}/t{done}" for done in range(turn + 1)}
            assert mine <= {record.path for record in runs.records()}


@pytest.mark.parametrize("before", ["nothing", "a broken index"])
def test_processes_share_a_store(tmp_path: Path, before: str) -> None:
    grid(tmp_path, seeds=1)
    paths(tmp_path)
    if before == "nothing":
        (tmp_path / FILE).unlink()
    else:
        _garbage(tmp_path / FILE)
    assert _all([_fork.Process(target=_use, args=(tmp_path, k)) for k in range(4)]) == [0] * 4
    with Store(tmp_path) as runs:
        assert runs.refresh().finished == 4 + 16
    assert valid(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE)
    assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (20,)
    connection.close()


def _die(root: Path, after: int) -> None:
    values, left = Line.values, iter(range(after))

    def dying(line: Line) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return values(line)

    Line.values = dying  # type: ignore[method-assign]
    with Store(root) as runs:
        runs.rebuild()


@pytest.mark.parametrize("after", [0, 3, 30])
def test_a_process_killed_while_it_writes_the_index(tmp_path: Path, after: int) -> None:
    grid(tmp_path, seeds=10)
    expected = paths(tmp_path)
    assert _all([_fork.Process(target=_die, args=(tmp_path, after))]) == [-signal.SIGKILL]
    said: list[str] = []
    assert paths(tmp_path, said) == expected
    assert said == []
    assert valid(tmp_path)


def test_an_index_that_another_holds_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid(tmp_path)
    paths(tmp_path)
    finished(tmp_path / "new")
    monkeypatch.setattr("fedsiege.arena.index.PATIENCE", 0.05)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Store(tmp_path) as runs, pytest.raises(RunError, match="another process has been writing"):
        runs.refresh()
    other.execute("ROLLBACK")
    other.close()
    assert len(paths(tmp_path)) == 9


def test_two_processes_and_one_cell(tmp_path: Path) -> None:
    config, folder = small(), RunFolder(tmp_path / "runs" / "cell")
    finished(tmp_path / "runs" / "done")
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(config.to_dict()))
    command = [sys.executable, "-m", "fedsiege.cli", "run", str(path), "--out", str(folder.path), "--threads", "1"]
    with folder.lock():
        late = subprocess.run(command, capture_output=True, text=True)
        assert late.returncode == 2
        assert late.stderr.strip().splitlines() == [
            f"error: another process is working in {folder.path}; wait for it or choose another"
        ]
        assert paths(tmp_path / "runs") == ["done"]
    execute(config, folder.path, threads=1)
    kept = {name: (folder.path / name).read_bytes() for name in KEPT}
    # A grid that comes later does not run it again.
    (outcome,) = run_cells([Cell(config, folder.path, "cell")], jobs=1)
    assert outcome.error is None
    assert {name: (folder.path / name).read_bytes() for name in KEPT} == kept
    assert paths(tmp_path / "runs") == ["cell", "done"]


def test_nothing_is_said_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(tmp_path)
    paths(tmp_path)
    _garbage(tmp_path / FILE)
    with store.Store(tmp_path) as runs:
        runs.refresh()
        runs.records()
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("note: ")


def test_a_folder_that_is_closed_is_one_clear_error_and_no_finished_cell(readable: Path) -> None:
    grid(readable)
    cell = next(readable.rglob("result.json")).parent
    folder = RunFolder(cell)
    assert folder.finished
    cell.chmod(0o000)

    def ask() -> Any:
        said = []
        for look in (lambda: folder.finished, folder.read_config, folder.read_result, folder.read_environment):
            try:
                look()
            except RunError as error:
                said.append(str(error))
        return said

    said = as_another(ask)
    assert len(said) == 4
    assert all(text == f"{cell} cannot be read: Permission denied; check its rights" for text in said)


@pytest.mark.parametrize("how", ["a file in the way", "closed"])
def test_a_grid_that_cannot_write_is_one_clear_error(how: str, readable: Path) -> None:
    root = readable / "out"
    if how == "closed":
        root.mkdir()
        root.chmod(0o555)
    else:
        root.write_text("", encoding="utf-8")
    errors = as_another(lambda: _raised(lambda: keep(tiny(), root)))
    assert errors.startswith("RunError: cannot make folder")
    assert str(root) in errors


def _raised(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"
