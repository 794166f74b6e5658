"""The same federation in the native simulator and on an in-process Flower grid: same aggregates, same verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from fedsiege import registry
from fedsiege.attacks import Attack
from fedsiege.attacks.cluster_attack import ClusterAttack
from fedsiege.attacks.gaussian import Gaussian
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.lie import LIE
from fedsiege.defenses import Defense, Outcome
from fedsiege.defenses.afa import AFA
from fedsiege.defenses.clustering import Clustering
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.contra import Contra
from fedsiege.defenses.fl_detector import FLDetector
from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.defenses.fl_wbc import FLWBC
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.none import FedAvg
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.redefense import FedREDefense
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.defenses.union import Union
from fedsiege.defenses.union_memory import UnionMemory
from fedsiege.flower.counts import SampleCap
from fedsiege.flower.layout import to_record, to_values
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.learners.virtual import ModuleTask
from fedsiege.learners.virtual_mf import UserTask
from tests.conformance.catalogue import label
from tests.flower.federations import FederationGrid, classifier, initial, pair, plain_fedavg, recommender

ROUNDS = 5

QUICK = FedREDefense(gamma=0.96, pairs=4, inner=2, first=40, later=20, workers=1)
QUICK_MF = FedREDefense(
    gamma=0.97, pairs=1, inner=1, input_lr=5e-4, label_lr=0.06, virtual_lr=64.0, rate_lr=0.0, momentum=0.8,
    first=10, later=5, workers=1,
)  # fmt: skip

ON_PICTURES: list[Defense] = [
    FedAvg(),
    FedAvg(weighting="uniform"),
    Median(),
    TrimmedMean(),
    Krum(),
    MultiKrum(byzantine=0.3),
    NormBound(),
    NormBound(bound=None),
    FLTrust(samples=40),
    Flame(),
    Clustering(),
    AFA(),
    Contra(memory=True, threshold=0.1, neighbours=2),
    FLDetector(cold_start=1, window=2),
    QUICK,
    Pipeline((FLDetector(cold_start=1, window=2), AFA(weighting="uniform"), Flame(noise=0.0))),
]
ON_ITEMS: list[Defense] = [
    MultiKrum(),
    TrimmedMean(),
    FLWBC(),
    Union(),
    Union(as_published=True),
    Union(simulate="sgd", samples=20),
    UnionMemory(outlier=2.0, drift=0.5, evidence=1.0),
    QUICK_MF,
    Pipeline((Union(), MultiKrum())),
    Pipeline((UnionMemory(), MultiKrum(), NormBound())),
]
REFUSED = {"flcert"}
"""Defenses that a Flower server cannot run; see test_needs."""


def flat(outcome: Outcome) -> np.ndarray:
    assert outcome.delta is not None
    return np.concatenate([block.dense().double().numpy().ravel() for block in outcome.delta.values()])


def check_same(native: Outcome, flower: Outcome, copies: np.ndarray) -> None:
    """Aggregates to 1e-5 relative, and the same verdicts, up to ties between clients that upload the same.

    Krum takes one of several `copies` (bool ``(n,)``) of an upload; which, rounding decides, and that depends on the
    processor.
    """
    mine, theirs = native.verdicts, flower.verdicts
    order = np.arange(len(mine.accepted))
    swapped = np.flatnonzero(theirs.accepted != mine.accepted)
    if swapped.size:
        assert copies[swapped].all()
        np.testing.assert_allclose(mine.score[swapped], mine.score[swapped[0]], rtol=1e-5)
        taken = mine.accepted[swapped]
        assert 2 * taken.sum() == swapped.size
        order[swapped[taken]], order[swapped[~taken]] = swapped[~taken], swapped[taken]
    assert theirs.accepted[order].tolist() == mine.accepted.tolist()
    assert [theirs.reason[i] for i in order] == list(mine.reason)
    assert theirs.restart == mine.restart
    assert (theirs.expelled is None) == (mine.expelled is None)
    if mine.expelled is not None:
        assert theirs.expelled is not None
        assert theirs.expelled.tolist() == mine.expelled.tolist()
    np.testing.assert_allclose(theirs.weight[order], mine.weight, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(theirs.score, mine.score, rtol=1e-3, atol=1e-6)
    assert (flower.delta is None) == (native.delta is None)
    if native.delta is not None:
        expected, got = flat(native), flat(flower)
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def compare(make: Any, attack: Attack, defense: Defense, grid_options: dict[str, Any], malicious: float) -> list[dict]:
    native, grid = pair(make, attack, defense, malicious)
    expected = []
    for _ in range(ROUNDS):
        native.step()
        expected.append((native.part.cohort + 1001, native.part, native.model.snapshot()))
    strategy = DefendedStrategy(
        plain_fedavg(), defense, cap=SampleCap(times_median=1e9), client_half=True, **grid_options
    )
    got: list[tuple[list[int], Outcome]] = []
    strategy.on_outcome = lambda round_, outcome, nodes: got.append((nodes, outcome))
    result = strategy.start(grid, initial(native.learner), ROUNDS)
    assert len(got) == ROUNDS
    for (nodes, part, _), (mine, outcome) in zip(expected, got):
        assert mine == nodes.tolist()
        # All clients of LIE upload one vector.
        check_same(part.outcome, outcome, part.bad & isinstance(attack, LIE))
    final = {name: value.numpy() for name, value in native.model.snapshot().items()}
    for name, value in to_values(result.arrays).items():
        np.testing.assert_allclose(value, final[name], rtol=1e-4, atol=1e-6)
    return strategy.history


def options(defense: Defense, grid: FederationGrid | None, items: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    learner = classifier() if items is None else recommender()
    if "virtual" in defense.needs:
        given["virtual"] = (
            UserTask(8) if items else ModuleTask(learner.module, (1, 8, 8), 3, learner.spec)  # type: ignore[attr-defined]
        )
    if items is not None:
        given["items"] = items
    return given


@pytest.mark.parametrize("defense", ON_PICTURES, ids=label)
@pytest.mark.parametrize("attack", [LIE(), LabelFlip()], ids=label)
def test_pictures(defense: Defense, attack: Attack) -> None:
    given = options(defense, None, None)
    rounds = [0]
    if "root" in defense.needs:
        server = classifier()

        class View:
            """The model that the strategy hands over."""

            def __init__(self, arrays: ArrayRecord) -> None:
                self.params = to_values(arrays)

            def param(self, name: str) -> Any:
                import torch

                return torch.from_numpy(self.params[name])

        def root(arrays: ArrayRecord, samples: int) -> ArrayRecord:
            rounds[0] += 1
            update = server.root_update(View(arrays), samples, rounds[0])  # type: ignore[attr-defined]
            now = to_values(arrays)
            return to_record({k: now[k] + update.blocks[k].dense()[0].numpy() for k in now})

        given["root"] = root
    compare(classifier, attack, defense, given, 0.25)


@pytest.mark.parametrize("defense", ON_ITEMS, ids=label)
@pytest.mark.parametrize("attack", [ClusterAttack(threshold=2), Gaussian()], ids=label)
def test_items(defense: Defense, attack: Attack) -> None:
    compare(recommender, attack, defense, options(defense, None, "items"), 0.2)


def test_every_registered_defense_is_compared_or_refused() -> None:
    compared = {part.name for d in [*ON_PICTURES, *ON_ITEMS] for part in getattr(d, "parts", (d,))}
    assert compared | REFUSED == set(registry.entries("defenses"))
    assert not compared & REFUSED


def test_what_is_compared_is_not_trivial() -> None:
    """Somebody is rejected, and somebody is expelled and not asked again."""
    history = compare(classifier, LIE(), MultiKrum(byzantine=0.3), {}, 0.25)
    assert all(any(not one["accepted"] for one in entry["uploads"]) for entry in history)
    given = options(QUICK, None, None)
    history = compare(classifier, LabelFlip(), QUICK, given, 0.25)
    gone = {one["node"] for entry in history for one in entry["uploads"] if one["expelled"]}
    assert gone
    assert not gone & {
        one["node"] for one in history[-1]["uploads"] if one["reason"] != "not reconstructed by training"
    }
    assert len(history[-1]["uploads"]) < 11
