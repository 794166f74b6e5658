"""The leaderboard of a card on the page: what it says, how it is marked up, and what it lets through."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena.flags import RULES, Flag
from fedsiege.arena.stats import Estimate
from fedsiege.report import leaderboard_words as marks
from fedsiege.report.boards import Leaderboards, leaderboards
from fedsiege.report.collect import collect
from fedsiege.report.leaderboard import columns
from fedsiege.report.leaderboard import section as leaderboard
from fedsiege.report.leaderboard_detail import detail, seconds
from fedsiege.report.page import render
from tests.report.carded import CARD, SEEDS, value, write_card, write_cell
from tests.report.fakes import write_run
from tests.report.test_page import parse

NAN = float("nan")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_card(tmp_path_factory.mktemp("carded"))
    write_cell(folder, "fang", "median", 0, degree="skewed")
    changed = {"division": "open", "changes": ["federation.rounds"]}
    for attack in ("none", "fang"):
        write_run(folder / "open" / attack, attack, "median", 0, rounds=8, card={**CARD, **changed}, value=0.04)
    return folder


@pytest.fixture(scope="module")
def found(root: Path) -> Leaderboards:
    return leaderboards(collect(root))


@pytest.fixture(scope="module")
def html(found: Leaderboards) -> str:
    return leaderboard(found.boards[0], "table1", found.places)


class Table(HTMLParser):
    """Reads the rows of the table with an id: attributes and texts of the cells of each body's first row."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.depth = name, 0
        self.head: list[dict[str, Any]] = []
        self.rows: list[list[dict[str, Any]]] = []
        self._cell: dict[str, Any] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "table":
            self.depth += 1 if self.depth or values.get("id") == self.name else 0
        if self.depth != 1:
            return
        if tag == "tbody":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = {**values, "text": ""}
            (self.rows[-1] if self.rows else self.head).append(self._cell)

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self.depth:
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth == 1 and self._cell is not None:
            self._cell["text"] += data


def table(html: str) -> Table:
    read = Table("table1")
    read.feed(html)
    return read


def test_rows_stand_by_worst_case_with_their_numbers(html: str) -> None:
    rows = {row[1]["data-v"]: row for row in table(html).rows[:4]}
    closed = [row[1]["data-v"] for row in table(html).rows][:4]
    assert closed == ["union+multikrum", "none", "krum", "median"]  # the median was spared an attack
    worst = [sum(value("adaptive(lie)", d, s) for s in range(SEEDS)) / SEEDS for d in closed[:3]]
    for name, mean in zip(closed, worst):
        cell = rows[name][2]
        assert float(cell["data-v"]) == pytest.approx(mean)
        assert cell["text"].startswith(f"{mean:.4f}")
        assert "under adaptive(lie)" in cell["text"]
    union = [cell["text"] for cell in rows["union+multikrum"]]
    assert "★ best" in union[2]
    assert "0.0022 · 4.0% lost" in union[4]
    assert "adaptive(lie)" in union[5]
    assert union[6].startswith("5.00 ×[5.00, 5.00]500 ms")
    assert "never faced one" in rows["median"][5]["text"]
    assert "faced 2 of 3 attacks" in rows["median"][2]["text"]
    assert "rejects honest" in rows["krum"][7]["text"]
    assert "adaptive attack lacking" in rows["median"][7]["text"]


def test_every_cell_of_a_sortable_column_has_a_key_or_is_missing(html: str) -> None:
    read = table(html)
    heads = [cell["text"].strip() for cell in read.head]
    assert heads == ["#", "defense", "worst case (HR@5)", "clean (HR@5)", "price", "adaptive", "time", "flags"]
    assert [cell.get("aria-sort") for cell in read.head] == ["ascending", *[None] * 7]
    for row in read.rows:
        assert len(row) == len(heads) + 1  # and the row that it opens into
        for number, cell in enumerate(row[:-1]):
            if "data-v" in cell and number != 1:
                float(cell["data-v"])
    keys = [[row[column].get("data-v") for row in read.rows] for column in range(8)]
    assert keys[0] == [str(rank) for rank in range(1, 6)]
    assert keys[5].count(None) == 2  # the median, closed and open
    assert all(key is not None for key in keys[2] + keys[3] + keys[7])


