from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fedsiege.errors import ConfigError
from fedsiege.report.collect import Board, collect
from fedsiege.report.terminal import detection_table, grid_table
from tests.report.fakes import score, write_run, write_store


def show(what: object, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return out.getvalue()


def test_the_grid_shows_the_stored_numbers(board: Board) -> None:
    text = show(grid_table(board))
    mean = sum(score("fang", "none", s) for s in range(3)) / 3
    assert f"{mean:.4f}±." in text
    assert "−50.0%" in text
    assert "baseline" in text
    assert "synthetic · mf · 5% malicious" in text


@pytest.mark.parametrize("width", [60, 80, 160])
def test_tables_fit_their_width(tmp_path: Path, width: int) -> None:
    defenses = ("none", "median", "krum", "multikrum", "normbound", "union+multikrum", "union+normbound")
    board = collect(write_store(tmp_path, ("none", "a rather long name of an attack"), defenses, 2))
    for renderable in (grid_table(board), detection_table(board)):
        text = show(renderable, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    assert "normbound" in show(grid_table(board), width)


def test_names_are_no_markup(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "[bold]x[/nothing]")
    assert "[bold]x[/nothing]" in show(grid_table(collect(tmp_path)), 120)


def test_damage_emptiness_and_unknown_metrics_are_told(tmp_path: Path, board: Board) -> None:
    assert "no finished run" in show(grid_table(collect(tmp_path)))
    with pytest.raises(ConfigError, match="HR@5"):
        grid_table(board, "HR@6")
    with pytest.raises(ConfigError, match="moment"):
        grid_table(board, moment="first")
    write_run(tmp_path / "good")
    (write_run(tmp_path / "bad", seed=1) / "config.yaml").write_text("[")
    assert "1 thing(s) could not be read" in show(grid_table(collect(tmp_path)))


def test_detection_lists_rates(board: Board) -> None:
    text = show(detection_table(board))
    assert "union+multikrum / fang" in text
    assert "0.9500" in text
