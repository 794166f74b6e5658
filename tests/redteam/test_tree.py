"""The copy of an app's folder in which a run works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedsiege.errors import ConfigError, RunError
from fedsiege.redteam.audit import tree as module
from fedsiege.redteam.audit.tree import lay_out, survey, tidy


def inside(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() or p.is_symlink()}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    names = "pyproject.toml .env pkg/task.py data/big/x.bin pkg/__pycache__/task.pyc .git/HEAD env/pyvenv.cfg"
    for name in f"{names} env/lib/torch.py audit-old/a/result.json results/nan_own_seed0/job.json".split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_a_copy_is_real_and_what_is_left_as_it_was_goes(app: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (app / "data" / "linked.txt").symlink_to(outside)
    (app / "data" / "up").symlink_to(app)  # A circle.
    (app / "data" / "gone").symlink_to(tmp_path / "nowhere")
    (app / "data" / "itself").symlink_to("itself")
    os.mkfifo(app / "pipe")
    (app / "pkg" / "task.py").chmod(0o750)
    work = app / "results" / "nan_own_seed0" / "work"
    tree = survey(app, app / "results")
    stamps = lay_out(tree, work)
    assert inside(work) == {"pyproject.toml", ".env", "pkg/task.py", "data/big/x.bin", "data/linked.txt"}
    assert not any(p.is_symlink() for p in work.rglob("*"))
    copied, own = (work / "pkg" / "task.py").stat(), (app / "pkg" / "task.py").stat()
    assert (copied.st_mode, copied.st_mtime_ns) == (own.st_mode, own.st_mtime_ns)
    assert (work / "data" / "big" / "x.bin").read_text() == "data/big/x.bin"

    (work / "data" / "linked.txt").write_text("hurt")
    (work / "data" / "big" / "x.bin").write_text("hurt/hurt/hurt")  # As long as it was.
    (work / "data" / "new.txt").write_text("new")
    (work / "pkg" / "__pycache__").mkdir()
    (work / "pkg" / "__pycache__" / "task.pyc").write_text("made by an import")
    tidy(tree, work, stamps)
    assert inside(work) == {"data/linked.txt", "data/big/x.bin", "data/new.txt"}
    assert not (work / "pkg").exists()
    assert outside.read_text() == "mine"
    assert (app / "data" / "big" / "x.bin").read_text() == "data/big/x.bin"

    lay_out(tree, work)  # What an earlier run has left is no part of the next one.
    assert not (work / "data" / "new.txt").exists()
    assert (work / "data" / "linked.txt").read_text() == "mine"


def test_what_is_named_is_linked(app: Path, tmp_path: Path) -> None:
    tree = survey(app, tmp_path / "out", ["data/big/", ".git"])
    stamps = lay_out(tree, tmp_path / "out" / "work")
    assert (tmp_path / "out" / "work" / "data" / "big").resolve() == app / "data" / "big"
    assert (tmp_path / "out" / "work" / ".git" / "HEAD").read_text() == ".git/HEAD"
    tidy(tree, tmp_path / "out" / "work", stamps)
    assert not (tmp_path / "out" / "work").exists()
    assert (app / "data" / "big" / "x.bin").is_file()
    for wrong in ("date", "../app", "/etc", "."):
        with pytest.raises(ConfigError, match=f"--link {wrong}: there is no such"):
            survey(app, tmp_path / "out", [wrong])


def test_a_large_folder_is_refused_by_name(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (app / "data" / "big" / "y.bin").open("wb") as file:
        file.truncate(module.LIMIT)  # A hole: no room is taken.
    with pytest.raises(ConfigError, match=r"more than 2 GB, most of it in data, .* such as --link data"):
        survey(app, tmp_path / "out")
    assert Path("data/big/y.bin") not in survey(app, tmp_path / "out", ["data"]).files


def test_a_full_disk_is_named_and_leaves_nothing(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(RunError, match="No space left on device"):
        lay_out(survey(app, tmp_path / "out"), tmp_path / "out" / "work")
    assert not (tmp_path / "out" / "work").exists()