def test_the_table_works_by_keyboard_and_for_screen_readers(html: str) -> None:
    outline = parse(f"<main>{html}</main>")
    ids = {attrs["id"] for _, attrs in outline.tags if "id" in attrs}
    sorts = [a for tag, a in outline.tags if tag == "button" and a.get("class") == "sort"]
    assert len(sorts) == 8
    assert {a["data-first"] for a in sorts} == {"ascending", "descending"}
    opens = [a for tag, a in outline.tags if tag == "button" and a.get("class") == "open"]
    assert len(opens) == 5
    for attrs in opens:
        assert attrs["aria-controls"] in ids
        assert attrs["aria-expanded"] == "false"
    for tag, attrs in outline.tags:
        if tag == "th":
            assert attrs["scope"] in ("col", "row")
        if tag == "svg":
            assert attrs["aria-hidden"] == "true"  # its numbers stand beside it
        assert not any(name.startswith("on") for name in attrs)


def test_badges_tell_the_threat_model(html: str) -> None:
    text = " ".join(" ".join(parse(f"<main>{html}</main>").text).split())
    assert "card game-v1 (ab12cd34ef56)" in text
    assert "fang sees coalition + model" in text
    assert "not told how many attackers there are" in text
    assert "closed, but for median (open: those rows say what was changed)" in text
    assert "seeds 0–4" in text
    assert "◇ open division" in text
    assert re.search(r"changed against the card: +federation\.rounds", text)


def test_a_told_defense_has_a_badge(tmp_path: Path) -> None:
    for attack in ("none", "fang"):
        write_run(tmp_path / attack, attack, "krum", told=3, card=CARD)
    found = leaderboards(collect(tmp_path))
    text = " ".join(parse(f"<main>{leaderboard(found.boards[0], 't', {})}</main>").text)
    assert "◉ told" in text
    assert "told how many attackers there are" in text
    assert "not told" not in text


def test_clean_data_on_the_server_and_the_rule_of_tuning_have_badges(tmp_path: Path) -> None:
    for attack in ("none", "fang"):
        write_run(tmp_path / attack, attack, "fltrust", card=CARD)
    board = leaderboards(collect(tmp_path)).boards[0]
    text = " ".join(parse(f"<main>{leaderboard(board, 't', {})}</main>").text)
    assert re.search(r"clean data on the server +fltrust.* \(\d+ samples\)", text)
    assert "tuning" not in text
    tuned = leaderboard(replace(board, tuning="none at all"), "t", {})
    assert re.search(r"tuning +none at all", " ".join(parse(f"<main>{tuned}</main>").text))


def test_the_legend_explains_every_flag(html: str) -> None:
    text = " ".join(parse(f"<main>{html}</main>").text)
    for code in ("rejects", "unadapted"):
        assert RULES[code] in text
        assert marks.NAMES[code] in text
    assert set(marks.NAMES) == set(RULES)
    assert "No flag was raised. Checks that could not be made" in marks.legend([])
    assert "a new one" in marks.legend([Flag("new", "a new one")])


def test_whom_a_defense_expels_stands_beside_the_rates_of_uploads(found: Leaderboards) -> None:
    board = found.boards[0]
    row = next(r for r in board.rows if r.defense == "krum")
    text = detail(board, row, found.places)
    assert "expelled" not in text
    rates = {"FPR": 0.015, "FPR_final": 0.286, "FNR": 1.0, "FNR_final": 0.0}
    for expelled, said in ((rates, 1), ({**rates, "FPR_final": NAN, "FNR_final": NAN}, 0)):
        text = detail(board, replace(row, clean=replace(row.clean, detection=expelled)), found.places)
        assert text.count('data-label="honest rejected">1.5%<small>28.6% expelled</small>') == said
        assert text.count('data-label="malicious accepted">100.0%<small>0.0% never expelled</small>') == said


