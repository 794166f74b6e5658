"""Every registered defense works through Flower, or says by name what it lacks when the strategy is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg, FedMedian, Krum, QFedAvg
from torch import nn

from fedsiege import registry
from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.defenses.fl_wbc import FLWBC
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.redefense import FedREDefense
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.defenses.union import Union
from fedsiege.errors import ConfigError
from fedsiege.flower import strategy as strategy_module
from fedsiege.flower.layout import to_record
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.flower.virtual import module_task
from tests.flower import bench
from tests.flower.bench import averaging, model, one_round

PLAIN = {"none", "median", "trimmedmean", "krum", "multikrum", "normbound", "flame", "clustering", "afa", "contra",
         "fldetector"}  # fmt: skip
LACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "fltrust": ("clean training data on the server", {"root": bench.root}),
    "redefense": ("training on distilled knowledge", {"virtual": bench.Task()}),
    "union": ("a table of item embeddings", {"items": "items", "client_half": True}),
    "union-memory": ("a table of item embeddings", {"items": "items", "client_half": True}),
    "fl-wbc": ("client-side half", {"client_half": True}),
}


def test_every_registered_defense_is_here() -> None:
    assert PLAIN | set(LACKS) | {"flcert"} == set(registry.entries("defenses"))


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_most_need_nothing(name: str) -> None:
    DefendedStrategy(averaging(), name)


def test_a_name_clips_to_the_median_norm_as_no_figure_suits_every_model() -> None:
    assert DefendedStrategy(averaging(), "normbound").defense == NormBound(bound=None)
    assert NormBound().bound == 0.1
    chain: Any = DefendedStrategy(averaging(), "flame+normbound").defense
    assert chain.parts[1] == NormBound(bound=None)


@pytest.mark.parametrize(
    ("name", "hears"),
    [("krum", True), ("median", False), ("flame+krum", True), ("trimmedmean", True), ("flame+trimmedmean", True)],
)
def test_the_number_of_attackers_is_told_to_those_who_heed_it(
    name: str, hears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(strategy_module, "log", lambda level, text, *values: said.append(text % values))
    server = DefendedStrategy(averaging(), name, told=2).server
    server.begin(model())
    assert server.view(1).told == (2 if hears else None)
    assert said == ([] if hears else [f"told=2 changes nothing: {name} heeds no number of malicious clients"])


def test_a_trimmed_mean_by_name_cuts_as_many_as_may_be_malicious_where_that_is_told() -> None:
    assert DefendedStrategy(averaging(), "trimmedmean").defense == TrimmedMean()
    strategy = DefendedStrategy(averaging(), "trimmedmean", told=1)
    assert strategy.defense == TrimmedMean(trim=None)
    own = DefendedStrategy(averaging(), TrimmedMean(trim=0.1), told=1)
    assert own.defense == TrimmedMean(trim=0.1)


@pytest.mark.parametrize("name", sorted(LACKS))
def test_what_is_missing_is_said_and_helps(name: str) -> None:
    word, given = LACKS[name]
    with pytest.raises(ConfigError, match=f"'{name}'.*{word}"):
        DefendedStrategy(averaging(), name)
    DefendedStrategy(averaging(), name, **given)


def test_a_table_alone_is_not_enough_for_union() -> None:
    with pytest.raises(ConfigError, match="'union' has a client-side half"):
        DefendedStrategy(averaging(), "union", items="items")
    DefendedStrategy(averaging(), Union(alpha=0.0), items="items")
    DefendedStrategy(averaging(), FLWBC(scale=0.0))


def test_a_strategy_whose_step_cannot_be_looked_ahead_at_is_refused() -> None:
    class Own(DefendedStrategy):
        """A strategy with no class of Flower's below its aggregation."""

        def __init__(self) -> None:
            pass

    for name in ("union", "union-memory", "union+multikrum"):
        with pytest.raises(ConfigError, match=r'Own makes it in its own way.*simulate="sgd"'):
            DefendedStrategy(Own(), name, items="items", client_half=True)
    DefendedStrategy(Own(), Union(simulate="sgd"), items="items", client_half=True)
    DefendedStrategy(Own(), "median")


def test_several_global_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="'flcert' keeps 10 global models"):
        DefendedStrategy(averaging(), "flcert")


