"""Boards from runs: worst case, price, pairing, gaps, flags."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege.arena.board import Board, Row
from fedsiege.arena.board_game import attacks_of
from fedsiege.arena.boards import boards, shipped
from fedsiege.arena.card_file import load
from fedsiege.arena.record import Record
from tests.arena.records import SEEDS, FakeCard, around, cell, controls, record, toy


def one(records: Any, card: Any = FakeCard()) -> Board:  # noqa: B008
    found = boards(records, {} if card is None else {"any name": card})
    assert len(found) == 1
    return found[0]


def row(board: Board, defense: str, division: str = "closed") -> Row:
    return next(r for r in board.rows if (r.defense, r.division) == (defense, division))


def test_a_board_without_a_fault() -> None:
    board = one([*toy(), *controls()])
    assert (board.card, board.card_hash, board.metric, board.seeds) == ("toy-v1", "0123456789ab", "HR@10", SEEDS)
    assert board.attacks == ("adaptive(fang)", "fang", "lie", "gaussian")  # by harm without a defense
    assert [r.defense for r in board.rows] == ["krum", "median", "none"]
    assert board.missing == board.notes == board.flags == ()
    assert all(r.flags == () for r in board.rows)
    assert all(s.flags == () for r in board.rows for s in (r.clean, *r.scores.values()))


def test_numbers_are_worked_by_hand() -> None:
    board = one(toy())
    krum, median, fedavg = (row(board, name) for name in ("krum", "median", "none"))
    assert krum.worst == "adaptive(fang)"
    assert krum.worst_score.value.mean == pytest.approx(0.48)
    assert median.worst == "lie"
    assert median.worst_score.value.mean == pytest.approx(0.40)
    assert krum.price.mean == pytest.approx(0.05)
    assert krum.price.low == pytest.approx(0.05)  # the seeds scatter alike, so pairing leaves nothing
    assert fedavg.price.mean == 0
    assert krum.adaptive is krum.scores["adaptive(fang)"]
    # (0.6 + d − 0.5 − d) / (0.6 + d) for d = −0.004 … 0.004.
    expected = sum(0.1 / (0.6 + 0.002 * step) for step in (-2, -1, 0, 1, 2)) / 5
    assert krum.scores["fang"].lost.mean == pytest.approx(expected)
    assert (krum.cost.mean, krum.cost.low, krum.cost.high, krum.cost.n) == (2.0, 2.0, 2.0, 5)
    assert krum.clean.detection == {"FPR": 0.0, "FPR_pooled": 0.0, "DACC": pytest.approx(0.9)}
    assert [e.mean for e in board.corners(krum)] == pytest.approx([0.60, 0.55, 0.25, 0.48])
    assert [r.seed for r in krum.clean.records] == [0, 1, 2, 3, 4]


def test_the_winner_of_each_column() -> None:
    board = one(toy())
    assert row(board, "krum").best
    assert row(board, "krum").wins == {"worst", "adaptive(fang)", "fang", "lie"}
    assert row(board, "none").wins == {"none", "gaussian"}
    assert row(board, "median").wins == frozenset()


def test_a_planted_tie_is_not_bold() -> None:
    changes = {("adaptive(fang)", "krum"): around(0.40), ("lie", "median"): around(0.40)}
    board = one(toy(changes))
    assert row(board, "krum").worst_score.value.mean == row(board, "median").worst_score.value.mean
    assert not any(r.best for r in board.rows)


def test_a_lead_that_is_no_larger_than_its_scatter_is_not_bold() -> None:
    # krum leads by 0.004 on the average, but is behind under two seeds.
    changes = {("adaptive(fang)", "krum"): [0.37, 0.44, 0.41, 0.40, 0.40], ("lie", "median"): [0.40] * 5}
    board = one(toy(changes))
    assert board.rows[0].defense == "krum"
    assert not any(r.best for r in board.rows)


def test_one_seed_has_no_winner() -> None:
    board = one([r for r in toy() if r.seed == 0])
    assert not any(r.wins for r in board.rows)
    assert math.isnan(row(board, "krum").worst_score.value.low)
    assert "krum × fang: seeds 1, 2, 3, 4 not run" in board.missing


def test_a_column_has_a_winner_only_where_every_compared_cell_has_all_seeds() -> None:
    # The interval of the four that are left lies above zero all the same.
    found = [r for r in toy() if (r.attack, r.defense, r.seed) != ("fang", "median", 3)]
    assert row(one(found), "krum").wins == {"worst", "adaptive(fang)", "lie"}
    assert row(one(found), "none").wins == {"none", "gaussian"}
    # In the worst case the winner must have faced every attack under every seed.
    found = [r for r in toy() if (r.attack, r.defense, r.seed) != ("fang", "krum", 3)]
    assert row(one(found), "krum").wins == {"adaptive(fang)", "lie"}


def test_fewer_than_five_seeds_have_no_winner_whatever_the_card_asks_for() -> None:
    four = [r for r in toy() if r.seed < 4]
    for card in (FakeCard(), FakeCard(seeds=(0, 1, 2, 3)), None):
        assert not any(r.wins for r in one(four, card).rows)
    assert row(one(toy(), None), "krum").best


def test_a_defense_alone_wins_nothing() -> None:
    assert not any(r.wins for r in one([r for r in toy() if r.defense == "krum"]).rows)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_as_the_worst(bad: float) -> None:
    board = one(toy({("fang", "krum"): [0.5, 0.5, bad, 0.5, 0.5]}))
    krum = row(board, "krum")
    assert krum.scores["fang"].value.mean == pytest.approx(0.4)  # four times 0.5 and once 0
    assert krum.scores["fang"].value.n == 5
    assert krum.worst == "fang"
    assert [f.code for f in krum.scores["fang"].flags] == ["nonfinite"]
    assert [f.code for f in krum.flags] == ["nonfinite"]


def test_the_worst_of_a_metric_that_is_to_be_low() -> None:
    found = []
    for attack, defense, values in (
        ("none", "none", [0.1, 0.1]),
        ("none", "krum", [0.2, 0.2]),
        ("dba", "none", [0.8, 0.9]),
        ("dba", "krum", [0.3, 0.4]),
        ("scaling", "none", [0.7, 0.7]),
        ("scaling", "krum", [0.35, math.nan]),
    ):
        found += [
            record(attack, defense, s, v, metric="ASR", scores={"ASR": v}, tail=(0.2,) * 10)
            for s, v in enumerate(values)
        ]
    card = FakeCard(metric="ASR", higher_is_better=False, seeds=(0, 1), attacks=("dba", "scaling"))
    board = one(found, card)
    krum = row(board, "krum")
    assert krum.worst == "scaling"
    assert krum.worst_score.value.mean == pytest.approx((0.35 + 1) / 2)
    assert krum.price.mean == pytest.approx(0.1)
    # What is left to 1: 0.9 without an attack, 0.7 and 0.6 under dba.
    assert krum.scores["dba"].lost.mean == pytest.approx((0.2 / 0.9 + 0.3 / 0.9) / 2)
    assert board.attacks == ("dba", "scaling")
    assert [r.defense for r in board.rows] == ["krum", "none"]
    assert krum.wins == frozenset()  # two seeds are too few


def test_the_winner_of_a_metric_that_is_to_be_low() -> None:
    found = []
    means = {("none", "none"): 0.1, ("none", "krum"): 0.1, ("dba", "none"): 0.8, ("dba", "krum"): 0.3}
    for (attack, defense), middle in means.items():
        found += cell(attack, defense, around(middle), metric="ASR", scores={"ASR": middle})
    board = one(found, FakeCard(metric="ASR", higher_is_better=False, attacks=("dba",)))
    assert row(board, "krum").wins == {"dba", "worst"}
    assert row(board, "none").wins == frozenset()


def test_clean_runs_without_the_metric_are_scored_by_their_own() -> None:
    def runs(attack: str, defense: str, tacc: float, asr: float | None) -> list[Any]:
        scores = {"TACC": tacc} if asr is None else {"TACC": tacc, "ASR": asr}
        return cell(attack, defense, [tacc] * 2, metric="TACC", scores=scores)

    found = runs("none", "none", 0.8, None) + runs("none", "krum", 0.7, None)
    found += runs("dba", "none", 0.8, 0.9) + runs("dba", "krum", 0.6, 0.2) + runs("gaussian", "none", 0.5, None)
    card = FakeCard(metric="ASR", higher_is_better=False, seeds=(0, 1), attacks=("dba",), bands={"": (0.75, 0.85)})
    board = one(found, card)
    krum = row(board, "krum")
    assert (board.metric, board.clean_metric) == ("ASR", "TACC")
    assert krum.clean.value.mean == pytest.approx(0.7)
    assert krum.price.mean == pytest.approx(0.1)
    assert krum.worst_score.value.mean == pytest.approx(0.2)
    assert krum.scores["dba"].lost.mean == pytest.approx(0.25)
    assert "none × gaussian: seeds 0, 1 without ASR" in board.missing
    assert board.flags == ()


def test_gaps_are_listed() -> None:
    found = [r for r in toy() if not (r.attack == "lie" and r.defense == "krum" and r.seed in (1, 3))]
    found.append(record("lie", "krum", 3, math.nan, status="failed", error="RunError: disk full", path="toy/failed"))
    found.append(record("none", "flame", 0, math.nan, status="unfinished", attack_label="none"))
    board = one(found)
    assert "krum × lie: seed 1 not run; seed 3 failed (RunError: disk full)" in board.missing
    assert "flame × none: seed 0 not finished; seeds 1, 2, 3, 4 not run" in board.missing
    assert "flame × fang: seeds 0, 1, 2, 3, 4 not run" in board.missing
    assert len(board.missing) == 6
    assert [r.defense for r in board.rows] == ["krum", "median", "none"]
    assert row(board, "krum").scores["lie"].value.n == 3


def test_a_defense_that_was_spared_ranks_behind_and_is_not_bold() -> None:
    spared = [r for r in toy() if not (r.defense == "krum" and r.attack.startswith("adaptive"))]
    board = one(spared)
    assert [(r.defense, r.complete) for r in board.rows] == [("median", True), ("none", True), ("krum", False)]
    assert row(board, "krum").worst_score.value.mean > row(board, "median").worst_score.value.mean
    assert not any(r.best for r in board.rows)
    assert row(board, "krum").adaptive is None
    assert [f.code for f in row(board, "krum").flags] == ["unadapted"]


def test_an_attack_beside_the_card_has_a_column_and_is_not_in_the_worst_case() -> None:
    board = one([*toy(), *cell("mpaf", "krum", around(0.2), attack_label="mpaf (scale=9)")])
    whole = one(toy())
    assert "mpaf (scale=9)" in board.attacks
    assert row(board, "krum").scores["mpaf (scale=9)"].value.mean == pytest.approx(0.2)
    assert row(board, "krum").worst == row(whole, "krum").worst
    assert [(r.defense, r.complete, r.best) for r in board.rows] == [
        (r.defense, r.complete, r.best) for r in whole.rows
    ]
    assert any(r.best for r in board.rows)
    assert "Not attacks of the card, and so not in the worst case: mpaf (scale=9)" in board.notes
    assert not any("not in the worst case" in note for note in whole.notes)


def test_the_same_name_with_other_settings_is_another_attack() -> None:
    found = [*toy(), *cell("lie", "krum", around(0.1), attack_label="lie (z=0.9)")]
    board = one(found)
    assert row(board, "krum").worst == row(one(toy()), "krum").worst
    settled = FakeCard(attacks=("fang", {"name": "lie", "z": 0.9}))
    board = one(found, settled)
    assert row(board, "krum").worst == "lie (z=0.9)"
    assert not row(board, "median").complete  # it has faced lie with other settings only


def test_where_none_of_the_cards_attacks_has_been_played_the_others_count() -> None:
    board = one(toy(), FakeCard(attacks=("mpaf",)))
    assert row(board, "krum").worst == row(one(toy()), "krum").worst


def test_without_a_run_of_fedavg_there_is_no_price() -> None:
    board = one([r for r in toy() if r.defense != "none"])
    krum = row(board, "krum")
    assert krum.price.n == krum.scores["fang"].lost.n == 0
    assert math.isnan(krum.cost.mean)
    assert math.isnan(board.corners(krum)[0].mean)
    assert "none × none: seeds 0, 1, 2, 3, 4 not run" in board.missing


def test_a_defense_without_an_attack_has_no_worst_case() -> None:
    board = one([*toy(), *cell("none", "flame", around(0.6))])
    flame = board.rows[-1]
    assert (flame.defense, flame.worst, flame.worst_score.value.n, flame.complete) == ("flame", "", 0, False)
    assert not row(board, "krum").best  # flame is another defense, of which nothing is known


def test_the_open_division_wins_nothing_and_takes_nothing() -> None:
    shifted = {"division": "open", "changes": ("server.lr", "federation.rounds")}
    extra = [replace(r, path="o" + r.path, **shifted) for r in toy() if r.defense in ("none", "krum")]
    extra = [replace(r, value=r.value + 0.1) for r in extra]
    board = one([*toy(), *extra])
    assert [(r.defense, r.division) for r in board.rows][-2:] == [("krum", "open"), ("none", "open")]
    mine = row(board, "krum", "open")
    assert mine.changes == ("federation.rounds", "server.lr")
    assert mine.wins == frozenset()
    assert mine.price.mean == pytest.approx(0.05)
    assert board.corners(mine)[0].mean == pytest.approx(0.7)
    assert row(board, "krum").best


def test_other_values_of_one_setting_are_other_games() -> None:
    def at(rounds: int, lift: float) -> list[Record]:
        shift = {"division": "open", "changes": (f"federation.rounds={rounds}",)}
        chosen = [r for r in toy() if r.defense in ("none", "krum")]
        return [replace(r, path=f"{rounds}/{r.path}", value=r.value + lift, **shift) for r in chosen]

    board = one([*toy(), *at(100, 0.1), *at(200, 0.3)])
    found = {r.changes: r for r in board.rows if (r.defense, r.division) == ("krum", "open")}
    assert set(found) == {("federation.rounds=100",), ("federation.rounds=200",)}
    for (change,), clean in (("federation.rounds=100",), 0.65), (("federation.rounds=200",), 0.85):
        mine = found[(change,)]
        assert mine.clean.value.mean == pytest.approx(clean)
        assert mine.price.mean == pytest.approx(0.05)
    assert not any("left out" in note for note in board.notes)


def test_costs_are_paired_by_seed_within_one_commit_and_machine() -> None:
    def timed(r: Record) -> Record:
        if r.attack != "none":
            return r
        pace = {"none": 1.0 + r.seed, "krum": 3.0 * (1.0 + r.seed)}.get(r.defense, 9.0)
        elsewhere = {("median", 0): {"hardware": "b"}, ("median", 1): {"commit": "f"}}.get((r.defense, r.seed), {})
        return replace(r, seconds_per_round=pace, **{"hardware": "a", "commit": "e", **elsewhere})

    board = one([timed(r) for r in toy()])
    krum, median = row(board, "krum").cost, row(board, "median").cost
    # Seeds take 1 to 5 seconds; the ratio of each pair is the same.
    assert (krum.mean, krum.low, krum.high, krum.n) == pytest.approx((3.0, 3.0, 3.0, 5))
    assert (median.mean, median.n) == (pytest.approx((9 / 3 + 9 / 4 + 9 / 5) / 3), 3)
    foreign = one([replace(r, commit=r.defense) for r in toy()])
    assert math.isnan(row(foreign, "krum").cost.mean)
    assert row(foreign, "none").cost.mean == 1.0


def test_nobody_wins_the_worst_case_while_an_attack_of_the_card_has_not_been_played() -> None:
    board = one([r for r in toy() if r.attack != "lie"])
    krum = row(board, "krum")
    assert (krum.faced, krum.due, krum.complete, krum.best) == (3, 4, False, False)
    assert "fang" in krum.wins
    assert {m for m in board.missing if "lie" in m} == {
        f"{defense} × lie: seeds 0, 1, 2, 3, 4 not run" for defense in ("krum", "median", "none")
    }
    whole = row(one(toy()), "krum")
    assert (whole.faced, whole.due, whole.complete, whole.best) == (4, 4, True, True)


def test_the_cards_attacks_are_found_by_the_labels_that_their_runs_have() -> None:
    spelled = FakeCard(attacks=("none", "reverse", {"name": "lie", "z": 1}, "gaussian", "adaptive(fang)"))
    named = {"fang": ("reverse", "reverse (factor=10.0)"), "lie": ("lie", "lie (z=1.0)")}

    def called(r: Record) -> Record:
        attack, name = named.get(r.attack_label, (r.attack, r.attack_label))
        return replace(r, attack=attack, attack_label=name)

    (board,) = boards([called(r) for r in toy()], {"toy-v1": spelled})  # type: ignore[dict-item]
    krum = row(board, "krum")
    assert (krum.faced, krum.due, krum.best, board.missing) == (4, 4, True, ())
    # Two settings of a user's attack: which of them is the card's cannot be told.
    more = cell("reverse", "krum", around(0.1), attack_label="reverse (factor=3.0)")
    (board,) = boards([*(called(r) for r in toy()), *more], {"toy-v1": spelled})  # type: ignore[dict-item]
    assert (row(board, "krum").faced, row(board, "krum").due) == (3, 4)
    # Other settings of an attack whose defaults are known are another attack.
    assert attacks_of(FakeCard(attacks=("lie",)), cell("lie", "krum", [0.1], attack_label="lie (z=9.0)")) == {"lie"}  # type: ignore[arg-type]


def test_runs_of_different_data_are_shown_and_win_nothing() -> None:
    def board(sum_of_krum: str) -> Board:
        return one([replace(r, data_sha256=sum_of_krum if r.defense == "krum" else "a" * 64) for r in toy()])

    assert row(board("a" * 64), "krum").best
    # Of older runs the sum is not known.
    assert row(board(""), "krum").best
    packed = [f"x={'a' * 64} y={'c' * 64}", f"x.gz={'d' * 64} y.gz={'e' * 64}"]
    assert row(one([replace(r, data_sha256=packed[r.defense == "krum"]) for r in toy()]), "krum").best
    packed[1] = f"x={'a' * 64} y={'d' * 64}"
    assert not any(r.wins for r in one([replace(r, data_sha256=packed[r.defense == "krum"]) for r in toy()]).rows)
    mixed = board("b" * 64)
    assert not any(r.wins for r in mixed.rows)
    assert any("different data (SHA-256 aaaaaaaaaaaa, bbbbbbbbbbbb)" in note for note in mixed.notes)
    assert not any("different data" in note for note in one(toy()).notes)


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        (("a", "a"), ""),
        (("a", ""), ""),
        (("a", "b"), "Runs were made at 2 commits of FedSiege"),
        # One that was resumed elsewhere names both.
        (("a", "a, c"), "Runs were made at 2 commits of FedSiege"),
        (("a", "a+changes"), "Runs were made at 2 commits of FedSiege, 1 of them with uncommitted changes"),
        (("a+changes", "a+changes"), "Runs were made at a commit of FedSiege with uncommitted changes"),
    ],
)
def test_a_board_says_of_how_many_commits_its_closed_runs_are(commits: tuple[str, str], said: str) -> None:
    runs = [replace(r, commit=commits[r.defense == "krum"]) for r in toy()]
    elsewhere = record("lie", "krum", 0, 0.5, division="open", changes=("model.dim",), commit="z")
    board = one([*runs, elsewhere])
    assert [note for note in board.notes if "commit" in note] == ([said] if said else [])


def test_an_adaptive_attack_counts_only_if_it_is_the_cards_and_has_every_seed() -> None:
    def flagged(*more: Record) -> str:
        rest = [r for r in toy() if r.attack != "adaptive(fang)"]
        found = [f.message for f in row(one([*rest, *more]), "krum").flags if f.code == "unadapted"]
        return found[0] if found else ""

    assert flagged(*cell("adaptive(fang)", "krum", around(0.48))) == ""
    assert flagged().endswith("what it adapts")
    other = flagged(*cell("adaptive(gaussian)", "krum", around(0.3)))
    assert other.endswith("(adaptive(gaussian) is not among the card's attacks)")
    few = flagged(*cell("adaptive(fang)", "krum", [0.3, 0.3]))
    assert few.endswith("(adaptive(fang) lacks seeds 2, 3, 4)")


def test_an_attack_that_knows_more_is_measured_from_the_same_clean_runs() -> None:
    more = {"division": "open", "changes": ("knowledge",)}
    board = one([*toy(), *cell("peek", "krum", around(0.1), **more)])
    mine = row(board, "krum", "open")
    assert mine.clean.value.mean == pytest.approx(0.55)
    assert mine.price.mean == pytest.approx(0.05)
    assert mine.scores["peek"].lost.mean == pytest.approx(0.5 / 0.6, rel=1e-3)
    assert row(board, "krum").worst == "adaptive(fang)"
    assert row(board, "krum").best
    assert board.missing == ()


def test_the_open_division_owes_no_runs_but_owns_up_to_failed_ones() -> None:
    more = {"division": "open", "changes": ("seed",)}
    board = one(
        [*toy(), record("fang", "krum", 77, 0.3, **more), record("lie", "krum", 78, 0, status="failed", **more)]
    )
    assert board.missing == ("krum × lie (open: seed): seed 78 failed",)


def test_several_runs_of_a_seed_count_once() -> None:
    again = record("fang", "krum", 0, 0.9, path="toy/zzz")
    board = one([again, *toy()])
    assert row(board, "krum").scores["fang"].value.mean == pytest.approx(0.5)
    assert any("krum × fang: 1 more run" in note for note in board.notes)


def test_cards_and_degrees_stand_apart() -> None:
    other = [replace(r, degree="iid") for r in toy()]
    older = [replace(r, card_hash="ffff00000000", degree="iid") for r in toy()]
    plain = [replace(r, card=None, card_hash=None) for r in toy()]
    found = boards([*older, *plain, *toy(), *other], {"toy-v1": FakeCard()})
    assert [(b.card_hash, b.degree) for b in found] == [
        ("0123456789ab", ""),
        ("0123456789ab", "iid"),
        ("ffff00000000", "iid"),
    ]
    assert boards(plain, {}) == []
    assert boards([], {}) == []
    # Another version of the card says nothing about these runs.
    assert any("not at hand" in note for note in found[2].notes)


def test_shipped_cards_are_found_by_their_hash() -> None:
    name = "rec-untargeted-v1"
    mine = {"card": name, "card_hash": load(name).hash, "metric": load(name).metric}
    known = [record("none", "none", 0, 0.001, **mine)]
    assert list(shipped(known)) == [mine["card_hash"]]
    assert "none × none: seeds 1, 2, 3, 4 not run" in boards(known)[0].missing
    older = [record("none", "none", 0, 0.001, card=name, card_hash="of another version")]
    assert any("not at hand" in note for note in boards(older)[0].notes)
    assert shipped([record("none", "none", 0, 0.1, card="of-my-own-v1")]) == {}


def test_without_the_card() -> None:
    board = one(toy(), None)
    assert (board.metric, board.higher_is_better, board.missing) == ("HR@10", True, ())
    assert [r.defense for r in board.rows] == ["krum", "median", "none"]


class TestFlags:
    def test_the_band(self) -> None:
        board = one(toy(), FakeCard(bands={"": (0.7, 0.8)}))
        assert [f.code for f in board.flags] == ["band"]
        assert [f.code for f in row(board, "none").flags] == ["band"]
        assert row(board, "krum").flags == ()

    def test_noise(self) -> None:
        board = one(toy({("lie", "none"): around(0.59)}))
        assert [f.code for f in board.flags] == ["noise"]
        assert board.flags[0].message.startswith("lie: ")
        for r in board.rows:
            assert [a for a, s in r.scores.items() if s.flags] == ["lie"]
            assert r.flags == ()

    def test_a_defense_that_faced_nothing_but_noise(self) -> None:
        found = [r for r in toy({("lie", "none"): around(0.59)}) if r.attack in ("none", "gaussian", "lie")]
        board = one(found, FakeCard(attacks=("lie", "gaussian")))
        assert [f.code for f in row(board, "median").flags] == ["noise", "unadapted"]

    def test_an_adaptive_attack_that_does_less_than_what_it_adapts(self) -> None:
        plain = row(one(toy()), "krum").scores["fang"].value.mean
        board = one(toy({("adaptive(fang)", "krum"): around(plain + 0.01)}))
        (flag,) = row(board, "krum").flags
        assert flag.code == "unadapted"
        assert f"adaptive(fang) {plain + 0.01:.4f}, fang {plain:.4f}" in flag.message
        assert row(one(toy({("adaptive(fang)", "krum"): around(plain)})), "krum").flags == ()

    def test_an_adaptive_attack_that_does_good(self) -> None:
        found = [r for r in toy({("adaptive(fang)", "krum"): around(0.9)}) if r.attack != "fang"]
        board = one(found, FakeCard(attacks=("adaptive(fang)", "lie", "gaussian")))
        (flag,) = row(board, "krum").flags
        assert flag.code == "unadapted"
        assert ", no attack 0." in flag.message
        assert row(board, "median").flags == ()

    def test_an_attack_is_compared_with_noise_of_its_own_norm_where_there_is_some(self) -> None:
        # Longer than honest uploads: it does more than gaussian, and no more than noise as long.
        board = one([*toy(), *controls({"lie": 0.40})])
        assert [f.message.partition(":")[0] for f in board.flags] == ["lie"]
        assert [a for r in board.rows for a, s in r.scores.items() if s.flags] == ["lie"] * 3
        # The other way round: noise as long as it does less than gaussian.
        weak = toy({("lie", "none"): around(0.59)})
        assert [f.code for f in one(weak).flags] == ["noise"]
        assert one([*weak, *controls({"lie": 0.598})]).flags == ()

    def test_controls_are_no_attacks(self) -> None:
        board, plain = one([*toy(), *controls({"lie": 0.1})]), one(toy())
        assert board.attacks == plain.attacks
        assert (board.rows[0].defense, board.rows[0].worst) == ("krum", "adaptive(fang)")
        assert board.missing == ()
        assert board.notes == ()
        assert len(plain.notes) == 1
        assert "not of their own: adaptive(fang), fang, lie" in plain.notes[0]
        some = one([*toy(), *(r for r in controls() if r.attack == "noise(fang)")])
        assert "not of their own: adaptive(fang), lie" in some.notes[0]

    def test_without_noise_the_reader_is_told(self) -> None:
        board = one([r for r in toy() if r.attack != "gaussian"])
        words = "For want of a run of noise against FedAvg, not compared with noise: adaptive(fang), fang, lie"
        assert words in board.notes
        assert any("without a finished run: gaussian" in note for note in board.notes)

    @pytest.mark.parametrize(
        ("code", "change"),
        [
            ("rejects", {"detection": {"FPR_pooled": 0.5}}),
            ("nonfinite", {"finite": False}),
            ("unstable", {"tail": (0.9,) * 9 + (0.5,)}),
            ("told", {"told": 3}),
        ],
    )
    def test_planted_in_one_run(self, code: str, change: dict[str, Any]) -> None:
        found = [replace(r, **change) if (r.attack, r.defense, r.seed) == ("fang", "krum", 2) else r for r in toy()]
        board = one(found)
        where = {
            (r.defense, s.attack): [f.code for f in s.flags] for r in board.rows for s in (r.clean, *r.scores.values())
        }
        assert {cell: codes for cell, codes in where.items() if codes} == {("krum", "fang"): [code]}
        assert [f.code for f in row(board, "krum").flags] == [code]
        assert "under fang" in row(board, "krum").flags[0].message
        assert [r.told for r in board.rows if r.defense != "krum"] == [False, False]
        assert row(board, "krum").told == (code == "told")


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(0, 1))
def test_the_order_of_runs_does_not_matter(rng: random.Random, keep: float) -> None:
    found = [r for r in toy() if rng.random() < 0.3 + 0.7 * keep]
    found += [replace(r, path=r.path + "-again", value=0.123) for r in found[:3]]
    found += [replace(r, path="f/" + r.path, status="failed", error="lost") for r in found[3:9]]
    card = {"": FakeCard()}
    expected = boards(found, card)
    rng.shuffle(found)
    # repr, because NaN is not equal to itself.
    assert repr(boards(found, card)) == repr(expected)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 1024), min_size=40, max_size=40))
def test_a_metric_and_its_complement_rank_alike(values: list[int]) -> None:
    places = [(a, d) for a in ("none", "fang", "lie", "gaussian") for d in ("none", "krum")]
    high, low = [], []
    for i, (attack, defense) in enumerate(places):
        mine = [v / 1024 for v in values[5 * i : 5 * i + 5]]  # exact in binary, so that ties stay ties
        high += cell(attack, defense, mine)
        low += cell(attack, defense, [1 - v for v in mine])
    up = one(high, FakeCard(attacks=()))
    down = one(low, FakeCard(attacks=(), higher_is_better=False))
    assert [(r.defense, r.worst, r.wins) for r in up.rows] == [(r.defense, r.worst, r.wins) for r in down.rows]
    assert up.attacks == down.attacks
