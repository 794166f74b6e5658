"""The ICML 2024 targets: the printed values, the settings of their cells, their lite forms, and tables of measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsiege.arena.config import parse
from fedsiege.arena.paper import icml24
from fedsiege.arena.publish import publish, render
from fedsiege.arena.reproduce import lite, plan, points, tabulate, target
from fedsiege.arena.targets import LITE, TARGETS
from fedsiege.arena.targets.icml24 import FULL, LITE_CNN, LITE_CONVNET, LITE_ROUNDS
from fedsiege.arena.targets.images import INSIDE, TRIGGER
from fedsiege.errors import ConfigError
from fedsiege.learners.networks import table_cnn

IDS = [
    f"icml24-{x}" for x in ("table1", "table2", "table3", "table8", "table9", "table10", "fig2", "fig3", "fig4", "fig5")
]


def one(id_: str, glob: str) -> Any:
    (cell,) = plan(id_, seeds=[0], cells=[glob])
    return cell.config


def test_the_papers_values_are_those_it_prints() -> None:
    data = icml24()
    assert data["table1"]["dba"]["fldetector"]["cifar-10"] == [99.00, 0.00, 3.57, 75.71]
    assert data["table1"]["minsum"]["fldetector"]["cinic-10"] == [8.00, 88.89, 100.00, 500.00]
    assert data["table2"]["fashion-mnist"]["fang"]["trimmedmean"] == 68.41
    assert data["table2"]["cifar-10"]["scaling"]["normbound"] == [60.16, 73.50]
    assert data["table2"]["cinic-10"]["dba"]["none"] == [44.7, 85.49]
    assert data["table2"]["cinic-10"]["none"]["redefense"] == 52.20
    assert data["table3"]["adaptive-targeted-labelflip"]["redefense"]["cinic-10"] == [45.14, 30.87]
    assert data["table3"]["labelflip"]["redefense+normbound"]["fashion-mnist"] == 83.30
    assert data["table7"]["cinic-10"]["later"] == 4000
    assert data["table8"]["lie"]["flame"]["cifar-10"] == [73.09, 28.98, 21.60, 108.00]
    assert data["table8"]["scaling"]["fltrust"]["cinic-10"] == [67.41, 10.48, 89.44, 447.21]
    assert data["table9"] == {"continuous": 60.88, "intermittent": 50.00, "dynamic": 2.40}
    assert data["table10"]["scaling"]["cifar-10"] == [0.83, 0.02]
    assert data["table10"]["minmax"]["cinic-10"] == 1.00


def test_tables_agree_with_themselves() -> None:
    """Of 72 benign and 28 malicious clients, accuracy follows from the two rates; so do averages over rounds."""
    # Printed with the accuracy of the row of MPAF.
    exempt = {("minmax", "fltrust", "fashion-mnist")}
    for table in ("table1", "table8"):
        for attack, detectors in icml24()[table].items():
            for detector, rows in detectors.items():
                for dataset, (accuracy, positive, negative, _) in rows.items():
                    if (attack, detector, dataset) not in exempt:
                        assert accuracy == pytest.approx(100 - 0.72 * positive - 0.28 * negative, abs=0.2)


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("small", [False, True], ids=["full", "lite"])
def test_every_cell_is_a_valid_configuration_in_a_folder_of_its_own(id_: str, small: bool, tmp_path: Path) -> None:
    wanted = LITE[id_] if small else TARGETS[id_]
    cells = plan(wanted.id, seeds=[0, 3], root=tmp_path)
    assert len({c.path for c in cells}) == len({c.label for c in cells}) == len({c.config.hash for c in cells})
    assert all(parse(c.config.to_dict()).hash == c.config.hash for c in cells)
    folder = "icml24-lite" if small else "icml24"
    assert {c.path.relative_to(tmp_path).parts[0] for c in cells} == {folder}
    assert {c.config.dataset.clients for c in cells} == {20 if small else 100}


def test_targets_hold_the_cells_that_the_paper_prints() -> None:
    def count(id_: str) -> int:
        return len([p for p in TARGETS[id_].points() if p.model == "convnet"])

    # 7 attacks, 2 detectors, 3 data sets; 7 rows, 10 defenses, and LIE under two of them; 4 attacks, 2 rules;
    # 3 schedules; 6 rows.
    assert [count(i) for i in IDS[:6]] == [42, 216, 24, 42, 3, 18]
    for id_ in IDS[:6]:
        assert {p.model for p in TARGETS[id_].points()} == {"convnet", "cnn"}
    printed = [p for p in TARGETS["icml24-table2"].points() if not p.paper]
    missing = {(p.dataset, p.attack, p.defense) for p in printed if p.attack != "lie"}
    assert missing == {("cifar-10", "none", "redefense")}
    assert {p.defense for p in printed if p.attack == "lie"} == {"none", "redefense"}
    assert {p.malicious for p in TARGETS["icml24-fig2"].points()} == {0.08, 0.28, 0.48, 0.72}
    assert max(p.malicious for p in TARGETS["icml24-fig2"].points() if p.defense == "flame") == 0.48
    assert not any(p.defense == "fldetector" for p in TARGETS["icml24-fig5"].points())


def test_percents_become_shares_once() -> None:
    by_key = {p.key: p for p in points("icml24-table8")}
    assert by_key["convnet/fashion-mnist/fang/flame/m0.28"].paper == {
        "DACC": 0.7934, "FPR": 0.2869, "FNR": 0.0, "AAR": 0.0,
    }  # fmt: skip
    (dba,) = points("icml24-table2", ["cnn/cinic-10/dba/none/*"])
    assert dba.paper == {"TACC": 0.447, "ASR": 0.8549}
    (fang,) = points("icml24-table10", ["convnet/cifar-10/fang/*"])
    assert fang.paper == {"error": 0.97}


def test_a_cell_takes_the_papers_settings() -> None:
    plain = one("icml24-table1", "convnet/cifar-10/minsum/redefense/*")
    assert (plain.model.lr, plain.model.epochs, plain.model.batch) == (1e-3, 1, 32)
    assert (plain.federation.rounds, plain.federation.cohort, plain.federation.malicious) == (500, 1.0, 0.28)
    assert (plain.dataset.beta, plain.dataset.partition, plain.dataset.balanced) == (0.1, "dirichlet", True)
    assert (plain.attack.limit, plain.attack.start) == ("smallest", 30)
    rates = ("input_lr", "label_lr", "virtual_lr", "rate_lr", "first", "later")
    assert [getattr(plain.defense, r) for r in rates] == [0.1, 0.05, 0.05, 5e-5, 500, 1500]
    assert (plain.defense.gamma, plain.defense.pairs, plain.defense.inner) == (0.6, 10, 5)
    assert one("icml24-table2", "cnn/fashion-mnist/fang-krum/*").defense.byzantine == 28
    assert one("icml24-table2", "cnn/fashion-mnist/mpaf/trimmedmean/*").defense.trim == 28
    assert one("icml24-table2", "cnn/fashion-mnist/mpaf/normbound/*").defense.bound is None
    assert one("icml24-table2", "cnn/fashion-mnist/mpaf/fltrust/*").defense.samples == 500
    assert one("icml24-table2", "cnn/fashion-mnist/mpaf/flcert/*").defense.groups == 10
    both = one("icml24-table3", "cnn/cinic-10/labelflip/redefense+normbound/*").to_dict()["defense"]
    assert (both["redefense"]["first"], both["normbound"]["bound"]) == (2000, None)
    for cell in plan("icml24-table2", seeds=[0]):
        assert cell.config.to_dict()["defense"].get("weighting", "uniform") == "uniform"


def test_the_trigger_is_the_public_codes_in_images_of_any_size() -> None:
    small, large = (one("icml24-table2", f"cnn/{name}/dba/none/*").attack for name in ("fashion-mnist", "cifar-10"))
    image = torch.zeros(1, 3, 32, 32)
    where = torch.nonzero(large.trigger.apply(image))[:, 1:].tolist()
    assert where == [[0, 24, 26], [0, 25, 25], [0, 26, 24], [0, 26, 26]]
    assert torch.nonzero(small.trigger.apply(image[:, :1, :28, :28]))[:, 1:].tolist() == where


def test_figures_scale_rounds_and_iterations() -> None:
    many = one("icml24-fig4", "*/fang/redefense/m0.28/epochs5")
    assert (many.federation.rounds, many.model.epochs) == (100, 5)
    assert (many.defense.first, many.defense.later) == (2500, 7500)
    seldom = one("icml24-fig5", "*/fang/redefense/m0.28/cohort0.1")
    assert (seldom.federation.cohort, seldom.defense.first, seldom.defense.later) == (0.1, 500, 15000)
    assert one("icml24-fig3", "*/fang/flame/m0.28/beta0.05").dataset.beta == 0.05


def test_lite_figures_show_the_cnn_a_trigger_that_it_sees() -> None:
    x = torch.randn(8, 1, 28, 28, requires_grad=True)
    table_cnn((1, 28, 28), 10)(x).square().sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().amax(0)[0] > 0
    assert [bool(seen[pixel]) for pixel in TRIGGER] == [False, False, False, True]
    assert all(seen[pixel] for pixel in INSIDE)
    for id_ in ("icml24-fig2", "icml24-fig3", "icml24-fig4", "icml24-fig5"):
        for cell in (c.config for c in plan(lite(id_).id, seeds=[0])):
            if cell.attack.name == "scaling":
                assert cell.attack.pixels == INSIDE
        assert not any(p.inside for p in TARGETS[id_].points())
    assert max(p.malicious for p in points(lite("icml24-fig2").id) if p.defense == "flame") == 0.3


def test_tables_and_figures_share_cells() -> None:
    table2 = {c.path for c in plan("icml24-table2")}
    for id_ in ("icml24-table1", "icml24-table8"):
        # Of LIE, Table 2 has the rows without a defense and of FedREDefense.
        others = [c for c in plan(id_, cells=["*/lie/*"]) if "/redefense/" not in c.label]
        assert {c.path for c in plan(id_)} - table2 == {c.path for c in others}
    (dynamic,) = plan("icml24-table9", cells=["convnet/*/m0.28"], seeds=[0])[-1:]
    assert dynamic.path in table2


def test_lite_runs_the_small_cnn_and_convnet_where_the_verdict_depends_on_it() -> None:
    found = {(p.model, p.attack, p.defense) for p in points(lite("icml24-table1").id)}
    assert {f for f in found if f[0] == "convnet"} == {("convnet", a, "redefense") for a in ("dba", "scaling")}
    config = one(lite("icml24-table2").id, "cnn/fashion-mnist/fang/redefense/*")
    assert (config.dataset.samples, config.federation.malicious) == (12_000, 0.3)
    assert (config.model.lr, config.federation.rounds) == (LITE_CNN.lr, LITE_ROUNDS)
    assert (config.defense.first, config.defense.later) == LITE_CNN.caps
    plain = [one(lite("icml24-table2").id, f"{model}/fashion-mnist/none/none/*") for model in ("cnn", "convnet")]
    assert [p.federation.rounds for p in plain] == [LITE_ROUNDS, LITE_ROUNDS // 3]
    # 600 images are 19 batches of 32; see LITE_CNN.
    assert config.defense.virtual_lr == pytest.approx(0.6 * LITE_CNN.lr * 19 * 10 / config.defense.inner)
    assert FULL.recipe.caps is None
    assert not FULL.recipes
    large = one(lite("icml24-table1").id, "convnet/fashion-mnist/scaling/*/label-start")
    assert (large.model.lr, large.defense.schedule) == (LITE_CONVNET.lr, "label-start")
    assert (large.defense.first, large.defense.later) == LITE_CONVNET.caps
    assert large.defense.virtual_lr < LITE_CONVNET.lr * 19 * 10 / large.defense.inner / 4
    for table in ("icml24-table9", "icml24-table10"):
        assert {p.model for p in points(lite(table).id)} == {"cnn"}
    with pytest.raises(ConfigError, match="aaai23-table1 has no lite form; these have one: icml24-table1"):
        lite("aaai23-table1")


def fake(cells: list, test: dict[str, float], detection: dict[str, float | None], **more: Any) -> None:
    """Write finished run folders with these results."""
    for cell in cells:
        cell.path.mkdir(parents=True)
        scores = {"round": cell.config.federation.rounds, "metrics": {"test": test}}
        result = {
            "seed": cell.config.seed, "config_hash": cell.config.hash, "rounds": cell.config.federation.rounds,
            "last": scores, "best": scores, "rejects": True, "detection": detection,
            "threat_model": {"knowledge": "own data", "told_byzantine": None}, **more,
        }  # fmt: skip
        (cell.path / "result.json").write_text(json.dumps(result))
        (cell.path / "environment.json").write_text(
            json.dumps({"commit": "abc", "hardware": {"cpu": "x", "threads": 1, "cores": 1, "device": "cpu"}})
        )


FOUND = {"DACC": 0.5, "FPR": 0.1, "FNR": None, "AAR": 60.0, "DACC_final": 0.93, "FPR_final": 0.0972, "FNR_final": 0.0}


def test_a_table_of_measures_stands_beside_the_papers(tmp_path: Path) -> None:
    cells = plan("icml24-table1", seeds=[0, 1], cells=["convnet/fashion-mnist/fang/fldetector/*"], root=tmp_path)
    fake(cells, {"TACC": 0.8}, FOUND)
    table = tabulate("icml24-table1", cells)
    (row,) = table.rows
    assert [row[f"{m} paper"] for m in ("DACC_final", "FPR_final", "FNR_final", "AAR")] == [0.93, 0.0972, 0.0, 60.0]
    assert row["DACC_final difference"] == row["FNR_final difference"] == 0
    assert (row["AAR"], row["seeds"]) == (60.0, 2)
    assert "TACC" not in row
    assert "loss" not in row
    assert table.source == "Xie et al., ICML 2024 (PMLR 235)"


def test_a_measure_that_a_run_lacks_is_missing(tmp_path: Path) -> None:
    cells = plan("icml24-table2", seeds=[0], cells=["cnn/fashion-mnist/none/none/*"], root=tmp_path)
    fake(cells, {"TACC": 0.8}, FOUND)
    (row,) = tabulate("icml24-table2", cells).rows
    assert (row["TACC"], row["TACC paper"], row["ASR"], row["malicious"]) == (0.8, 0.8594, None, 0.0)


def test_errors_and_iterations_come_from_the_reconstruction(tmp_path: Path) -> None:
    errors = {"benign": {"mean": 0.3, "std": 0.1, "n": 9}, "malicious": {"mean": 0.9, "std": 0.0, "n": 2}}
    fits = {"aoi": 2.5, "errors": errors}
    cells = plan("icml24-table10", seeds=[0], cells=["convnet/cifar-10/fang/*"], root=tmp_path)
    fake(cells, {"TACC": 0.1}, FOUND, optimisation=fits)
    (row,) = tabulate("icml24-table10", cells).rows
    assert (row["error"], row["error std"], row["error paper"]) == (0.9, 0.0, 0.97)
    cells = plan("icml24-table9", seeds=[0], cells=["convnet/*/continuous"], root=tmp_path)
    fake(cells, {"TACC": 0.1}, FOUND, optimisation=fits)
    (row,) = tabulate("icml24-table9", cells).rows
    assert (row["AOI"], row["AOI paper"], row["DACC_final"]) == (2.5, 60.88, 0.93)


def test_a_lite_page_says_what_lite_means(tmp_path: Path) -> None:
    id_ = lite("icml24-table1").id
    cells = plan(id_, seeds=[0], cells=["cnn/fashion-mnist/fang/*"], root=tmp_path)
    fake(cells, {"TACC": 0.8}, FOUND, optimisation={"aoi": 3.0, "errors": {}})
    data, page = publish(id_, cells, tmp_path / "docs", tmp_path)
    assert (data.name, page.name) == ("icml24-table1-lite.json", "icml24-table1-lite.md")
    stored, text = json.loads(data.read_text()), page.read_text()
    assert text == render(stored)
    assert stored["runs"][0]["optimisation"] == {"aoi": 3.0, "errors": {}}
    assert "$ fedsiege reproduce icml24-table1 --lite --seeds 0 --threads 1\n" in text
    assert "# Table 1: who is found malicious (lite)" in text
    assert "Lite form: 20 clients with about 600 images" in text
    assert "| DACC (%) | paper | FPR (%) | paper | FNR (%) | paper | AAR | paper |" in text
    assert "| cnn, fashion-mnist | 30 % | fldetector | fang | 93.00 | 93.00 | 9.72 | 9.72 | 0.00 | 0.00 |" in text
    # The runs come back from the published table alone.
    again, _ = publish(id_, cells, tmp_path / "docs", tmp_path / "elsewhere")
    assert json.loads(again.read_text())["runs"] == stored["runs"]


def test_rounds_are_compared_with_those_of_each_cell(tmp_path: Path) -> None:
    cells = plan("icml24-fig4", root=tmp_path)
    assert {c.config.federation.rounds for c in cells} == {100, 250, 500}
    assert not any("Run for" in note for note in tabulate("icml24-fig4", cells).notes)
    short = plan("icml24-fig4", rounds=10, root=tmp_path)
    assert any("Run for [2, 5, 10] rounds, not the paper's 500" in n for n in tabulate("icml24-fig4", short).notes)
    _, page = publish("icml24-fig4", short, tmp_path / "docs", tmp_path, 10)
    assert "--rounds 10\n" in page.read_text()


def test_an_identifier_finds_its_target() -> None:
    assert target("icml24-fig2-lite") is lite("icml24-fig2") is lite("icml24-fig2-lite")
    with pytest.raises(ConfigError, match="did you mean 'icml24-table1'"):
        target("icml24-tabel1")
