"""The page on Flower can be followed where Flower is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedsiege.errors import ConfigError
from fedsiege.redteam.choose import suited_attacks
from fedsiege.redteam.hostile import HOSTILE
from tests.docs.blocks import DOCS, blocks

PAGE = DOCS / "howto" / "flower.md"


def test_the_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "reader"}
    python = [block for block in blocks(PAGE) if block.kind == "python"]
    for block in python:
        exec(compile(block.text, PAGE.name, "exec"), names)
    assert 0 < sum(block.lines for block in python) < 30
    assert names["grid"].rewrite is not None  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="RedGrid"):
        names["AttackMod"]("minmax", {2})  # type: ignore[operator]


def test_the_page_names_every_attack() -> None:
    text = PAGE.read_text("utf-8")
    for name in (*HOSTILE, *suited_attacks()):
        assert re.search(rf"`{re.escape(name)}`", text), name
