"""What pages say of stored runs in numbers is what these hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scipy.stats import hypergeom

from fedsiege.arena.card_file import load
from fedsiege.arena.targets.aaai23 import AAAI23
from fedsiege.attacks.lie import z_max
from fedsiege.data.cards import CARDS
from tests.docs.blocks import DOCS

PAGE = (DOCS / "results.md").read_text("utf-8")
CELLS = {
    "clean HR@5": ("aaai23-table1", "mf", "none", 0.0),
    "FedAttack, 1 %: lost": ("aaai23-table1", "mf", "fedattack", 0.01),
    "LIE, 1 %: lost": ("aaai23-table1", "mf", "lie", 0.01),
    "LIE, 5 %: lost": ("aaai23-table5", "mf", "lie", 0.05),
    "Fang, 1 %: lost": ("aaai23-table1", "mf", "fang", 0.01),
    "Fang, 5 %: lost": ("aaai23-table5", "mf", "fang", 0.05),
    "ClusterAttack, 5 %: lost": ("aaai23-table5", "mf", "clusterattack", 0.05),
    "ClusterAttack, 0.5 %: lost": ("aaai23-table4", "mf", "clusterattack", 0.005),
    "ClusterAttack on SASRec, 1 %: lost": ("aaai23-table1-small", "sasrec", "clusterattack", 0.01),
}
"""Rows of the table of differences: where each stands."""
SASREC = (0.10810 - 0.06547) / 0.10810
"""What SASRec loses on ML-1M in Table 1 of the paper, which the stored run of ML-100K has no column for."""


def shares(path: Path, defense: str) -> list[float]:
    """Honest uploads rejected without an attack, of each run that a page rests on."""
    runs = json.loads(path.read_text("utf-8"))["runs"]
    mine = [r for r in runs if r["defense"] == defense and r["attack"] == "none"]
    return [r["detection"]["FPR_pooled"] for r in mine]


def shown(row: dict[str, Any], name: str) -> str:
    """A value as the page writes it, with its interval over several seeds."""
    scale, digits = (1, 4) if name == "HR@5" else (100, 1)
    keys = (name, f"{name} low", f"{name} high")
    value, *ends = (f"{scale * row[key]:.{digits}f}" for key in keys if row.get(key) is not None)
    said = f"{value} [{ends[0]}, {ends[1]}]" if row["seeds"] > 1 else value
    return said.replace("-", "−") + (" %" if scale == 100 else "")


def test_the_table_of_differences_is_of_stored_runs() -> None:
    found = {
        cells[0]: cells[1:3]
        for line in PAGE.splitlines()
        if line.startswith("  | ") and len(cells := [text.strip() for text in line.strip(" |").split("|")]) == 4
    }
    assert set(CELLS) == set(found) - {"cell", "---"}
    for label, (file, model, attack, share) in CELLS.items():
        rows = json.loads((DOCS / "results" / f"{file}.json").read_text("utf-8"))["rows"]
        row = next(
            r for r in rows if (r["model"], r["attack"], r["malicious"], r["defense"]) == (model, attack, share, "none")
        )
        name = "HR@5" if label.endswith("HR@5") else "loss"
        printed = row["HR@5 paper"] if name == "HR@5" else row.get("loss paper")
        paper = SASREC if printed is None else printed
        assert found[label] == [shown(row, name), f"{paper:.4f}" if name == "HR@5" else f"{100 * paper:.1f} %"], label


def test_what_the_page_says_of_z_is_the_formula() -> None:
    few, many = hypergeom(6040, 60, 50), hypergeom(6040, 302, 50)
    alone = [(d.cdf(2) - d.pmf(0)) / d.sf(0) for d in (few, many)]
    assert alone == pytest.approx([0.967, 0.502], abs=1e-3)
    assert few.sf(0) == pytest.approx(0.394, abs=1e-3)
    assert [z_max(50, m) for m in (1, 2)] == [1.5, 1.5]
    assert [f"{z_max(50, m):.2f}" for m in (3, 4, 5)] == ["0.03", "0.05", "0.08"]
    text = " ".join(PAGE.split())
    assert "that is 97 % of the rounds with an attacker" in text
    assert "39 % of all rounds have one" in text
    assert "z falls to 0.03, then to 0.05 with four and 0.08 with five" in text


def test_what_rules_reject_without_an_attack_is_of_stored_runs() -> None:
    text = (DOCS / "howto" / "flower.md").read_text("utf-8")
    boards = DOCS / "boards"
    trust = shares(boards / "img-untargeted-v1-lite.json", "fltrust")
    flame = shares(boards / "img-untargeted-v1-lite.json", "flame")
    assert len(trust) == len(flame) == 15
    low, middle, high = (f"{100 * x:.0f}" for x in (min(trust), fmean(trust), max(trust)))
    assert f"| FLTrust | {low} to {high} %, mean {middle} % |" in text
    assert f"| FLAME | {100 * min(flame):.0f} to {100 * max(flame):.0f} % |" in text
    union = [f"{100 * x:.1g}" for x in sorted(shares(boards / "rec-untargeted-v1.json", "union+normbound"))]
    board = "[`rec-untargeted-v1`](../boards/rec-untargeted-v1.md)"
    assert f"| {union[0]} to {union[-1]} % | {board}, {len(union)} runs |" in text
    runs = json.loads((DOCS / "results" / "variants-union.json").read_text("utf-8"))["runs"]
    memory = [r["detection"]["FPR_pooled"] for r in runs if "none/union-memory/" in r["cell"]]
    assert {f"{100 * x:.1f}" for x in memory} == {"0.3"}
    assert len(memory) == 3
    lite = json.loads((DOCS / "results" / "icml24-table2-lite.json").read_text("utf-8"))["runs"]
    (one,) = [r["detection"]["FPR_pooled"] for r in lite if "/none/fltrust/" in r["cell"]]
    assert re.search(rf"\| {100 * one:.0f} % \| \[Table 2, lite\]", text)


def test_tables_with_gowalla_say_which_gowalla_it_is() -> None:
    pairs = f"{CARDS['gowalla'].interactions:,}"
    assert pairs in PAGE
    assert any(pairs in note and "1,585,043" in note for note in AAAI23["aaai23-table1"].notes)
    assert not any(pairs in note for note in AAAI23["aaai23-table5"].notes)


def test_what_the_page_says_of_the_board_is_on_the_board() -> None:
    stored = json.loads((DOCS / "boards" / "rec-untargeted-v1.json").read_text("utf-8"))["runs"]
    runs = [r for r in stored if not r["attack_label"].startswith("noise(")]
    text = " ".join(PAGE.split())
    card = load("rec-untargeted-v1")
    seen = re.search(
        r"untargeted-v1\.md\) is complete too \((\d+) runs of five seeds, and (\d+) of the attacks' controls\)", text
    )
    assert seen is not None
    assert int(seen[1]) == len(runs) == len(card.attacks) * len(card.defenses) * len(card.seeds)
    assert int(seen[2]) == len(stored) - len(runs)
    played = Counter(
        (r["attack_label"], r["defense_label"], int(re.search(r"/seed(\d+)", r["path"])[1]))  # type: ignore[index]
        for r in runs
    )
    assert set(played.values()) == {1}
    assert {seed for *_, seed in played} == set(card.seeds)

    def mean(attack: str, defense: str) -> str:
        mine = [
            r["value"]
            for r in runs
            if (r["attack_label"], r["defense_label"]) == (attack, f"{defense} (byzantine=0.05)")
        ]
        assert len(mine) == 5
        return f"{fmean(mine):.4f}"

    union, attacks = "union+multikrum", sorted({r["attack_label"] for r in runs})
    adaptive = "adaptive(clusterattack)"
    assert f"With Multi-Krum behind it, HR@5 falls from {mean('none', union)}" in text
    assert (
        f"to {mean(adaptive, union)}, which is less than Multi-Krum alone keeps, {mean(adaptive, 'multikrum')}" in text
    )
    assert mean(adaptive, union) < mean(adaptive, "multikrum")
    assert f"as published leaves {mean('clusterattack', union)};" in text
    worst, under = min((mean(a, "union-memory+multikrum"), a) for a in attacks)
    assert f"keeps {worst} in its worst case, `{under}`" in text
    board = (DOCS / "boards" / "rec-untargeted-v1.md").read_text("utf-8")
    idle = re.findall(r"^- (.+): the attack is not shown to do more than random noise", board, re.MULTILINE)
    assert sorted(idle) == ["fedattack", "labelflip"]
    assert "FedAttack and label flips are not shown to do more than noise of their norm." in text
