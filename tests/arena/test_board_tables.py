"""Boards as Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from fedsiege.arena.board import Board
from fedsiege.arena.board_tables import latex, markdown
from fedsiege.arena.board_words import about, interval
from fedsiege.arena.boards import boards
from fedsiege.arena.clean_data import clean_data
from fedsiege.arena.stats import Estimate
from tests.arena.records import FakeCard, around, cell, record, toy


def board(records: list, **card: object) -> Board:
    return boards(records, {"": FakeCard(**card)})[0]  # type: ignore[arg-type]


def tables(text: str) -> list[list[list[str]]]:
    """The pipe tables of a Markdown text, as rows of cells."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        inside = line.startswith("|")
    return found


def test_numbers_with_and_without_an_interval() -> None:
    nan = math.nan
    assert interval(Estimate(0.5, 0.41, 0.62, 5)) == "0.5000 [0.4100, 0.6200]"
    assert interval(Estimate(0.5, nan, nan, 1)) == "0.5000"
    assert interval(Estimate(nan, nan, nan, 0)) == "–"
    assert about(Estimate(0.5, 0.4, 0.6, 5)) == "0.5000 ± 0.1000"
    assert about(Estimate(0.5, nan, nan, 1)) == "0.5000"


def test_markdown() -> None:
    text = markdown(board(toy()))
    ranking, corners, every = tables(text)
    assert text.startswith("## toy-v1 (0123456789ab)\n")
    assert ranking[0][:4] == ["defense", "worst case", "under", "adaptive attack"]
    assert [line[0] for line in ranking[2:]] == ["**krum**", "median", "FedAvg"]
    assert ranking[2][1].startswith("**0.4800 \\[0.")
    assert ranking[2][2] == "adaptive(fang)"
    assert ranking[2][-1] == "2.00 \\[2.00, 2.00\\] ×"
    assert corners[2][0] == "krum"
    assert [cell.split()[0] for cell in corners[2][1:5]] == ["0.6000", "0.5500", "0.2500", "0.4800"]
    assert [line[0] for line in corners[2:]] == ["krum", "median"]
    assert every[0][2:] == ["adaptive(fang)", "fang", "lie", "gaussian"]
    assert "- fang sees: coalition" in text
    assert "told the number of attackers: no defense" in text
    assert "Flags" not in text
    assert "Missing" not in text
    for table in tables(text):
        assert len({len(line) for line in table}) == 1


def test_the_threat_model_says_who_has_clean_data_and_how_entrants_may_be_tuned() -> None:
    bare = markdown(board(toy(), tuning=""))
    assert "clean training data" not in bare
    assert "tuning" not in bare
    runs = [r for d in ("fltrust (samples=100)", "fltrust") for r in cell("lie", "fltrust", [0.5], defense_label=d)]
    made = board([*toy(), *runs], tuning="At most 20 settings.")
    text = markdown(made)
    assert "- given clean training data on the server: " in text
    assert "fltrust (samples=100) (100 samples)" in text
    assert "fltrust (500 samples)" in text
    assert "- the card's rule of tuning: At most 20 settings\n" in text
    assert "the card's rule of tuning: At most 20 settings. " in latex(made)
    assert "tuning" not in markdown(boards(toy(), {})[0])


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("none", ""),
        ("median", ""),
        ("flcert (groups=5)", ""),
        ("fltrust", "500 samples"),
        ("flame+fltrust (samples=20)", "20 samples"),
        ("flcert (groups=5, rule={name: fltrust, samples: 30})", "30 samples"),
        ("flcert (rule=fltrust)", "500 samples"),
        ("someone's (samples=3)", ""),
    ],
)
def test_clean_data_are_told_from_the_label(label: str, said: str) -> None:
    assert clean_data(label) == said


