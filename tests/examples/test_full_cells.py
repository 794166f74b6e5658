"""The script that runs full cells in pieces: what it asks for, and what its exit status says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fedsiege.arena.reproduce import plan

SCRIPT = Path(__file__).parents[2] / "examples" / "full_cells.sh"
SEVEN = {"fang", "lie", "minmax", "minsum", "mpaf", "dba", "scaling"}


def call(command: str, tmp_path: Path, *options: str, piece: int = 570) -> tuple[int, list[str]]:
    """Run the script with `command` in the place of `fedsiege`; return its status and the calls that it made."""
    log, bin_ = tmp_path / "log", tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "fedsiege").write_text(f'#!/bin/sh\necho "$@" >> {log}\n{command}\n')
    (bin_ / "fedsiege").chmod(0o755)
    path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PIECE": str(piece)}
    done = subprocess.run([SCRIPT, tmp_path / "runs", *options], env=env, check=False, timeout=300)
    return done.returncode, log.read_text().splitlines()


def test_it_asks_for_every_attack_against_the_defense_and_for_fedavg(tmp_path: Path) -> None:
    status, made = call("exit 0", tmp_path, "--seeds", "0")
    assert status == 0
    cells = []
    for line in made:
        words = line.split()
        assert words[0] == "reproduce"
        assert words[2] == "--cells"
        assert words[4:6] == ["--seeds", "0"]
        cells += [cell.label.split("/") for cell in plan(words[1], seeds=[0], cells=[words[3]])]
    assert {(c[0], c[1]) for c in cells} == {("convnet", "fashion-mnist")}
    assert {c[2] for c in cells if c[3] == "redefense"} == SEVEN
    assert {c[2] for c in cells if c[3] == "none"} == {"none"} | SEVEN


@pytest.mark.parametrize(("status", "calls"), [(0, 2), (75, 1), (1, 2), (2, 1)])
def test_its_status_is_that_of_the_first_call_that_did_not_end_well_and_a_bad_verdict_ends_nothing(
    tmp_path: Path, status: int, calls: int
) -> None:
    found, made = call(f"exit {status}", tmp_path)
    assert (found, len(made)) == (status, calls)
    assert made[0].startswith("reproduce icml24-table1 --cells convnet/fashion-mnist/*/redefense/* --jobs 1 --minutes")


def test_a_piece_that_runs_over_is_interrupted_and_may_be_called_again(tmp_path: Path) -> None:
    wait = "for _ in $(seq 200); do sleep 0.1; done"
    status, made = call(f'trap "echo interrupted >> {tmp_path}/log; exit 130" INT\n{wait}', tmp_path, piece=1)
    assert status == 75
    assert made[1:] == ["interrupted"]


def test_an_interrupt_by_hand_ends_a_loop_of_pieces(tmp_path: Path) -> None:
    assert call("exit 130", tmp_path)[0] == 130


def test_a_second_call_that_would_be_too_short_is_left_to_the_next_piece(tmp_path: Path) -> None:
    status, made = call("sleep 3", tmp_path, piece=4)
    assert status == 75
    assert len(made) == 1