def test_a_cell_opens_into_corners_commands_and_its_curve(html: str, found: Leaderboards) -> None:
    text = " ".join(" ".join(parse(f"<main>{html}</main>").text).split())
    clean, attacked = (sum(value(a, "none", s) for s in range(SEEDS)) / SEEDS for a in ("none", "adaptive(lie)"))
    corners = text.split("Four corners")[1][:400]
    assert f"{clean:.4f}" in corners
    assert f"{attacked:.4f}" in corners
    for seed in range(SEEDS):
        assert f"seed {seed} fedsiege run lie-krum-{seed}/config.yaml Copy" in text
    links = [a for tag, a in parse(f"<main>{html}</main>").tags if a.get("class") == "curve"]
    assert links
    places = set(found.places.values())
    for link in links:
        assert link["href"] == "#curves"
        assert any(
            (p.group, p.attack, p.defense) == (link["data-group"], link["data-attack"], link["data-defense"])
            for p in places
        )


def test_a_board_for_each_card_and_degree_with_notes_and_gaps(found: Leaderboards) -> None:
    assert [(b.card, b.degree) for b in found.boards] == [("game-v1", ""), ("game-v1", "skewed")]
    html = leaderboard(found.boards[1], "t", found.places)
    assert "gap" in html
    assert "not at hand" in html
    assert "none × none" in html


