"""A rehearsal is the round itself: same verdicts, same aggregate, and no trace in the defense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from fedsiege.arena.runs import assemble
from fedsiege.attacks.adaptive_wrapper import Adaptive
from fedsiege.attacks.base import AttackBase, AttackView, Knowledge, Rehearsal
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.min_max import MinMax
from fedsiege.defenses.afa import AFA
from fedsiege.defenses.base import Defense
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.contra import Contra
from fedsiege.defenses.fl_cert import FLCert
from fedsiege.defenses.fl_detector import FLDetector
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.union import Union
from fedsiege.defenses.union_memory import UnionMemory
from fedsiege.errors import KnowledgeError
from fedsiege.federation import checkpoint
from fedsiege.federation.loop import Federation, FederationConfig
from fedsiege.learners.base import State
from fedsiege.updates import UpdateBatch
from tests.federation.test_verdicts import SGD, federation
from tests.small import small
from tests.trees import fingerprint

DEFENSES: list[Defense] = [
    MultiKrum(byzantine=3),
    NormBound(bound=None),
    FLDetector(cold_start=1, window=2),
    AFA(),
    Contra(memory=True),
    Flame(),
    FLCert(groups=3),
    Pipeline((FLDetector(cold_start=1, window=2), MultiKrum(byzantine=3))),  # type: ignore[list-item]
]
every = pytest.mark.parametrize("defense", DEFENSES, ids=lambda d: d.name)


@dataclass(frozen=True)
class Curious(AttackBase):
    """Doubles its uploads, and asks before what will become of them and of others."""

    name: ClassVar[str] = "curious"
    knowledge: ClassVar[Knowledge] = Knowledge.ORACLE | Knowledge.BENIGN
    asks: bool = True

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        twice = updates.scale(np.full(updates.n, 2.0))
        if self.asks:
            for factor in (-3.0, 1e9, float("nan")):
                view.rehearse(updates.scale(np.full(updates.n, factor)))
                view.oracle(updates.scale(np.full(updates.n, factor)))
            told.append((view.present, view.rehearse(twice)))
        return twice, state


told: list[tuple[np.ndarray, Rehearsal]] = []


@every
def test_what_was_rehearsed_happens(defense: Defense) -> None:
    told.clear()
    f = federation(defense, Curious())
    for _ in range(3):
        record = f.step()
        answers = {int(c): ok for who, said in told for c, ok in zip(who, said.accepted, strict=True)}
        for client, ok in zip(record.cohort, record.verdicts.accepted, strict=True):
            assert answers.get(int(client), ok) == ok
        assert record.applied == any(said.aggregate is not None for _, said in told) or len(told) > 1
        told.clear()


@every
def test_asking_leaves_no_trace(defense: Defense) -> None:
    asking, silent = federation(defense, Curious()), federation(defense, Curious(asks=False))
    for _ in range(3):
        asking.step(), silent.step()
        assert fingerprint(asking.state()) == fingerprint(silent.state())


RECOMMENDERS: list[Defense] = [
    Krum(byzantine=3),
    Pipeline((Union(), MultiKrum(byzantine=3))),  # type: ignore[list-item]
    Pipeline((UnionMemory(outlier=1.0), NormBound(bound=0.1))),  # type: ignore[list-item]
]


@pytest.mark.parametrize("defense", RECOMMENDERS, ids=lambda d: d.name)
def test_what_was_rehearsed_of_row_sparse_uploads_happens_to_the_bit(defense: Defense) -> None:
    config = FederationConfig(rounds=4, cohort=0.5, malicious=0.2, reserved=0.2)
    learners = (assemble(small())[0].learner for _ in range(2))
    asking, silent = (Federation(m, Curious(asks=a), defense, config, SGD, 0) for m, a in zip(learners, (True, False)))
    for _ in range(4):
        told.clear()
        before = asking.model.table("items").clone()
        record = asking.step()
        (who, said), places = told[0], np.searchsorted(record.cohort, told[0][0])
        np.testing.assert_array_equal(record.verdicts.accepted[places], said.accepted)
        assert who.size > 1
        assert said.aggregate is not None
        moved = before + SGD.lr * said.aggregate["items"].dense()[0]
        np.testing.assert_array_equal(asking.model.table("items"), moved)
        silent.step()
        assert fingerprint(asking.state()) == fingerprint(silent.state())


def test_the_aggregate_of_a_rehearsal_is_that_of_the_round() -> None:
    told.clear()
    f = federation(MultiKrum(byzantine=3), Curious())
    before = f.model.param("1.weight").clone()
    f.step()
    ((_, said),) = told
    assert said.aggregate is not None
    moved = f.model.param("1.weight") - before
    np.testing.assert_allclose(moved, said.aggregate["1.weight"].dense()[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("level", [Knowledge.ORACLE, Knowledge.BENIGN])
def test_a_rehearsal_needs_both_levels(level: Knowledge) -> None:
    @dataclass(frozen=True)
    class Half(Curious):
        name: ClassVar[str] = "half"
        knowledge: ClassVar[Knowledge] = level

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            view.rehearse(updates)
            return updates, state

    with pytest.raises(KnowledgeError):
        federation(MultiKrum(), Half()).step()


@pytest.mark.parametrize("attack", [MinMax(), LabelFlip()], ids=lambda a: a.name)
@pytest.mark.parametrize("benign", [True, False])
def test_an_adaptive_run_repeats_and_resumes(attack: Any, benign: bool, tmp_path: Any) -> None:
    def made() -> Federation:
        return federation(FLDetector(cold_start=1, window=2), Adaptive(attack, steps=4, benign=benign))

    whole, cut, again = made(), made(), made()
    first, second = [whole.step() for _ in range(3)], [cut.step() for _ in range(2)]
    assert [r.to_json() for r in first[:2]] == [r.to_json() for r in second]
    checkpoint.save(tmp_path / "state", cut.state())
    again.load(checkpoint.load(tmp_path / "state"))
    assert again.step().to_json() == first[2].to_json()
    assert fingerprint(again.state()) == fingerprint(whole.state())


def test_it_reaches_what_the_wrapped_attack_does_not() -> None:
    """MultiKrum sees Min-Max when that goes too far, and the adaptive form goes as far as it is not seen."""
    taken = []
    for attack in (MinMax(start=30.0), Adaptive(MinMax(start=30.0))):
        f = federation(MultiKrum(byzantine=3), attack)
        taken.append(f.step().verdicts.accepted[f.coalition].sum())
    assert taken[1] == 3
    assert taken[1] >= taken[0]
