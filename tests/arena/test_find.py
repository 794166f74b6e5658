"""Run folders are found below whatever lies beside them, and what cannot be read is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena import find
from fedsiege.arena.find import is_run, run_folders
from fedsiege.errors import RunError
from tests.arena.stored import finished, grid


def refusing(*folders: Path) -> Callable[[Any], Any]:
    """Return `os.scandir` without the rights to list some folders."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    return scandir


def test_an_outcome_alone_is_no_run() -> None:
    assert not is_run({"result.json"})
    assert not is_run({"failed.json", "rounds.jsonl"})
    assert not is_run({"config.yaml"})
    for name in ("result.json", "failed.json", "rounds.jsonl", "environment.json", ".lock"):
        assert is_run({"config.yaml", name})


@pytest.mark.parametrize("stray", ["result.json", "failed.json"])
@pytest.mark.parametrize("place", [".", "lie", "lie/krum"])
def test_a_stray_outcome_is_told_and_hides_no_run(tmp_path: Path, stray: str, place: str) -> None:
    everything = {path for path, _ in run_folders(grid(tmp_path))}
    assert len(everything) == 8
    (tmp_path / place / stray).write_text("{}")
    assert {path for path, _ in run_folders(tmp_path)} == everything | {place}


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid(tmp_path)
    monkeypatch.setattr(find.os, "scandir", refusing(tmp_path / "lie"))
    unreadable: dict[str, str] = {}
    assert {path.split("/")[0] for path, _ in run_folders(tmp_path, unreadable)} == {"none"}
    assert unreadable == {"lie": f"{tmp_path}/lie cannot be read: Permission denied; check its rights"}
    with pytest.raises(RunError, match=r"lie cannot be read: Permission denied; check its rights"):
        list(run_folders(tmp_path))


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path / "a" / "run")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == tmp_path / "a":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path)

    monkeypatch.setattr(find.os, "scandir", scandir)
    assert list(run_folders(tmp_path)) == []


def test_a_print_changes_with_every_file_of_which_a_record_tells(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    before = dict(run_folders(tmp_path))["run"]
    for name in ("config.yaml", "environment.json", "rounds.jsonl", "timing.jsonl", "result.json"):
        held = (run / name).read_bytes() if (run / name).exists() else b""
        (run / name).unlink(missing_ok=True)
        assert dict(run_folders(tmp_path)).get("run") != before or not held
        (run / name).write_bytes(held + b"\n")
        after = dict(run_folders(tmp_path))["run"]
        assert after != before
        before = after
