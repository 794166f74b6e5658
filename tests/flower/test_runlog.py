"""The log of rehearsals: what it tells of a run, and what it keeps to itself."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
APP = EXAMPLES / "flower_redefense"


@pytest.fixture
def runlog(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, which lies beside the script that uses it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("runlog")


def upload(node: int, *, accepted: bool = True, expelled: bool = False, reason: str = "") -> dict[str, Any]:
    return {
        "node": node, "client": node - 7, "identity": f"node:{node}",
        "accepted": accepted, "expelled": expelled, "reason": reason,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rounds", "told"), [([], ""), ([4], "4"), ([1, 2, 3], "1-3"), ([5, 1, 2, 7, 8], "1-2, 5, 7-8")]
)
def test_round_numbers_are_told_as_spans(runlog: Any, rounds: list[int], told: str) -> None:
    assert runlog.spans(rounds) == told


def test_a_command_names_no_folder_of_the_machine(runlog: Any, tmp_path: Path) -> None:
    words = [str(EXAMPLES / "loopback.py"), str(APP), "--tls", "--out", str(tmp_path), "--title", "a b", "--run-config"]
    words += ["rounds=3", f"nodes-folder={tmp_path}"]
    assert runlog.command(words) == (
        "python examples/loopback.py examples/flower_redefense --tls --run-config rounds=3"
    )


def test_an_entry_tells_settings_verdicts_and_who_was_malicious(runlog: Any, tmp_path: Path) -> None:
    bad = upload(8, accepted=False, reason="odd")
    out = upload(8, accepted=False, expelled=True, reason="odd twice")
    rounds = [{"round": 1, "uploads": [upload(7), bad]}, {"round": 2, "uploads": [upload(7), out]}]
    rounds.append({"round": 3, "uploads": [upload(7)]})
    result = {"accuracy": 0.5, "rounds": rounds, "places": {7: 0, 8: 2}}
    changes = {"rounds": 3, "out-folder": str(tmp_path)}
    lines = runlog.entry("a title", ["x.py"], APP, changes, ["1 s  began"], result, {2: "noise"}).splitlines()
    assert lines[0] == "== a title"
    assert "numpy" in lines[2]
    assert lines[3] == "rounds=3 learning-rate=0.1"
    assert lines[4:8] == [
        "1 s  began",
        "3 rounds; verdicts:",
        "  client 0 (node:7, SuperNode 0)  accepted [round 1-3]",
        "  client 1 (node:8, SuperNode 2, malicious: noise)  rejected: odd [round 1]; expelled: odd twice [round 2]",
    ]
    assert lines[8] == 'result: {"accuracy": 0.5}'
    assert str(tmp_path) not in "\n".join(lines)


def test_a_wait_that_fails_shows_the_ends_of_all_logs(runlog: Any, tmp_path: Path) -> None:
    loopback = importlib.import_module("loopback")
    (tmp_path / "superlink.log").write_text("\n".join(f"line {i}" for i in range(40)), encoding="utf-8")
    (tmp_path / "run.log").write_bytes(b"\xffbroken")
    assert loopback.last_words(tmp_path, 2).splitlines() == [
        "--- run.log", "\N{REPLACEMENT CHARACTER}broken", "--- superlink.log", "line 38", "line 39",
    ]  # fmt: skip
