"""Pages, README and examples: links lead somewhere, and what is shown is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from fedsiege import registry
from fedsiege.arena import card_file, plan
from fedsiege.arena.config import parse, read
from fedsiege.cli.main import COMMANDS, main
from tests.docs.blocks import DOCS, ROOT, blocks

TEXTS = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"])
TEXTS = [path for path in TEXTS if "_build" not in path.parts]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        there = (path.parent / target).resolve()
        if "://" in target:
            continue
        assert there.exists(), f"{name(path)} links to {target}"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_shown_configurations_are_valid(path: Path) -> None:
    for block in blocks(path):
        values = yaml.safe_load(block.text) if block.kind == "yaml" else None
        if values is None or values.get("plugins"):
            continue
        if "id" in values:
            card_file.parse(values, "card")
        elif "card" in values:
            assert plan.parse(values).cells(Path("runs"))
        else:
            parse(values)


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_examples_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_extra", dict(registry._extra))
    read(path)


def test_the_readme_names_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_extra", {})
    text = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    for kind in ("attacks", "defenses"):
        for entry in registry.entries(kind).values():
            plain = re.sub(r"[^a-z]", "", entry.name)
            assert entry.name == "none" or plain in re.sub(r"[^a-z|]", "", text), entry.name


def test_every_command_is_documented() -> None:
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    names = [command.__metadata__[0].name for command in get_args(COMMANDS)]
    assert len(names) > 10
    for command in (*names, "data fetch", "data info", "store info", "store rebuild", "store replay"):
        assert f"`fedsiege {command}" in text, command


def test_every_key_of_a_record_is_documented(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "dataset: {name: synthetic, users: 60, items: 80, interactions: 1200}\n"
        "federation: {rounds: 2, cohort: 10, evaluate_every: 2, project_every: 2}\n",
        encoding="utf-8",
    )
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 0
    text = (DOCS / "reference" / "run_folder.md").read_text(encoding="utf-8")
    for file in ("rounds.jsonl", "result.json"):
        content = (tmp_path / "run" / file).read_text("utf-8")
        keys = json.loads(content.splitlines()[-1] if file.endswith("l") else content)
        missing = [key for key in keys if f"`{key}`" not in text]
        assert not missing, f"{file}: {missing}"
    left = {p.name for p in (tmp_path / "run").iterdir()} - {".lock"}
    assert all(f"`{file}`" in text for file in left)
