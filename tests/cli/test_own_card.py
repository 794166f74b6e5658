"""A card of one's own from the grid to the leaderboard: its metric, direction, bands and seeds count there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsiege.arena import grid
from fedsiege.arena.boards import boards
from fedsiege.arena.store import Store
from fedsiege.report.boards import leaderboards
from fedsiege.report.collect import collect
from tests.arena.games import Here

BACKDOOR: dict[str, Any] = {
    "id": "mine-v1",
    "title": "A backdoor that is wanted",
    "about": "Whoever owns the trigger wants it to work.",
    "dataset": {"name": "digits", "clients": 6, "partition": "iid", "samples": 200},
    "model": {"name": "mlp", "hidden": [8]},
    "federation": {"rounds": 2, "cohort": 1.0, "malicious": 0.34, "reserved": 0.0, "evaluate_every": 1},
    "metric": "ASR",
    "higher_is_better": True,
    "seeds": [0, 1],
    "bands": {"": [0.99, 1.0]},
    "attacks": ["none", {"name": "scaling", "target": 0}],
    "defenses": ["none", "median"],
}


@pytest.fixture
def played(fedsiege: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A grid of a card of one's own, whose file is gone afterwards."""
    whole = grid.run_cells
    monkeypatch.setattr(grid, "run_cells", lambda cells, jobs, tell, **_: whole(cells, jobs, tell, executor=Here()))
    Path("mine.yaml").write_text(yaml.safe_dump(BACKDOOR), "utf-8")
    listed = fedsiege("arena", "--card", "mine.yaml", "--out", "r", "--dry-run")
    assert (listed.status, Path("r").exists()) == (0, False)
    said = fedsiege("arena", "--card", "mine.yaml", "--out", "r", "--publish", "boards")
    assert said.status == 0, said.err
    Path("mine.yaml").unlink()
    return tmp_path / "r"


def test_a_card_of_ones_own_reaches_the_leaderboard_and_the_page(played: Path) -> None:
    with Store(played) as store:
        runs = store.records()
    # Without its card a board is in the metric of the model.
    assert runs[0].metric == "TACC"
    (unknown,) = boards(runs)
    assert (unknown.metric, unknown.clean_metric) == ("TACC", "TACC")
    found = leaderboards(collect(played))
    (board,) = found.boards
    assert (board.metric, board.clean_metric, board.higher_is_better) == ("ASR", "TACC", True)
    assert board.missing == ()
    assert [flag.code for flag in board.flags] == ["band"]
    assert not any("not at hand" in note for note in board.notes)
    assert next(iter(found.cards.values())).title == "A backdoor that is wanted"
    worst = [row.worst_score.value.mean for row in board.rows]
    assert worst == sorted(worst, reverse=True)
    asr = {(r.defense, r.seed): r.scores["ASR"] for r in runs if r.attack == "scaling"}
    for row in board.rows:
        assert row.worst_score.value.mean == pytest.approx((asr[row.defense, 0] + asr[row.defense, 1]) / 2)
    page = (played.parent / "boards" / "mine-v1.md").read_text("utf-8")
    assert "ASR on test data after the last round; higher is better for the defender." in page