def test_the_page_has_a_section_for_each_board(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsiege.report.page.javascript", lambda: "/* vega */")
    page = render(collect(root), "Board")
    outline = parse(page)
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {"board1", "board2", "table1", "table2"} <= set(ids)
    assert ids.index("board1") < ids.index("grid")
    assert 'href="#board1">game-v1</a>' in page
    groups = {a["data-group"] for _, a in outline.tags if a.get("class") == "curve"}
    assert any(group == "game-v1 · skewed" for group in groups)


def test_a_store_without_cards_has_no_board_and_no_index(store: Path) -> None:
    before = sorted(p.name for p in store.iterdir())
    assert leaderboards(collect(store)) == Leaderboards()
    assert sorted(p.name for p in store.iterdir()) == before


def test_names_of_a_card_are_escaped(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"
    card = {"id": evil, "hash": evil, "degree": evil, "division": "open", "changes": [evil]}
    for number, (attack, defense) in enumerate((("none", "none"), (evil, "none"), ("none", evil), (evil, evil))):
        write_run(tmp_path / str(number), attack, defense, card=card, command=evil, told=1)
    page = render(collect(tmp_path), evil)
    outline = parse(page)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert [tag for tag, _ in outline.tags].count("script") == 4
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    assert any(a.get("data-attack") == evil for _, a in outline.tags)


def test_a_metric_of_which_little_is_good_sorts_upwards(found: Leaderboards) -> None:
    board = replace(found.boards[0], metric="ASR", clean_metric="TACC", higher_is_better=False)
    assert [c.first for c in columns(board)][2] == "ascending"
    assert [c.first for c in columns(found.boards[0])][2] == "descending"
    html = leaderboard(board, "t", {})
    assert "clean (TACC)" in html
    assert 'class="ref"' not in html  # two metrics do not share a scale


def test_numbers_in_words() -> None:
    assert marks.score(Estimate(NAN, NAN, NAN, 0)) == "–"
    assert marks.score(Estimate(0.5, NAN, NAN, 1)) == '0.5000<small class="ci">1 seed</small>'
    assert marks.score(Estimate(0.5, 0.4, 0.6, 3)) == '0.5000<small class="ci">[0.4000, 0.6000]</small>'
    assert marks.price(Estimate(0.1, 0.05, 0.2, 3), Estimate(0.2, NAN, NAN, 3)) == (
        '0.1000 · 20.0% lost<small class="ci">[0.0500, 0.2000]</small>'
    )
    unknown = Estimate(NAN, NAN, NAN, 0)
    assert marks.price(Estimate(-0.1, NAN, NAN, 1), unknown) == '−0.1000<small class="ci">1 seed</small>'
    assert marks.price(Estimate(-0.1, -0.2, -0.00001, 2), Estimate(-0.2, NAN, NAN, 2)) == (
        '−0.1000 · 20.0% gained<small class="ci">[−0.2000, 0.0000]</small>'
    )
    assert marks.price(Estimate(0.0, NAN, NAN, 1), Estimate(0.0, NAN, NAN, 1)).startswith("0.0000 · 0.0%<")
    assert marks.key(None) == marks.key(NAN) == ""
    assert marks.key(0.25) == ' data-v="0.25"'
    assert marks.rate(0.125) == "12.5%"
    assert marks.span(Estimate(0.5, 0.25, 0.75, 3), NAN, 1.0, 1.0).count("<path") == 3
    assert 'cx="60.0"' in marks.span(Estimate(0.5, NAN, NAN, 1), NAN, NAN, 1.0)
    assert marks.span(Estimate(0.0, NAN, NAN, 1), NAN, NAN, 0.0) == ""


def test_a_price_is_one_share_everywhere_on_the_page(tmp_path: Path) -> None:
    clean, guarded = (0.04, 0.08), (0.02, 0.08)  # the mean of the losses is 25 %, the loss of the means 16.7 %
    for seed in range(2):
        for defense, values in (("none", clean), ("krum", guarded)):
            for attack in ("none", "fang"):
                write_run(tmp_path / f"{attack}-{defense}-{seed}", attack, defense, seed, value=values[seed], card=CARD)
    page = render(collect(tmp_path), "t")
    assert "When nobody attacks and krum stands guard, HR@5 falls by 25.0%." in page
    assert "0.0100 · 25.0% lost" in page
    assert "−25.0%" in page  # the table of costs
    assert "−16.7%" not in page


def test_time_of_a_round_is_the_mean_of_the_runs(found: Leaderboards) -> None:
    row = next(r for r in found.boards[0].rows if r.defense == "krum")
    assert seconds(row.clean) == pytest.approx(0.2)
    open_ = next(r for r in found.boards[0].rows if r.defense == "none")
    slow = tuple(replace(r, hardware="old", seconds_per_round=9.0) if r.seed == 1 else r for r in row.clean.records)
    mixed = replace(row.clean, records=slow)
    assert seconds(mixed) > 1
    assert seconds(mixed, open_.clean) == pytest.approx(0.2)  # of the runs that the ratio compares
    elsewhere = replace(row.clean, records=tuple(replace(r, hardware="old") for r in row.clean.records))
    assert seconds(elsewhere, open_.clean) == pytest.approx(0.2)
    assert row.cost.mean == pytest.approx(2.0)


def test_a_row_says_why_it_is_doubted_and_keeps_its_name(found: Leaderboards) -> None:
    board = found.boards[0]
    row = next(r for r in board.rows if r.defense == "krum")
    html = re.sub(r' title="[^"]*"', "", leaderboard(board, "t", {}))
    for flag in row.flags:
        assert escape(flag.message) in html
    names = set(re.findall(r'aria-controls="(t-[^"]+)"', html))
    assert len(names) == len(board.rows)
    turned = leaderboard(replace(board, rows=board.rows[::-1]), "t", {})
    assert set(re.findall(r'aria-controls="(t-[^"]+)"', turned)) == names
    order = [re.search(r'id="(t-[^"]+)"', part)[1] for part in turned.split('class="more"')[1:]]  # type: ignore[index]
    again = [re.search(r'id="(t-[^"]+)"', part)[1] for part in html.split('class="more"')[1:]]  # type: ignore[index]
    assert order == again[::-1]