def test_names_are_joined_and_unknown_ones_answered() -> None:
    made = DefendedStrategy(averaging(), "union+multikrum", items="items", client_half=True)
    assert made.defense.name == "union+multikrum"
    with pytest.raises(ConfigError, match="did you mean 'multikrum'"):
        DefendedStrategy(averaging(), "multi-krum")


@pytest.mark.parametrize("inner", [Krum, FedMedian, QFedAvg])
def test_strategies_that_need_the_single_uploads_are_refused(inner: Any) -> None:
    with pytest.raises(ConfigError, match=f"{inner.__name__} .* sees one aggregate"):
        DefendedStrategy(inner(**({"client_learning_rate": 0.1} if inner is QFedAvg else {})), "median")


def test_a_wrong_table_or_model_is_named() -> None:
    with pytest.raises(ConfigError, match="items = 'embedding' must name a float array"):
        DefendedStrategy(FedAvg(), "median", items="embedding").resume(to_record(model()))
    with pytest.raises(ConfigError, match="complex64"):
        DefendedStrategy(FedAvg(), "median").resume(to_record({"w": np.zeros(3, np.complex64)}))
    with pytest.raises(ConfigError, match="nothing that clients could learn"):
        DefendedStrategy(FedAvg(), "median").resume(to_record({"w": np.zeros(3, np.int64)}))
    net = nn.Linear(4, 2)
    with pytest.raises(ConfigError, match="'weight', which the model's arrays lack"):
        DefendedStrategy(FedAvg(), "redefense", virtual=module_task(net, (4,), 2)).resume(to_record(model()))


def test_a_root_function_that_fails_is_the_users_to_mend() -> None:
    def broken(arrays: ArrayRecord, samples: int) -> ArrayRecord:
        raise ValueError("no such file")

    def short(arrays: ArrayRecord, samples: int) -> ArrayRecord:
        return ArrayRecord()

    for root, word in ((broken, "root failed with ValueError: no such file"), (short, "root must return")):
        strategy = DefendedStrategy(averaging(), FLTrust(), root=root)
        with pytest.raises(ConfigError, match=word):
            one_round(strategy, bench.without_hostile(), model())


def test_root_gets_the_model_and_the_number_of_samples() -> None:
    seen: list[int] = []

    def root(arrays: ArrayRecord, samples: int) -> ArrayRecord:
        seen.append(samples)
        assert bench.same(bench.to_values(arrays), model())
        return bench.root(arrays, samples)

    one_round(DefendedStrategy(averaging(), FLTrust(samples=77), root=root), bench.without_hostile(), model())
    assert seen == [77]


def soft(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (output - labels).square().mean()


def test_module_tasks_take_a_loss_and_leave_buffers_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    task = module_task(net, (4,), 3, soft)
    params = {name: p.detach() for name, p in net.named_parameters()}
    knowledge = {"inputs": torch.randn(2, 4), "labels": torch.randn(2, 3)}
    expected = (net.eval()(knowledge["inputs"]) - knowledge["labels"]).square().mean()
    torch.testing.assert_close(task.loss(params, knowledge), expected)
    plain = module_task(net, (4,), 3)
    log = net.eval()(knowledge["inputs"]).log_softmax(-1)
    torch.testing.assert_close(plain.loss(params, knowledge), -(knowledge["labels"].softmax(-1) * log).mean())
    values = {name: t.detach().numpy().copy() for name, t in net.state_dict().items()}

    def client(message: Any, context: Any) -> Any:
        got = bench.to_values(message.content["arrays"])
        moved = {n: v + np.float32(0.01) if v.dtype.kind == "f" else v for n, v in got.items()}
        return bench.answer(message, moved)

    quick = FedREDefense(gamma=2.0, pairs=2, inner=1, first=2, workers=1)
    strategy = DefendedStrategy(averaging(), quick, virtual=plain)
    got = one_round(strategy, bench.LocalGrid(client, 4), values)
    assert got is not None
    assert got["1.num_batches_tracked"].dtype == np.int64
    assert not strategy.history[0]["failed"]


def test_the_package_works_without_attacks(tmp_path: Path) -> None:
    """Importing every production module imports no attack."""
    import subprocess
    import sys

    code = (
        "import sys, pkgutil, importlib, fedsiege.flower as f\n"
        "import fedsiege.flower.strategy, fedsiege.flower.mods, fedsiege.flower.virtual, fedsiege.flower.grid\n"
        "bad = [m for m in sys.modules if m.startswith('fedsiege.attacks')]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