def test_bold_is_what_wins_and_nothing_else() -> None:
    made = board(toy())
    every = tables(markdown(made))[2]
    head = every[0]
    for line in every[2:]:
        name = {"FedAvg": "none"}.get(line[0].strip("*"), line[0].strip("*"))
        row = next(r for r in made.rows if r.defense == name)
        bold = {head[i] for i, text in enumerate(line) if i and text.startswith("**")}
        assert bold == {("no attack" if win == "none" else win) for win in row.wins if win != "worst"}
    assert latex(made).count(r"\textbf") == markdown(made).count("**") // 2 - 3  # captions are bold in Markdown alone


def test_a_tie_is_bold_in_no_table() -> None:
    same = {(a, d): around(0.4) for a in ("none", "fang", "lie") for d in ("none", "krum")}
    records = [r for (a, d), values in same.items() for r in cell(a, d, values)]
    made = board(records)
    assert r"\textbf" not in latex(made)
    assert "**krum**" not in markdown(made)
    assert "**0." not in markdown(made)


def test_flags_are_footnotes() -> None:
    flagged = [replace(r, told=3, detection={"FPR_pooled": 0.5}) if r.defense == "krum" else r for r in toy()]
    made = board(flagged)
    text = markdown(made)
    assert "**krum** <sup>a,b</sup>" in text
    assert "- <sup>a</sup> the defense rejects more than 20 % of honest uploads" in text
    assert "- <sup>b</sup> was told the number of attackers" in text
    assert "told the number of attackers: krum" in text
    tex = latex(made)
    assert r"\textbf{krum}\textsuperscript{a,b}" in tex
    words = r"the defense rejects more than 20 \% of honest uploads, or expels as many honest clients."
    assert rf"\textsuperscript{{a}} {words}" in tex


def test_a_clean_run_outside_the_band_is_marked_in_its_cell() -> None:
    text = markdown(board(toy(), bands={"": (0.7, 0.8)}))
    assert "**0.6000 ± 0.0024** <sup>a</sup>" in text
    assert "- <sup>a</sup> the clean run lies outside the card's reference band" in text
    assert "reference band 0.7000 to 0.8000 (seed 0: 0.5960, " in text


def test_what_is_missing_is_listed() -> None:
    made = board([r for r in toy() if not (r.attack == "lie" and r.seed == 4)])
    assert "Missing:\n\n- krum × lie: seed 4 not run" in markdown(made)
    assert r"Missing: krum $\times$ lie: seed 4 not run; " in latex(made)


def test_a_mean_over_fewer_seeds_than_the_others_says_so() -> None:
    assert "(2 of 5) beside" not in markdown(board(toy()))
    gone = [r for r in toy() if not (r.attack == "lie" and r.defense == "median" and r.seed in (1, 3, 4))]
    text = markdown(board(gone))
    assert "(2 of 5) beside a mean" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| median") and " ± " in line]
    assert line.count("(2 of 5)") == 1
    gone = [r for r in toy() if not (r.attack == "adaptive(fang)" and r.defense == "krum" and r.seed == 0)]
    (first,) = [
        line for line in markdown(board(gone)).splitlines() if line.startswith("| krum") and "price" not in line
    ][:1]
    assert "] (4 of 5) | adaptive(fang) |" in first


def test_many_gaps_are_counted_where_a_float_must_hold_them() -> None:
    made = board([r for r in toy() if r.attack in ("none", "gaussian")], attacks=tuple(f"a{i}" for i in range(30)))
    lines = markdown(made).partition("Missing:")[2].strip().splitlines()
    assert len(lines) == len(made.missing) > 12
    (said,) = re.findall("Missing: (.*)", latex(made))
    assert said.count("; ") == 11
    assert f"; and {len(made.missing) - 11} cells more." in said


def test_why_an_adaptive_attack_does_not_count_is_said() -> None:
    made = board([r for r in toy() if not (r.adaptive and r.seed == 4)])
    reasons = [line for line in markdown(made).splitlines() if "do not count" in line]
    assert reasons == ["- Adaptive attacks that do not count for krum, median: adaptive(fang) lacks seed 4"]
    assert "do not count for krum, median: adaptive(fang) lacks seed 4." in latex(made)
    assert "do not count" not in markdown(board(toy()))


