"""The store: what it finds, how it keeps up with the folders, and what it can be asked."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from fedsiege.arena import index, store
from fedsiege.arena.find import run_folders
from fedsiege.arena.record import Record, read_record
from fedsiege.arena.store import Store
from fedsiege.errors import ConfigError, RunError
from tests.arena.stored import CARD, begun, edit, failed, finished, grid


def plainly(root: Path) -> list[Record]:
    """Read every run folder, without an index: the reference."""
    folders = sorted(p.parent.relative_to(root).as_posix() for p in root.rglob("config.yaml"))
    return [read_record(root / path, root) for path in folders]


def same(left: list[Record], right: list[Record]) -> bool:
    """Equal records; NaN, which is not equal to itself, is."""
    return repr(left) == repr(right)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    grid(tmp_path)
    failed(tmp_path / "lie" / "union" / "seed0", attack="lie", defense="union")
    begun(tmp_path / "lie" / "union" / "seed1", attack="lie", defense="union", seed=1)
    return tmp_path


def test_the_store_holds_what_the_folders_hold(root: Path) -> None:
    with Store(root) as runs:
        found = runs.refresh()
        assert (found.finished, found.failed, found.unfinished, found.read) == (8, 1, 1, 10)
        assert (found.gone, found.damaged, found.runs) == (0, {}, 10)
        assert same(runs.records(status=None), plainly(root))
        assert runs.path == root / "index.sqlite"
    # Another process reads the same from the index, without the folders being read.
    with Store(root) as again:
        assert again.refresh().read == 0
        assert same(again.records(status=None), plainly(root))
    connection = sqlite3.connect(root / "index.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_only_what_changed_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def reading(folder: Path, root: Path) -> Record:
        read.append(folder.relative_to(root).as_posix())
        return read_record(folder, root)

    monkeypatch.setattr(store, "read_record", reading)
    with Store(root) as runs:
        runs.refresh()
        assert len(read) == 10
        read.clear()
        edit(root / "lie/krum/seed1/result.json", metric="NDCG@5")
        (root / "lie/union/seed0/failed.json").unlink()
        finished(root / "new")
        for file in (root / "none/none/seed0").iterdir():
            file.unlink()
        found = runs.refresh()
        assert read == ["lie/krum/seed1", "lie/union/seed0", "new"]
        assert (found.read, found.gone, found.finished, found.failed, found.unfinished) == (3, 1, 8, 0, 2)
        (root / "none/none/seed0").rmdir()
        assert same(runs.records(status=None), plainly(root))
        (root / "new/cost.json").write_text('{"wall_seconds": 1, "peak_bytes": 2}')
        runs.refresh()
        assert runs.records(config_hash="none-none-0")[0].wall_seconds == 1
        read.clear()
        assert runs.rebuild().read == 10
        assert len(read) == 10


def test_questions(root: Path) -> None:
    finished(root / "b", "lie", card={**CARD, "id": "other-v1", "hash": "f" * 12, "degree": "iid", "division": "open"})
    with Store(root) as runs:
        everything = plainly(root)
        asked = {
            "card": ("toy-v1", lambda r: r.card == "toy-v1" and r.status == "finished"),
            "status": ("failed", lambda r: r.status == "failed"),
            "degree": ("iid", lambda r: r.degree == "iid"),
            "division": ("open", lambda r: r.division == "open"),
            "defense": ("krum", lambda r: r.defense == "krum"),
            "attack_label": ("lie", lambda r: r.attack == "lie" and r.status == "finished"),
            "seed": (1, lambda r: r.seed == 1 and r.status == "finished"),
        }
        for name, (value, keep) in asked.items():
            expected = [r for r in everything if keep(r)]
            assert expected
            assert same(runs.records(**{name: value}), expected), name
        assert same(runs.records("f" * 12), [r for r in everything if r.card == "other-v1"])
        assert runs.records("lie") == runs.records(dataset="none") == []
        assert len(runs.records(attack="lie", defense="none", seed=0)) == 2
        assert runs.counts() == [
            ("other-v1", "f" * 12, "iid", "finished", 1), ("toy-v1", "0123456789ab", "", "failed", 1),
            ("toy-v1", "0123456789ab", "", "finished", 8), ("toy-v1", "0123456789ab", "", "unfinished", 1),
        ]  # fmt: skip
        with pytest.raises(ConfigError, match="did you mean 'defense'"):
            runs.records(defence="krum")
        assert runs.frame("toy-v1", attack="lie")["seed"].to_list() == [0, 1, 0, 1]


def test_what_counts_as_a_run(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "config.yaml").write_text("a configuration of one's own in the root is no run")
    finished(tmp_path / "a" / "run")
    finished(tmp_path / "a" / "run" / "inside")
    finished(tmp_path / ".hidden" / "run")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert [path for path, _ in run_folders(tmp_path)] == ["a/run"]
    assert [path for path, _ in run_folders(tmp_path / "a" / "run")] == ["."]


def test_a_run_folder_itself_gets_no_index(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    before = sorted(folder.iterdir())
    with Store(folder) as runs:
        assert [r.path for r in runs.records()] == ["."]
        assert runs.path is None
    assert sorted(folder.iterdir()) == before


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a folder"):
        Store(tmp_path / "nowhere")
    with Store(tmp_path) as runs:
        assert runs.records() == []
        assert runs.refresh().runs == 0


def test_what_another_adds_meanwhile_is_not_taken_for_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(root) as runs:
        runs.refresh()

        def walking(where: Path, closed: dict[str, str]) -> list[tuple[str, str]]:
            found = list(run_folders(where, closed))
            if not (root / "late").exists():
                finished(root / "late", seed=9)
                with Store(root) as other:
                    monkeypatch.setattr(store, "run_folders", run_folders)
                    other.refresh()
                    monkeypatch.setattr(store, "run_folders", walking)
            return found

        monkeypatch.setattr(store, "run_folders", walking)
        (root / "lie/union/seed0/failed.json").unlink()
        assert runs.refresh().gone == 0
        assert [r.path for r in runs.records(seed=9)] == ["late"]


def test_threads_share_a_store(root: Path) -> None:
    counts = []
    with Store(root) as runs:
        threads = [threading.Thread(target=lambda: counts.append(len(runs.records()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == [8] * 8


def test_another_version_makes_the_index_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with Store(root) as runs:
        runs.refresh()
    monkeypatch.setattr(index, "_STAMP", 12345)
    with Store(root, said.append) as runs:
        assert runs.refresh().read == 10
        assert same(runs.records(status=None), plainly(root))
    assert len(said) == 1
    assert "another version" in said[0]
    with Store(root, said.append) as runs:
        assert runs.refresh().read == 0
    assert len(said) == 1


def test_the_file_of_another_program_is_left_alone(root: Path) -> None:
    connection = sqlite3.connect(root / "index.sqlite")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before, said = (root / "index.sqlite").read_bytes(), []
    with Store(root, said.append) as runs:
        assert len(runs.records()) == 8
        assert runs.path is None
    assert len(said) == 1
    assert "another program" in said[0]
    theirs = sqlite3.connect(root / "index.sqlite")
    assert theirs.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    theirs.close()
    assert len((root / "index.sqlite").read_bytes()) == len(before)
