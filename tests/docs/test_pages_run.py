"""What the pages tell a reader to type works: files are written, commands run, Python is executed, in order."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from fedsiege import registry
from fedsiege.cli.main import main
from tests.docs.blocks import DOCS, blocks

HOWTO = ("attack", "defense", "data", "images", "arena", "store")
PAGES = ["getting_started", *(f"howto/{page}" for page in HOWTO), "reproduce"]
LIMIT = 30


@pytest.fixture(autouse=True)
def _same_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_extra", dict(registry._extra))


def follow(page: str) -> None:
    """Do what a page says in the current folder."""
    names: dict[str, object] = {"__name__": "reader"}
    for block in blocks(DOCS / f"{page}.md"):
        if block.name is not None:
            Path(block.name).write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            exec(compile(block.text, f"{page}.md", "exec"), names)
        elif block.kind == "console":
            assert block.commands
            for command in block.commands:
                program, *words = shlex.split(command)
                assert program == "fedsiege"
                assert main(words) == 0, command


def score(run: str, metric: str = "HR@10") -> float:
    return json.loads(Path("runs", run, "result.json").read_text("utf-8"))["last"]["metrics"]["test"][metric]


def detection(run: str) -> dict[str, float]:
    return json.loads(Path("runs", run, "result.json").read_text("utf-8"))["detection"]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_can_be_followed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSIEGE_THREADS", "1")
    follow(page)
    if page == "howto/attack":
        # As the page says of its three runs.
        assert score("reverse") < 0.5 * score("clean")
        assert score("bounded") > 0.8 * score("clean")
    if page == "howto/defense":
        assert detection("strikes")["FNR"] < 0.5
        assert detection("price")["FPR"] < 0.1
    if page == "howto/images":
        assert score("backdoor", "TACC") > 0.5
        assert score("own", "TACC") > 0.5
    if page == "howto/arena":
        cards = {json.loads(p.read_text("utf-8"))["card"]["id"] for p in Path("runs").rglob("result.json")}
        assert cards == {"demo-v1", "half-v1"}
        # One run is in both of the first grids.
        assert len(list(Path("runs").rglob("result.json"))) == 8 + 4 - 1 + 8
    if page.startswith("howto") and page not in ("howto/data", "howto/arena", "howto/store"):
        assert Path("runs/report.html").is_file()


@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("howto")])
def test_a_reader_writes_little(page: str) -> None:
    python = sum(block.lines for block in blocks(DOCS / f"{page}.md") if block.kind == "python")
    assert 0 < python < LIMIT
