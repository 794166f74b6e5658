"""The audit of an app as `flwr new` lays it out: what it runs, what it says, and that it leaves the app alone."""

from __future__ import annotations

import json
import math
import os
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro

pytest.importorskip("flwr")

from flwr.serverapp.strategy import FedAvg

from fedsiege.cli.audit import Audit
from fedsiege.cli.main import main
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.errors import ConfigError, RunError
from fedsiege.redteam.audit import runner
from fedsiege.redteam.audit.app import overrides, read_app
from fedsiege.redteam.audit.cell import defense_of, told_of
from fedsiege.redteam.audit.metric import is_lower, metrics_of
from fedsiege.redteam.audit.page import page
from fedsiege.redteam.audit.plan import CLEAN, OWN, Job, malicious_places, plan
from fedsiege.redteam.audit.score import HARM, Card, harm_limit, make_card
from fedsiege.redteam.audit.words import change, findings, footnote, stopped_by, title
from tests.redteam.apps import write_app


def result(job: Job, accuracy: float, **more: object) -> dict:
    """A made-up result of a job that has run well."""
    server = {"0": {"accuracy": 0.1, "loss": 2.3}, "3": {"accuracy": accuracy, "loss": 1 - accuracy}}
    return {
        "status": "ok", "error": None, "key": job.key, "label": job.label, "strategy": "FedAvg", "server": server,
        "clients": {}, "train": {}, "aggregation": [0.01, 0.02, 0.03], "verdicts": None, **more,
    }  # fmt: skip


def made_up(tmp_path: Path, **values: float) -> tuple[list[Job], dict[str, dict]]:
    """An audit of two attacks and a defense; accuracies by ATTACK_DEFENSE, 0.9 where nothing is said."""
    jobs = plan(read_app(write_app(tmp_path, "numpy")), ["nan", "lie"], ["multikrum"])
    return jobs, {j.label: result(j, values.get(f"{j.attack}_{j.defense}_{j.seed}", 0.9)) for j in jobs}


def card_of(tmp_path: Path, **values: float) -> Card:
    return make_card(*made_up(tmp_path, **values))


def test_an_app_is_read_without_being_run(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "numpy", rounds=4)
    (folder / "quickstart_numpy" / "server_app.py").write_text("raise SystemExit('I was run')")
    app = read_app(folder, "num-server-rounds=7 learning-rate=0.25")
    assert app.name == "quickstart-numpy"
    assert (app.server, app.client) == ("quickstart_numpy.server_app:app", "quickstart_numpy.client_app:app")
    assert app.run_config["num-server-rounds"] == 7
    assert app.run_config["learning-rate"] == 0.25
    assert app.run_config["batch-size"] == 32
    assert app.nodes == 10


def test_nodes_come_from_an_older_pyproject(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "numpy")
    with (folder / "pyproject.toml").open("a") as file:
        file.write('\n[tool.flwr.federations]\ndefault = "b"\n[tool.flwr.federations.a]\noptions.num-supernodes = 4\n')
        file.write("[tool.flwr.federations.b]\noptions.num-supernodes = 6\n")
    assert read_app(folder).nodes == 6


