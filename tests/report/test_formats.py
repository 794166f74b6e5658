"""A report as tables and figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fedsiege.errors import ConfigError, RunError
from fedsiege.report import build
from fedsiege.report.collect import collect
from fedsiege.report.formats import boards, file_name
from tests.report.carded import SEEDS, value, write_card
from tests.report.fakes import write_run, write_store


@pytest.fixture(scope="module")
def carded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_card(tmp_path_factory.mktemp("carded"))


def test_markdown_and_latex_hold_the_numbers(carded: Path, tmp_path: Path) -> None:
    mean = sum(value("adaptive(lie)", "union+multikrum", s) for s in range(SEEDS)) / SEEDS
    path = build(carded, tmp_path / "deep" / "board.md", title="My\nboard", format="md")
    assert path == tmp_path / "deep" / "board.md"
    text = path.read_text("utf-8")
    assert text.startswith("# My board\n")
    assert f"**{mean:.4f}" in text
    text = build(carded, tmp_path, format="latex")
    assert text == tmp_path / "report.tex"
    latex = text.read_text("utf-8")
    assert rf"\textbf{{{mean:.4f}" in latex
    assert latex.count(r"\begin{table") == latex.count(r"\end{table") > 0


def test_runs_without_a_card_are_compared_within_their_setting(tmp_path: Path) -> None:
    write_store(tmp_path, ("none", "fang"), ("none", "median"), 2)
    write_run(tmp_path / "other", dataset="elsewhere")
    found = boards(collect(tmp_path))
    assert [board.card for board in found] == ["elsewhere · mf · 5% malicious", "synthetic · mf · 5% malicious"]
    assert [row.defense for row in found[1].rows] == ["median", "none"]
    assert not any("card" in note.split(",")[0].lower() and "at hand" in note for note in found[1].notes)
    assert "elsewhere" in build(tmp_path, format="md").read_text("utf-8")


def test_figures_are_a_folder_of_files(carded: Path, tmp_path: Path) -> None:
    folder = build(carded, tmp_path / "figures", format="png")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{what}-game-v1.png" for what in ("cost", "curves", "grid", "leaderboard")]
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            low, high = picture.convert("L").getextrema()
            assert low < 80  # something is drawn,
            assert high == 255  # on white


def test_svg_and_pdf_are_the_same_every_time(carded: Path, tmp_path: Path) -> None:
    first, second = (build(carded, tmp_path / name, format="svg") for name in ("one", "two"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    text = (first / "leaderboard-game-v1.svg").read_text("utf-8")
    assert "union+multikrum" in text  # text stays text
    assert "median" in text
    one, two = (build(carded, tmp_path / name, format="pdf") for name in ("one.pdf", "two.pdf"))
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes().startswith(b"%PDF")
    assert one.read_bytes().count(b"/Type /Page ") == 4


def test_one_run_makes_figures_and_tables(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "fang", "krum")
    assert any(build(run, tmp_path / "figures", format="png").iterdir())
    assert "krum" in build(run, tmp_path / "one.md", format="md").read_text("utf-8")


def test_errors_name_the_remedy(carded: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for format_ in ("md", "pdf", "png"):
        with pytest.raises(RunError, match="choose another with --out"):
            build(carded, tmp_path / "file" / "x", format=format_)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="html"):
        build(carded, format="htm")  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no finished run"):
        build(tmp_path / "empty", format="md")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("grid a/../../b · 5% malicious", "grid-a-..-..-b-5pc-malicious"), ("../../etc", "etc"), ("·", "figure"),
        ("x" * 300, "x" * 100), ("<script>", "script"),
    ],
)  # fmt: skip
def test_names_of_files_are_harmless(text: str, name: str) -> None:
    assert file_name(text) == name
