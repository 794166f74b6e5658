"""Publications take turns, and leave nothing behind."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedsiege.arena.turns import LOCK, turn
from fedsiege.errors import RunError


def test_nobody_adds_to_what_another_is_adding_to(tmp_path: Path) -> None:
    file = tmp_path / "count"
    file.write_text("0")

    def add(_: int) -> None:
        with turn(tmp_path):
            before = int(file.read_text())
            time.sleep(0.001)
            file.write_text(str(before + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(80)))
    assert file.read_text() == "80"
    assert [p.name for p in tmp_path.iterdir()] == ["count"]


def test_a_turn_ends_with_an_error_and_is_not_lost_to_a_kill(tmp_path: Path) -> None:
    # As a process leaves it that was killed.
    (tmp_path / LOCK).touch()
    with pytest.raises(ZeroDivisionError), turn(tmp_path):
        1 / 0  # noqa: B018
    with turn(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(RunError, match=r"cannot publish in .*nowhere: No such file.*choose another"),
        turn(tmp_path / "nowhere"),
    ):
        pass
