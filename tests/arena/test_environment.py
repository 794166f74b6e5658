"""Where a run was made, also if it was made in several sittings."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sklearn

from fedsiege.arena import environment
from fedsiege.arena.environment import each_commit, joined, versions
from fedsiege.arena.folder import RunFolder
from fedsiege.arena.record import read_record
from fedsiege.arena.runs import execute
from tests.small import small


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package in a repository with one commit, which is taken for ours."""
    root = tmp_path / "src" / "package"
    for file in (root / "__init__.py", root / "arena" / "environment.py", root / "defenses" / "krum.py"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("", "utf-8")
    (tmp_path / ".gitignore").write_text(".venv/\n", "utf-8")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        git(tmp_path, *words)
    monkeypatch.setattr(environment, "ROOT", root)
    return root


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *names, *words], capture_output=True, text=True, check=True).stdout


def test_a_change_anywhere_in_the_package_is_told(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD").strip()
    assert environment.commit.__wrapped__() == head
    (checkout.parent / "notes.txt").write_text("not of the package", "utf-8")
    assert environment.commit.__wrapped__() == head
    (checkout / "defenses" / "krum.py").write_text("# another rule", "utf-8")
    assert environment.commit.__wrapped__() == f"{head}+changes"
    git(checkout, "checkout", "--", ".")
    assert environment.commit.__wrapped__() == head
    (checkout / "defenses" / "mine.py").write_text("# a new one", "utf-8")
    assert environment.commit.__wrapped__() == f"{head}+changes"


def test_a_package_in_an_ignored_folder_of_another_repository_has_no_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / ".venv" / "package"
    shutil.copytree(checkout, installed)
    monkeypatch.setattr(environment, "ROOT", installed)
    assert environment.commit.__wrapped__() is None
    monkeypatch.setattr(environment, "ROOT", tmp_path / "nowhere")
    assert environment.commit.__wrapped__() is None


def sitting(commit: str | None = "a", cpu: str = "old", **more: Any) -> dict[str, Any]:
    return {"commit": commit, "versions": {"torch": "2"}, "hardware": {"cpu": cpu}, "platform": "p", **more}


def test_what_clusters_and_projects_is_among_the_versions() -> None:
    assert versions()["scikit-learn"] == sklearn.__version__


def test_one_sitting_or_several_alike_are_told_once() -> None:
    assert joined(sitting(), None, 0) == sitting()
    assert joined(sitting(), sitting(), 5) == sitting()
    # Of a sitting that left no checkpoint nothing is in the run.
    assert joined(sitting("b"), sitting("a"), 0) == sitting("b")


def test_what_differs_between_sittings_is_kept_in_order() -> None:
    second = joined(sitting("b", "new"), sitting("a", "old", command="x", data={}), 5)
    assert second["commit"] == "a, b"
    assert second["hardware"] == {"cpu": "new"}
    old, new = ({"after": n, "commit": c, "hardware": {"cpu": h}} for n, c, h in ((0, "a", "old"), (5, "b", "new")))
    assert second["sittings"] == [old, new]
    third = joined(sitting(None, "new"), json.loads(json.dumps(second)), 8)
    assert third["commit"] == "a, b, unknown"
    assert third["sittings"] == [old, new, {"after": 8, "commit": None, "hardware": {"cpu": "new"}}]
    # Back to the first commit: it is named once, and has two stretches.
    assert joined(sitting("a", "new"), second, 8)["commit"] == "a, b"
    assert [s["after"] for s in joined(sitting("a", "new"), second, 8)["sittings"]] == [0, 5, 8]


def test_each_commit_of_several_runs_is_told_once() -> None:
    resumed = joined(sitting("b"), sitting("a"), 5)["commit"]
    assert each_commit([resumed, "c", None, "b", ""]) == ["a", "b", "c"]
    assert each_commit([None]) == each_commit([]) == []


def test_a_sitting_that_got_no_further_is_forgotten() -> None:
    second = joined(sitting("b"), sitting("a"), 5)
    third = joined(sitting("c"), second, 5)
    assert (third["commit"], [s["after"] for s in third["sittings"]]) == ("a, c", [0, 5])
    assert joined(sitting("a"), second, 5) == sitting("a")


def test_only_hardware_differs() -> None:
    found = joined(sitting("a", "new"), sitting("a", "old"), 5)
    assert found["commit"] == "a"
    assert found["sittings"] == [{"after": 0, "hardware": {"cpu": "old"}}, {"after": 5, "hardware": {"cpu": "new"}}]
    third = joined(sitting("b", "new"), found, 7)
    assert third["commit"] == "a, b"


class Stop(Exception):
    """Stands for a kill between two rounds."""


def half(path: Path, at: int = 8) -> None:
    def stop(record: Any, seconds: float) -> None:
        if record.round == at:
            raise Stop

    with pytest.raises(Stop):
        execute(small(), path, threads=1, checkpoint_every=7, progress=stop)


@pytest.mark.parametrize("damage", [False, True])
def test_the_record_of_a_resumed_run_names_both_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bool
) -> None:
    monkeypatch.setattr(environment, "commit", lambda: "first")
    half(tmp_path / "run")
    if damage:
        (tmp_path / "run" / "environment.json").write_text("{")
    monkeypatch.setattr(environment, "commit", lambda: "second+changes")
    execute(small(), tmp_path / "run", threads=1)
    found = RunFolder(tmp_path / "run").read_environment()
    record = read_record(tmp_path / "run", tmp_path)
    if damage:
        assert (record.commit, "sittings" in found) == ("second+changes", False)
        return
    assert record.commit == "first, second+changes"
    assert found["sittings"] == [{"after": 0, "commit": "first"}, {"after": 7, "commit": "second+changes"}]
    assert record.warnings == ()


def test_the_command_names_the_threads(tmp_path: Path) -> None:
    execute(small(federation={"rounds": 2}), tmp_path / "a b", threads=1)
    command = RunFolder(tmp_path / "a b").read_environment()["command"]
    assert shlex.split(command) == [
        "fedsiege", "run", str(tmp_path / "a b" / "config.yaml"), "--out", "again/a b", "--threads", "1",
    ]  # fmt: skip