def test_what_is_no_app_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pyproject\.toml"):
        read_app(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(ConfigError, match="names no serverapp"):
        read_app(tmp_path)
    with pytest.raises(ConfigError, match="no setting 'rounds'"):
        read_app(write_app(tmp_path, "numpy"), "rounds=3")
    with pytest.raises(ConfigError, match="key=value"):
        overrides("rounds")


def test_a_change_of_the_source_changes_every_key(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "numpy")
    before = {job.key for job in plan(read_app(folder))}
    assert before == {job.key for job in plan(read_app(folder))}
    with (folder / "quickstart_numpy" / "task.py").open("a") as file:
        file.write("\n# changed\n")
    assert not before & {job.key for job in plan(read_app(folder))}


def test_the_plan_is_a_grid_and_a_second_clean_run(tmp_path: Path) -> None:
    jobs = plan(read_app(write_app(tmp_path, "numpy")), ["nan", "lie"], ["median"], nodes=9, malicious=0.3)
    cells = [(j.attack, j.defense, j.seed) for j in jobs]
    assert cells[:2] == [(CLEAN, OWN, 0), (CLEAN, OWN, 1)]
    assert set(cells[2:]) == {(a, d, 0) for a in (CLEAN, "nan", "lie") for d in (OWN, "median")} - {(CLEAN, OWN, 0)}
    assert all(j.malicious == ((6, 7, 8) if j.attack != CLEAN else ()) and j.told == 3 for j in jobs)
    assert len({j.label for j in jobs}) == len({j.key for j in jobs}) == len(jobs)


def test_the_malicious_are_a_minority_of_at_least_one() -> None:
    assert malicious_places(10, 0.2) == (8, 9)
    assert malicious_places(3, 0.1) == (2,)
    assert malicious_places(4, 0.49) == (3,)
    for nodes, share in ((2, 0.2), (10, 0.5), (10, 0.0)):
        with pytest.raises(ConfigError):
            malicious_places(nodes, share)


def test_a_card_names_harm_and_remedy(tmp_path: Path) -> None:
    card = card_of(tmp_path, nan_own_0=0.1, none_multikrum_0=0.89, none_own_1=0.91)
    assert card.metric.name == "accuracy"
    assert card.harmful == ("nan",)
    assert card.stoppers("nan") == ("multikrum",)
    assert card.best == "multikrum"
    assert card.scores["nan", OWN].harm == pytest.approx(8 / 9)
    assert change(card.scores["nan", OWN]) == "-89%"
    assert card.costs["multikrum"].points == pytest.approx(0.01)
    assert card.costs["multikrum"].milliseconds == pytest.approx(20)
    assert card.chance == pytest.approx(0.01 / 0.9)
    assert card.line("multikrum") == 'strategy = DefendedStrategy(strategy, "multikrum", told=2)'
    assert "1 of 2 attacks by 2 malicious nodes of 10 harm FedAvg" in findings(card)[0]


def test_small_changes_are_chance_where_chance_is_large(tmp_path: Path) -> None:
    assert card_of(tmp_path, lie_own_0=0.8).harmful == ("lie",)
    assert card_of(tmp_path / "b", lie_own_0=0.8, none_own_1=0.8).harmful == ()


def test_harm_is_what_twice_the_chance_does_not_explain() -> None:
    assert [harm_limit(chance) for chance in (0.0, 0.01, math.nan)] == [HARM] * 3
    assert [harm_limit(chance) for chance in (0.1, 0.2, 0.25, 0.9)] == [0.2, 0.4, 0.5, 0.5]


def test_runs_that_end_badly_count_as_harm(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path)
    results["nan_own_seed0"] |= {"status": "crashed", "error": "ValueError: shapes"}
    results["lie_multikrum_seed0"] |= {"status": "refused", "error": "no"}
    results["lie_own_seed0"]["server"]["3"]["accuracy"] = math.nan
    card = make_card(jobs, results)
    assert card.harmful == ("nan", "lie")
    assert card.stoppers("lie") == ()
    assert change(card.scores["nan", OWN]) == "run ended"
    assert change(card.scores["lie", OWN]) == "not a number"
    assert "nan ended the whole run" in findings(card)[0]
    assert "Nothing in this battery stopped lie" in " ".join(findings(card))
    assert "ValueError: shapes" in page(card, "x")


def test_a_failed_clean_run_leaves_nothing_to_say(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path)
    results[jobs[0].label] |= {"status": "crashed", "error": "ImportError: no data"}
    with pytest.raises(RunError, match="ImportError: no data"):
        make_card(jobs, results)


def test_an_attack_that_was_not_mounted_has_harmed_nothing(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path)
    why = {"status": "refused", "error": "items = 'x' must name a float array"}
    results["lie_own_seed0"] |= why
    results["lie_multikrum_seed0"] |= why
    card = make_card(jobs, results)
    assert (card.harmful, card.refused, card.stoppers("lie")) == ((), ("lie",), ())
    said = findings(card)
    assert said[0] == "None of 1 attacks by 2 malicious nodes of 10 did measurable harm to FedAvg."
    assert said[1] == "lie could not be mounted: items = 'x' must name a float array."
    assert (stopped_by(card, "lie"), stopped_by(card, "nan"), stopped_by(card, CLEAN)) == (
        "not possible",
        "harmless here",
        "",
    )
    assert "<td>not possible</td>" in page(card, "x")
    results["nan_own_seed0"] |= why
    assert "nothing is known of FedAvg" in findings(make_card(jobs, results))[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_clean_run_without_a_number_leaves_nothing_to_say(value: float, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"accuracy = {value}, from which an attack can take nothing"):
        card_of(tmp_path, none_own_0=value)


def test_an_evaluation_that_fails_from_some_round_on_is_harm(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path)
    for label in ("nan_own_seed0", "lie_own_seed0"):
        results[label]["server"] = {"1": {"accuracy": 0.5}, "2": {"accuracy": 0.9}}
    # Three rounds were run, and the last one gave no score; the other run stopped after two, as early stopping does.
    results["lie_own_seed0"]["aggregation"] = [0.01, 0.02]
    card = make_card(jobs, results)
    assert card.harmful == ("nan",)
    assert change(card.scores["nan", OWN]) == "not a number"
    assert card.scores["lie", OWN].value == 0.9
    assert 'aria-label="accuracy by round under nan"' in page(card, "x")


@pytest.mark.parametrize("status", ["timeout", "crashed", "ok"])
def test_without_a_second_clean_run_nothing_is_put_down_to_chance(status: str, tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path, lie_own_0=0.6)
    results["none_own_seed1"] |= {"status": status, "error": None if status == "ok" else "no", "server": {}}
    card = make_card(jobs, results)
    assert math.isnan(card.chance)
    assert card.harmful == ("lie",)  # a third of the score is gone
    assert "how much of a difference is chance is not known" in " ".join(findings(card))
    assert "another seed is not known" in footnote(card)
    assert "more than 5% of the clean score" in footnote(card)
    assert "another seed is not known" in page(card, "x")


def test_the_line_to_add_tells_what_the_audited_defense_was_told(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path, nan_own_0=0.1)
    for job in jobs:
        if job.defense != OWN:
            results[job.label]["told"] = 1
    card = make_card(jobs, results)
    assert card.line("multikrum").endswith("told=1)")
    assert "Told that 1 node of a round may be malicious: multikrum." in footnote(card)
    assert [told_of(jobs[0], SimpleNamespace(fraction_train=share)) for share in (1.0, 0.5, 0.1)] == [2, 1, 1]
    assert told_of(jobs[0], SimpleNamespace()) == 2
    # The number of nodes may be given by its minimum alone: two of ten are malicious in every round of ten.
    few = {5: 1, 6: 2, 10: 2, 99: 2}
    assert {n: told_of(jobs[0], FedAvg(fraction_train=1e-5, min_train_nodes=n)) for n in few} == few


def test_what_the_system_killed_is_run_again_and_what_the_app_did_is_not(tmp_path: Path) -> None:
    jobs, _ = made_up(tmp_path)
    folder = tmp_path / jobs[0].label
    folder.mkdir()
    lost = runner._outcome(jobs[0], folder, -9, False, 1.0)
    assert lost["status"] == "crashed"
    assert "ended with code -9" in lost["error"]
    assert runner.stored(jobs[0], tmp_path) is None
    (folder / "result.json").write_text(json.dumps({"key": jobs[0].key, "status": "crashed", "error": "ValueError"}))
    assert runner.stored(jobs[0], tmp_path) is not None


def test_an_audit_inside_the_apps_folder_is_no_part_of_the_app(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "numpy")
    before = read_app(folder, out=folder / "results").digest
    made = folder / "results" / "nan_own_seed0"
    made.mkdir(parents=True)
    (made / "job.json").write_text("{}", encoding="utf-8")
    assert read_app(folder, out=folder / "results").digest == before
    assert read_app(folder, out=tmp_path / "elsewhere").digest != before


def test_an_audit_around_the_app_sees_its_changes(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "numpy")
    before = read_app(folder, out=tmp_path).digest
    assert before == read_app(folder, out=tmp_path / "elsewhere").digest
    with (folder / "quickstart_numpy" / "task.py").open("a") as file:
        file.write("\n# changed\n")
    assert read_app(folder, out=tmp_path).digest != before
    with pytest.raises(ConfigError, match="is the app's own folder"):
        read_app(folder, out=folder / ".")


def test_metrics_are_ranked_and_their_direction_is_read_from_the_name(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path)
    one = results[jobs[0].label]
    one["clients"] = {"3": {"eval_acc": 0.8, "eval_loss": 0.2}}
    assert [m.name for m in metrics_of(one)] == ["accuracy", "eval_acc", "loss", "eval_loss"]
    assert [m.lower for m in metrics_of(one)] == [False, False, True, True]
    loss = make_card(jobs, results, "loss")
    assert loss.metric.harm(0.1, 0.2) == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="accuracy"):
        make_card(jobs, results, "f1")


@pytest.mark.parametrize(
    ("lower", "names"),
    [
        (True, "error_rate loss_avg test_loss_centralized cross_entropy crossentropy mape val/err MSELoss trainloss"),
        (True, "evalLoss loss1 RMSE@1 max-error word.error.rate WER perplexity ppl false_negative_rate brier_score"),
        (True, "negative_log_likelihood kl_divergence cer misses"),
        (False, "accuracy eval_acc f1 HR@10 R2 mAP power answer lossless true_negative_rate log_likelihood"),
        (False, "neg_mean_squared_error neg_log_loss reward"),
    ],
)
def test_the_direction_is_read_from_any_word_of_a_name(lower: bool, names: str) -> None:
    assert {name: is_lower(name) for name in names.split()} == dict.fromkeys(names.split(), lower)


def test_only_defenses_that_heed_the_number_are_said_to_know_it(tmp_path: Path) -> None:
    jobs = plan(read_app(write_app(tmp_path, "numpy")), ["nan"], ["median", "trimmedmean", "flame+krum"])
    card = make_card(jobs, {j.label: result(j, 0.9) for j in jobs})
    assert card.line("median") == 'strategy = DefendedStrategy(strategy, "median")'
    assert card.line("trimmedmean") == 'strategy = DefendedStrategy(strategy, "trimmedmean", told=2)'
    assert footnote(card).endswith("Told that 2 nodes of a round may be malicious: trimmedmean, flame+krum.")
    made = {j.defense: defense_of(j)(FedAvg()) for j in jobs if j.defense != OWN}
    assert {name: strategy.server.told for name, strategy in made.items()} == {
        "median": None, "trimmedmean": 2, "flame+krum": 2,
    }  # fmt: skip
    assert made["trimmedmean"].defense == TrimmedMean(trim=None)
    jobs = plan(read_app(write_app(tmp_path / "other", "numpy")), ["nan"], ["median"])
    assert "Told" not in footnote(make_card(jobs, {j.label: result(j, 0.9) for j in jobs}))


def test_what_a_name_says_can_be_overruled_and_is_told(tmp_path: Path) -> None:
    jobs, results = made_up(tmp_path)
    for one in results.values():
        one["server"] = {"3": {"error_rate": 0.1, "gini": 1.0}}
    results["lie_own_seed0"]["server"]["3"]["error_rate"] = 0.9
    card = make_card(jobs, results)
    # What is known to be worse when higher says more than what nothing is known of.
    assert (card.metric.name, card.harmful) == ("error_rate", ("lie",))
    assert title(card) == "error_rate under attack (lower is better)"
    assert "lower is better, going by its name (if not: --better higher)." in footnote(card)
    assert "(lower is better)" in page(card, "x")
    stated = make_card(jobs, results, None, "higher")
    assert (stated.metric.name, stated.harmful) == ("error_rate", ())
    assert title(stated).endswith("(higher is better)")
    assert "higher is better. Clean" in footnote(stated)
    assert make_card(jobs, results, "gini", "lower").metric.lower


def test_the_command_that_goes_on_is_the_same_audit(tmp_path: Path) -> None:
    asked = Audit(tmp_path, better="lower", metric="gini", link=("data", "my weights"), nodes=5)
    again = tyro.cli(Audit, args=shlex.split(asked.resume())[2:])
    assert again == replace(asked, out=asked.folder)


def test_names_on_the_page_are_text(tmp_path: Path) -> None:
    text = page(card_of(tmp_path, nan_own_0=0.1), "<script>alert(1)</script>")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<svg viewBox='0 0 300 150'") + text.count('<svg viewBox="0 0 300 150"') == 2


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An app of the quickstart's layout and its finished audit (a smaller battery, so that the test is quick)."""
    root = tmp_path_factory.mktemp("audit")
    app = write_app(root, "numpy")
    words = ["audit", str(app), "--attacks", "shape", "overcount", "--defenses", "multikrum", "--jobs", "2"]
    assert main([*words, "--out", str(root / "out"), "--malicious", "0.2"]) == 0
    return app, root / "out"


def test_an_unmodified_quickstart_gets_a_score_card(audited: tuple[Path, Path]) -> None:
    _, out = audited
    results = {p.parent.name: json.loads(p.read_text()) for p in out.glob("*/result.json")}
    assert len(results) == 7
    assert results["shape_own_seed0"]["status"] == "crashed"
    assert results["overcount_own_seed0"]["clients"]["3"]["eval_acc"] < 0.5
    for attack in ("none", "shape", "overcount"):
        defended = results[f"{attack}_multikrum_seed0"]
        assert defended["status"] == "ok"
        assert defended["clients"]["3"]["eval_acc"] > 0.8
    assert results["shape_multikrum_seed0"]["verdicts"]["hostile_rejected"] == 6
    text = (out / "scorecard.html").read_text("utf-8")
    assert "DefendedStrategy(strategy, &quot;multikrum&quot;, told=2)" in text
    assert "prefers-color-scheme: dark" in text


def test_an_audit_leaves_the_app_alone(audited: tuple[Path, Path]) -> None:
    app, out = audited
    left = {p.name for p in app.rglob("*") if p.is_file()}
    assert left == {"pyproject.toml", "README.md", "__init__.py", "task.py", "client_app.py", "server_app.py"}
    # Of the copy that a run worked in, what it has written remains.
    assert [p.name for p in (out / "none_own_seed0" / "work").rglob("*")] == ["final_model.npz"]


def test_what_an_app_overwrites_is_its_copy(tmp_path: Path) -> None:
    app = write_app(tmp_path, "numpy", rounds=1)
    (app / "final_model.npz").write_bytes(b"trained for days")
    (app / "models").mkdir()
    (app / "models" / "best.json").write_text("{}")
    server = app / "quickstart_numpy" / "server_app.py"
    server.write_text(
        "import pathlib\n"
        + server.read_text()
        + """    pathlib.Path("models/best.json").write_text("[1]")
    pathlib.Path("models/last.json").write_text("[2]")
    pathlib.Path(__file__).with_name("beside.json").write_text("[3]")
"""
    )
    before = {p: p.read_bytes() if p.is_file() else None for p in app.rglob("*")}
    words = ["audit", str(app), "--attacks", "nan", "--defenses", "--jobs", "2", "--out", str(app / "audited")]
    assert main(words) == 0
    after = {p: p.read_bytes() if p.is_file() else None for p in app.rglob("*") if "audited" not in p.parts}
    assert after == before
    work = app / "audited" / "none_own_seed0" / "work"
    assert {str(p.relative_to(work)) for p in work.rglob("*") if p.is_file()} == {
        "final_model.npz", "models/best.json", "models/last.json", "quickstart_numpy/beside.json",
    }  # fmt: skip
    stamps = {p: p.stat().st_mtime_ns for p in app.glob("audited/*/result.json")}
    assert len(stamps) == 3
    assert main(words) == 0
    assert {p: p.stat().st_mtime_ns for p in app.glob("audited/*/result.json")} == stamps


def test_an_audit_goes_on_where_it_was(audited: tuple[Path, Path]) -> None:
    app, out = audited
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("*/result.json")}
    (out / "overcount_own_seed0" / "result.json").unlink()
    words = ["audit", str(app), "--attacks", "shape", "overcount", "--defenses", "multikrum", "--jobs", "1"]
    assert main([*words, "--out", str(out)]) == 0
    again = {p: p.stat().st_mtime_ns for p in out.glob("*/result.json")}
    assert {p.parent.name for p in again if again[p] != stamps[p]} == {"overcount_own_seed0"}


