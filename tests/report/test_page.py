from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fedsiege.errors import RunError
from fedsiege.report import build
from fedsiege.report.cells import cells
from fedsiege.report.chart import compact, thin
from fedsiege.report.collect import Board, collect
from fedsiege.report.page import render
from tests.report.fakes import score, write_run, write_store

VOID = {"meta", "link", "br", "img", "input"}


class Outline(HTMLParser):
    """Collects tags and complains about those that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def parse(html: str) -> Outline:
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    return outline


def charts(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def column(table: dict[str, Any], name: str) -> list[Any]:
    """Decode a column as the page's script does."""

    def plain(values: Any) -> list[Any]:
        if isinstance(values, list):
            return values
        pairs = values["runs"]
        return [v for v, n in zip(pairs[::2], pairs[1::2]) for _ in range(n)]

    values = table[name]
    return [values["words"][i] for i in plain(values["at"])] if "words" in values else plain(values)


@pytest.fixture(scope="module")
def html(store: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedsiege.report.page.javascript", lambda: "/* vega */")
        return render(collect(store), "Board")


def test_the_page_is_well_formed_and_structured(html: str) -> None:
    outline = parse(html)
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("h1") == 1
    assert {"header", "nav", "main", "footer", "figure", "figcaption", "table", "caption"} <= set(tags)
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attrs in outline.tags:
        if tag == "section":
            assert attrs["aria-labelledby"] in ids
        if tag == "a" and (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids
        if attrs.get("class") == "stage":
            assert attrs["aria-label"]
        if tag == "th":
            assert attrs["scope"] in ("col", "row")


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    for tag, attrs in parse(html).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed")
        assert "src" not in attrs
        assert not (attrs.get("href") or "#").startswith(("http", "//"))
    assert not re.search(r'(src|href)\s*=\s*["\']?(https?:)?//', html)
    assert "@import" not in html
    assert "url(" not in html
    assert "$schema" not in html


def test_the_content_policy_names_the_scripts_that_may_run(html: str) -> None:
    policy = next(a["content"] for t, a in parse(html).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "unsafe-eval" not in policy


def test_numbers_of_the_page_are_the_stored_ones(html: str, board: Board) -> None:
    text = " ".join(" ".join(parse(html).text).split())
    mean = sum(score("fang", "none", s) for s in range(3)) / 3
    assert f"{mean:.4f}" in text
    assert "−50.0%" in text
    assert "0.9500" in text  # DACC
    assert "100 ms" in text
    grid = charts(html)["grid"]["table"]
    wanted = cells(board)
    assert column(grid, "loss") == pytest.approx(wanted["loss"].to_list(), abs=1e-6)
    assert column(grid, "attack") == wanted["attack"].to_list()
    curve = charts(html)["curves"]["table"]
    rows = zip(*(column(curve, n) for n in ("metric", "attack", "defense", "round", "mean")))
    assert ("HR@5", "fang", "none", 12, pytest.approx(mean, rel=1e-5)) in list(rows)


def test_every_chart_is_there(html: str) -> None:
    made = charts(html)
    assert list(made) == ["grid", "curves", "detection", "points", "densities", "cost"]
    for key, chart in made.items():
        assert f'data-chart="{key}"' in html
        sizes = {len(column(chart["table"], name)) for name in chart["table"]}
        assert len(sizes) == 1
        for name, _, default in chart["choices"]:
            assert default is None or default in column(chart["table"], name)
    points = made["points"]["table"]
    assert len(column(points, "x")) == 9 * 3 * 20


def test_texts_of_runs_are_escaped(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'"
    write_run(tmp_path / "a", dataset=evil, model=evil)
    write_run(tmp_path / "b", evil, dataset=evil, model=evil, command=evil)
    write_run(tmp_path / "c", evil, evil, dataset=evil, model=evil, command=evil)
    bad = write_run(tmp_path / "<i>bad", seed=5)
    (bad / "result.json").write_text("{")
    page = render(collect(tmp_path), evil)
    outline = parse(page)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<i>bad" not in page
    assert "&lt;i&gt;bad" in page
    assert [tag for tag, _ in outline.tags].count("script") == 4
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    assert evil in column(charts(page)["grid"]["table"], "attack")


def test_runs_that_nobody_attacked_are_told(tmp_path: Path) -> None:
    write_store(tmp_path, ("none", "fang"), ("none",), 2)
    assert "no malicious client took part" not in render(collect(tmp_path), "t")
    result = write_run(tmp_path / "spared", "lie", "none") / "result.json"
    stored = json.loads(result.read_text())
    stored["detection"] |= {"FNR": None, "FNR_pooled": None}
    result.write_text(json.dumps(stored))
    assert "In 1 run(s) of an attack no malicious client took part" in render(collect(tmp_path), "t")


def test_warnings_and_notes_are_told(tmp_path: Path) -> None:
    write_run(tmp_path / "good", told=3)
    write_run(tmp_path / "bad", seed=1)
    (tmp_path / "bad" / "result.json").write_text("{")
    text = " ".join(parse(render(collect(tmp_path), "Board")).text)
    assert "bad: left out, damaged" in text
    assert "1 thing(s) could not be read" in text
    assert "single seed" in text
    assert "told_byzantine" in text
    assert "told to expect 3" in text


def test_an_empty_board_says_so(tmp_path: Path) -> None:
    page = render(collect(tmp_path), "Board")
    parse(page)
    assert "No finished run was found" in page
    with pytest.raises(RunError, match="no finished run"):
        build(tmp_path)
    with pytest.raises(RunError, match="not a folder"):
        build(tmp_path / "nothing")


def test_a_store_of_damaged_runs_is_an_error_with_its_cause(tmp_path: Path) -> None:
    (write_run(tmp_path / "bad") / "result.json").write_text("{")
    with pytest.raises(RunError, match="bad: left out, damaged"):
        build(tmp_path)


def test_build_writes_one_file(tmp_path: Path, store: Path, real_bundle: None) -> None:
    path = build(store, tmp_path / "deep" / "page.html")
    assert path == tmp_path / "deep" / "page.html"
    page = path.read_text(encoding="utf-8")
    assert 500_000 < path.stat().st_size < 15 * 2**20
    assert "vegaEmbed" in page
    parts = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)\s*=", parts)
    (tmp_path / "folder").mkdir()
    assert build(store, tmp_path / "folder").name == "report.html"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, store: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write report"):
        build(store, tmp_path / "file" / "page.html")


def test_one_run_makes_a_page(tmp_path: Path) -> None:
    page = render(collect(write_run(tmp_path / "run", "fang", "krum")), "Board")
    parse(page)
    assert column(charts(page)["grid"]["table"], "headline")[0] == f"{score('fang', 'krum', 0):.4f}"


def test_tables_are_compact_and_thin(tmp_path: Path) -> None:
    board = collect(write_store(tmp_path, ("none", "fang"), ("none",), 2))
    frame = board.curves.with_columns(group=board.curves["run"].cast(str))
    table = compact(frame)
    assert column(table, "group") == frame["group"].to_list()
    assert column(table, "round") == frame["round"].to_list()
    assert "runs" in table["group"]["at"]
    from fedsiege.report.cells import curves, representatives

    every = curves(board)
    cell = ["group", "attack", "defense"]
    fewer, stride = thin(every, every.height // 2, [*cell, "metric"])
    assert (set(fewer["round"]), stride) == ({4, 12}, 2)  # the last round is always kept
    points = representatives(board, board.points)
    bad = points.filter("malicious").height
    assert 0 < bad < points.height
    fewer, stride = thin(points, points.height // 3, [*cell, "round"], pl.col("malicious"))
    assert stride > 2
    assert fewer.filter("malicious").height == bad
    assert fewer.height < points.height / 2
    assert fewer.select(*cell, "round").unique().height == points.select(*cell, "round").unique().height
    same, stride = thin(points, 10**6, cell)
    assert (same.height, stride) == (points.height, 1)


def test_a_small_page_keeps_every_cell_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_store(tmp_path, ("none", "fang", "lie"), ("none", "krum"), 1)

    def pairs(page: str, key: str) -> set[tuple[str, str]]:
        table = charts(page)[key]["table"]
        return set(zip(column(table, "attack"), column(table, "defense")))

    before = render(collect(root), "t")
    monkeypatch.setattr("fedsiege.report.charts._UPLOAD_ROWS", 40)
    page = render(collect(root), "t")
    for key in ("points", "densities"):
        assert len(pairs(before, key)) > 1
        assert pairs(page, key) == pairs(before, key)
    assert "To keep the page small" not in before
    assert re.search(r"To keep the page small, one of \d+ points of a curve is drawn", page)


def test_looks_of_lines_differ_without_colour() -> None:
    from fedsiege.report.print_figures import look

    plain = {(str(look(i)["linestyle"]), look(i)["marker"]) for i in range(40)}
    assert len(plain) == 40
    script = (files("fedsiege.report") / "page.js").read_text(encoding="utf-8")
    shapes = re.findall(r'"([^"]+)"', re.search(r"const SHAPES = \[(.*?)\];", script, re.DOTALL)[1])  # type: ignore[index]
    assert len(shapes) == len(set(shapes)) == 16
