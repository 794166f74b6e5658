"""Tables on a terminal that is too narrow for them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from fedsiege.cli.console import WORD, show_table, table
from fedsiege.cli.reproduce import _with_interval

COLUMNS = ["name", *(f"measure {i}" for i in range(12))]


def test_numbers_and_short_words_stay_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    values = [f"0.{i:04d}" for i in range(12)]
    show_table(table("", COLUMNS, [["clusterattack", *values], ["x" * 3 * WORD, *values]], right=COLUMNS[1:]))
    said = capsys.readouterr().out
    assert all(said.count(value) == 2 for value in values)
    assert "clusterattack" in said
    assert "x" * WORD in said
    assert "x" * 3 * WORD not in said


def test_a_table_that_fits_keeps_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    show_table(table("", ["a", "b"], [["one", "many words that are folded where the line ends, as always"]]))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_an_interval_stands_behind_its_value() -> None:
    row = {"HR@5": 0.04, "HR@5 low": 0.03, "HR@5 high": 0.05, "paper": None, "seeds": 3}
    assert [_with_interval(row, c) for c in ("HR@5", "paper", "seeds")] == ["0.0400 [0.0300, 0.0500]", "–", "3"]


def test_a_listing_on_eighty_columns_loses_no_word(monkeypatch: pytest.MonkeyPatch, fedsiege: Callable) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = Counter(fedsiege("list").out.split())
    told: Counter[str] = Counter()
    for rows in json.loads(fedsiege("list", "--json").out).values():
        for row in rows:
            told.update(" ".join([row["name"], row["summary"], row.get("reference") or ""]).split())
    assert {word: n - shown[word] for word, n in told.items() if len(word) <= WORD and n > shown[word]} == {}