def test_an_app_that_hangs_is_stopped(tmp_path: Path) -> None:
    from fedsiege.redteam.audit.runner import run_jobs

    app = write_app(tmp_path, "numpy")
    server = app / "quickstart_numpy" / "server_app.py"
    server.write_text(
        "import time\n" + server.read_text().replace("    strategy =", "    time.sleep(600)\n    strategy =")
    )
    job = plan(read_app(app))[0]
    result = run_jobs([job], tmp_path / "out", timeout=8.0)[job.label]
    assert result["status"] == "timeout"


def test_an_app_that_leaves_a_thread_behind_is_not_waited_for(tmp_path: Path) -> None:
    from fedsiege.redteam.audit.runner import run_jobs

    app = write_app(tmp_path, "numpy", rounds=1)
    with (app / "quickstart_numpy" / "server_app.py").open("a") as file:
        file.write("    import threading, time\n    threading.Thread(target=time.sleep, args=(600,)).start()\n")
    job = plan(read_app(app))[0]
    result = run_jobs([job], tmp_path / "out", timeout=120.0)[job.label]
    assert (result["status"], result["error"]) == ("ok", None)
    assert result["clients"]["1"]["eval_acc"] > 0.5


@pytest.mark.parametrize(
    ("at", "code", "error"),
    [
        ("end", "0", None),
        ("end", "3", "the app ended the process with code 3"),
        ("begin", "", "the app ended the process with code 0"),
    ],
)
def test_an_app_that_ends_the_process_has_run_if_its_strategy_had_ended(
    at: str, code: str, error: str | None, tmp_path: Path
) -> None:
    from fedsiege.redteam.audit.runner import run_jobs

    app = write_app(tmp_path, "numpy", rounds=1)
    server = app / "quickstart_numpy" / "server_app.py"
    leave = f"    import sys; sys.exit({code})\n"
    text = server.read_text()
    server.write_text(text + leave if at == "end" else text.replace("    strategy =", leave + "    strategy =", 1))
    job = plan(read_app(app))[0]
    result = run_jobs([job], tmp_path / "out", timeout=120.0)[job.label]
    assert result["error"] == error
    assert result["status"] == ("crashed" if error else "ok")
    assert ("1" in result["clients"]) == (at == "end")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one thread anyway")
def test_jobs_side_by_side_share_the_cores(tmp_path: Path) -> None:
    from fedsiege.redteam.audit.runner import run_jobs

    app = write_app(tmp_path, "numpy")
    server = app / "quickstart_numpy" / "server_app.py"
    told = "    import numba, torch\n    print('threads', torch.get_num_threads(), numba.get_num_threads())\n"
    server.write_text(server.read_text().replace("    strategy =", told + "    strategy =", 1))
    job = plan(read_app(app))[0]
    run_jobs([job], tmp_path / "out", parallel=os.cpu_count() or 1)
    assert "threads 1 1" in (tmp_path / "out" / job.label / "log.txt").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attacks", "labelflip"], "poisons training data"),
        (["--attacks", "lei"], "lie"),
        (["--defenses", "multikrun"], "multikrum"),
        (["--malicious", "0.6"], "below 0.5"),
        (["--jobs", "0"], "at least 1"),
        (["--timeout", "0"], "above 0"),
        (["--timeout", "inf"], "above 0"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    app = write_app(tmp_path, "numpy")
    assert main(["audit", str(app), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