def test_a_board_of_clean_runs_alone() -> None:
    text = markdown(board(cell("none", "none", [0.5])))
    assert "with one seed there is no interval" in text
    assert tables(text)[0][2] == ["FedAvg (0 of 4 attacks)", "–", "–", "–", "0.5000", "0.0000", "1.00 ×"]
    assert latex(board(cell("none", "none", [0.5]))).count(r"\begin{table*}") == 2


def test_open_entries_say_what_they_changed() -> None:
    extra = [replace(r, division="open", changes=("server.lr",)) for r in toy() if r.defense == "krum"]
    made = board([*toy(), *extra])
    assert "krum (open: server.lr)" in markdown(made)
    assert "**krum (open" not in markdown(made)


NASTY = "lie_2 (a|b & c=50%, #1 $x$ {y} ~z ^w \\v <u> *t* `s`)\nnext"


def test_labels_cannot_break_markdown() -> None:
    records = [*toy(), *cell("lie", "krum", around(0.1), attack_label=NASTY)]
    text = markdown(board(records))
    for table in tables(text):
        assert len({len(line) for line in table}) == 1
    assert r"lie\_2 (a\|b & c=50%, \#1" in text
    assert r"\*t\*" in text
    assert "<u>" not in text.replace(r"\<u\>", "")


def test_labels_cannot_break_latex() -> None:
    records = [*toy(), *cell("lie", "krum", around(0.1), attack_label=NASTY, defense_label="krum_1")]
    tex = latex(board(records, id="x")).replace("\\\\\n", "<end of row>\n")
    assert r"lie\_2 (a\textbar{}b \& c=50\%, \#1 \$x\$ \{y\} \textasciitilde{}z \textasciicircum{}w" in tex
    assert r"\textbackslash{}v \textless{}u\textgreater{}" in tex
    assert not re.search(r"(?<!\\)[#_]", tex)
    assert tex.isascii()


def test_latex_takes_what_is_not_ascii() -> None:
    records = [*toy(), *cell("lie", "krum", around(0.1), attack_label="lie (β≥0.5 · 模 “ü”)")]
    assert r"lie ($\beta$$\geq$0.5 $\cdot$ U+6A21 “ü”)" in latex(board(records))


def test_a_setting_without_a_hash_has_no_empty_brackets() -> None:
    made = board(toy())
    assert "(0123456789ab)" in latex(made)
    assert "()" not in latex(replace(made, card_hash=""))


@pytest.mark.parametrize("name", ["[mine]", "*mine"])
def test_a_row_is_no_argument_of_the_row_above(name: str) -> None:
    tex = latex(board([*toy(), *cell("lie", name, around(0.1))]))
    assert "\n" + name not in tex
    assert "\n{}" + name in tex


@pytest.mark.parametrize("records", [toy(), [r for r in toy() if r.seed < 1], toy({("lie", "krum"): [math.nan] * 5})])
def test_latex_is_well_formed(records: list) -> None:
    tex = latex(board(records))
    depth = 0
    for char in re.sub(r"\\[{}\\]", "", tex):
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    found = re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}\n\\toprule\n(.*?)\\bottomrule", tex, re.DOTALL)
    assert len(found) == 3
    for columns, body in found:
        for line in body.splitlines():
            if line != r"\midrule":
                assert line.endswith(r" \\")
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
    assert tex.count(r"\begin{table*}") == tex.count(r"\end{table*}") == 3


def test_a_degree_has_a_name_of_its_own() -> None:
    made = boards([record("none", "none", 0, 0.5, degree="beta=0.1")], {"": FakeCard()})[0]
    assert "## toy-v1 (0123456789ab), beta=0.1" in markdown(made)
    assert r"\label{tab:toy-v1-beta-0-1-1}" in latex(made)
