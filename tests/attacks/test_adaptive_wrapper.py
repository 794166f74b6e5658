"""``adaptive(ATTACK)`` against a scan of a fine grid on dense copies of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from fedsiege.arena.config import named, plugin
from fedsiege.attacks.adaptive import AdaptiveLabelFlip
from fedsiege.attacks.adaptive_wrapper import Adaptive
from fedsiege.attacks.base import AttackBase, AttackView, Knowledge, Rehearsal
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.lie import LIE
from fedsiege.attacks.min_max import MinMax
from fedsiege.attacks.none import NoAttack
from fedsiege.attacks.scaling import Scaling
from fedsiege.attacks.targeted_label_flip import TargetedLabelFlip
from fedsiege.defenses.base import Defense
from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.gate import guarded_step
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.none import FedAvg
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.errors import ConfigError, KnowledgeError, UploadError
from fedsiege.learners.base import State
from fedsiege.rng import generator
from fedsiege.updates import DenseBlock, UpdateBatch
from tests.attacks.dense import DenseWorld
from tests.trees import fingerprint
from tests.worlds import World

COALITION = np.arange(100, 112)
PRESENT = np.array([101, 107, 110])
DEFENSES: list[Any] = [
    FedAvg(weighting="uniform"),
    Median(),
    TrimmedMean(trim=3),
    NormBound(bound=None, weighting="uniform"),
    NormBound(bound=0.3, weighting="uniform"),
    Krum(byzantine=3),
    MultiKrum(byzantine=3, weighting="uniform"),
    Flame(noise=0.0),
    FLTrust(),
]


@dataclass(frozen=True)
class Reverse(AttackBase):
    """Uploads the opposite of what was learned, which filters see at once."""

    name: ClassVar[str] = "reverse"
    factor: float = 5.0

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        return updates.scale(np.full(updates.n, -self.factor)), state


class Round:
    """One round of a world under a real defense: the view, and a naive measure of what uploads achieve."""

    def __init__(self, world: World, attack: Adaptive, defense: Defense) -> None:
        self.world, self.defense, self.attack = world, defense, attack
        self.view = world.attack_view(attack, PRESENT, COALITION, cohort=15)
        self.benign = world.honest(np.arange(1000, 1012))
        self.state = defense.init(world.spec, generator(0, "defense-init"))
        self.asked = 0
        self.view._benign, self.view._rehearse = lambda: self.benign, self.rehearse
        inner = attack.attack
        shown = world.attack_view(inner, PRESENT, COALITION, cohort=15)
        self.crafted = inner.step(world.honest(PRESENT), inner.init(world.spec, generator(0, "a")), shown)[0]

    def outcome(self, mine: UpdateBatch) -> Any:
        places = np.arange(12, 15)
        whole = self.world.honest(np.concatenate([np.arange(1000, 1012), PRESENT])).replace(places, mine)
        return guarded_step(self.defense, whole, self.state, self.world.defense_view())[0]

    def rehearse(self, mine: UpdateBatch) -> Rehearsal:
        self.asked += 1
        done = self.outcome(mine)
        return Rehearsal(done.verdicts.accepted[12:], done.delta)

    def dense(self, flat: torch.Tensor) -> UpdateBatch:
        """Make uploads of dense vectors."""
        blocks, start = {}, 0
        for block in self.world.spec.blocks:
            size = int(np.prod(block.shape))
            blocks[block.name] = DenseBlock(flat[:, start : start + size].reshape(-1, *block.shape))
            start += size
        return UpdateBatch(self.crafted.clients, self.crafted.counts, blocks)

    def achieved(self, mine: UpdateBatch) -> tuple[float, int]:
        """Return the movement along the attack's line, and how many uploads were accepted."""
        done, honest = self.outcome(mine), self.benign.flat().mean(0)
        taken = int(done.verdicts.accepted[12:].sum())
        if done.delta is None or not taken:
            return -np.inf, taken
        line = self.crafted.flat().mean(0) - honest
        moved = torch.cat([b.dense().reshape(-1) for b in done.delta.values()]) - honest
        return float((moved * line).sum()), taken

    def scan(self, points: int = 201) -> float:
        """Return the largest movement of uploads on a grid of positions."""
        honest, crafted = self.benign.flat().mean(0), self.crafted.flat()
        found = -np.inf
        for s in np.linspace(0, 2, points):
            flat = honest + s * (crafted - honest) if s <= 1 else self.attack.maximum ** (s - 1) * crafted
            found = max(found, self.achieved(self.dense(flat))[0])
        return found


@pytest.mark.parametrize("inner", [MinMax(), Reverse(), LIE(z=4.0)], ids=lambda a: a.name)
@pytest.mark.parametrize("defense", DEFENSES, ids=lambda d: f"{d.name}-{getattr(d, 'bound', '')}")
def test_nothing_on_a_fine_grid_is_stronger(inner: Any, defense: Defense) -> None:
    attack = Adaptive(inner, steps=10)
    made = Round(DenseWorld(torch.float64), attack, defense)
    crafted, _ = attack.step(made.world.honest(PRESENT), {}, made.view)
    asked = made.asked
    mine, grid = made.achieved(crafted)[0], made.scan()
    plain = made.achieved(made.crafted)[0]
    assert mine >= plain
    assert mine >= grid - 0.02 * abs(grid)
    assert asked <= 2 * 10 + 4


def test_the_searches_are_about_something() -> None:
    """Among these cases: an upload held back, one enlarged to a threshold, one at the limit, one at an inner peak."""

    def position(inner: Any, defense: Defense) -> float:
        attack = Adaptive(inner, steps=10)
        made = Round(DenseWorld(torch.float64), attack, defense)
        crafted, _ = attack.step(made.world.honest(PRESENT), {}, made.view)
        for s in np.linspace(0, 2, 4001):
            if np.allclose(attack.at(made.crafted, np.full(3, s), None).flat(), crafted.flat(), rtol=2e-3):
                return s
        return -1.0  # Interpolated.

    assert position(Reverse(), Krum(byzantine=3)) == -1.0
    assert position(Reverse(), FLTrust()) == -1.0
    assert position(Reverse(), FedAvg(weighting="uniform")) == pytest.approx(2.0, abs=1e-3)
    assert position(Reverse(), Median()) < 2.0


@pytest.mark.parametrize("world", [World(torch.float64), DenseWorld(torch.float64)], ids=["sparse", "dense"])
@pytest.mark.parametrize("factor", [1.0, 50.0])
def test_alone_every_upload_goes_as_far_as_it_may(world: World, factor: float) -> None:
    attack = Adaptive(Reverse(factor), steps=9, benign=False)
    asked = []
    view = world.attack_view(attack, COALITION, COALITION)
    oracle = view._oracle
    view._oracle = lambda uploads: asked.append(uploads) or oracle(uploads)
    crafted, _ = attack.step(world.honest(COALITION), {}, view)
    assert len(asked) <= 9 + 2
    for mine, norm in zip(crafted.norms, factor * world.honest(COALITION).norms, strict=True):
        allowed = [s for s in np.linspace(0, 2, 4001) if norm * (s if s <= 1 else 10 ** (s - 1)) < 0.6]
        at = max(allowed)
        limit = norm * (at if at <= 1 else 10 ** (at - 1))
        assert mine <= 0.6
        assert mine >= limit * (10 ** -(2.0**-9) if at > 1 else 1) - norm * 2.0**-9


def test_alone_a_defense_that_takes_all_or_nothing() -> None:
    world, attack = World(torch.float64), Adaptive(Reverse(), maximum=4.0, benign=False)
    for answer, factor in ((True, 4.0), (False, 1.0)):
        view = world.attack_view(attack, PRESENT, COALITION)
        view._oracle = lambda uploads, answer=answer: np.full(uploads.n, answer)
        crafted, _ = attack.step(world.honest(PRESENT), {}, view)
        np.testing.assert_allclose(crafted.norms, factor * 5 * world.honest(PRESENT).norms, rtol=1e-12)


def test_together_a_defense_that_takes_nothing() -> None:
    world, attack = World(torch.float64), Adaptive(Reverse())
    view = world.attack_view(attack, PRESENT, COALITION)
    view._rehearse = lambda uploads: Rehearsal(np.zeros(uploads.n, bool), None)
    crafted, _ = attack.step(world.honest(PRESENT), {}, view)
    assert fingerprint(crafted) == fingerprint(Reverse().step(world.honest(PRESENT), {}, view)[0])


def test_without_a_benign_client_the_line_starts_at_zero() -> None:
    world, attack = World(torch.float64), Adaptive(Reverse())
    view = world.attack_view(attack, PRESENT, COALITION, cohort=3)
    assert view.benign().n == 0
    crafted, _ = attack.step(world.honest(PRESENT), {}, view)
    assert (crafted.norms < 0.6).all()
    assert (crafted.norms > 5 * world.honest(PRESENT).norms).all() == (5 * world.honest(PRESENT).norms < 0.6).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_benign_client_that_has_diverged_changes_nothing(value: float) -> None:
    world, attack = World(torch.float64), Adaptive(Reverse())
    crafted = []
    for lost in (False, True):
        view = world.attack_view(attack, PRESENT, COALITION)
        if lost:
            benign = world.honest(np.append(view.benign().clients, 2000))
            broken = benign.scale(np.where(benign.clients == 2000, value, 1.0))
            view._benign = lambda broken=broken: broken
        crafted.append(attack.step(world.honest(PRESENT), {}, view)[0])
    assert fingerprint(crafted[1]) == fingerprint(crafted[0])
    assert fingerprint(crafted[0]) != fingerprint(Reverse().step(world.honest(PRESENT), {}, view)[0])


def test_a_malicious_client_that_has_diverged_does_not_stop_the_others() -> None:
    world, attack = World(torch.float64), Adaptive(Reverse())
    own = world.honest(PRESENT)
    own = own.scale(np.where(own.clients == 107, np.nan, 1.0))
    crafted, _ = attack.step(own, {}, world.attack_view(attack, PRESENT, COALITION))
    assert crafted.usable.tolist() == [True, False, True]
    assert not np.isclose(crafted.norms[[0, 2]], 5 * own.norms[[0, 2]]).any()


def test_what_is_the_wrapped_attacks_own_stays() -> None:
    world, rng = World(), np.random.default_rng(0)
    labelled = world.labelled(np.array([5, 3]))
    for inner in (TargetedLabelFlip(source=1, target=0), Scaling(), LabelFlip(), LIE()):
        outer = Adaptive(inner)
        assert repr(outer.goal()) == repr(inner.goal())
        assert (outer.needs, outer.poisons_data) == (inner.needs, inner.poisons_data)
        assert outer.honest is False
        assert outer.knowledge == inner.knowledge | Knowledge.ORACLE | Knowledge.BENIGN
        assert Adaptive(inner, benign=False).knowledge == inner.knowledge | Knowledge.ORACLE
        if inner.poisons_data:
            poisoned = [a.poison(labelled, np.random.default_rng(0)) for a in (outer, inner)]
            assert fingerprint(poisoned[0]) == fingerprint(poisoned[1])
        states = [a.init(world.spec, rng) for a in (outer, inner)]
        assert fingerprint(states[0]) == fingerprint(states[1])


def test_the_wrapped_attack_sees_what_it_declares_and_no_more() -> None:
    @dataclass(frozen=True)
    class Peeper(AttackBase):
        name: ClassVar[str] = "peeper"

        def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
            return view.benign(), state

    attack = Adaptive(Peeper())
    with pytest.raises(KnowledgeError, match="benign"):
        attack.step(World().honest(PRESENT), {}, World().attack_view(attack, PRESENT, COALITION))


def test_a_rehearsal_is_of_the_clients_of_the_round() -> None:
    world, attack = World(), Adaptive(LIE())
    view = world.attack_view(attack, PRESENT, COALITION)
    assert view.rehearse(world.honest(PRESENT)).accepted.shape == (3,)
    with pytest.raises(UploadError, match="in their order"):
        view.rehearse(world.honest(PRESENT[::-1]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"maximum": 1.0}, r"adaptive\(lie\)\.maximum is 1\.0"),
        ({"maximum": float("inf")}, "finite number above 1"),
        ({"steps": 0}, r"adaptive\(lie\)\.steps is 0"),
        ({"attack": NoAttack()}, "'none'; it must be an attack that is malicious"),
        ({"attack": Adaptive(LIE())}, r"not adaptive\(…\) itself"),
    ],
)
def test_ranges(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Adaptive(**{"attack": LIE(), **fields})


def test_configurations_name_the_wrapper_and_the_wrapped() -> None:
    spec = {"name": "adaptive(minmax)", "steps": 5, "minmax": {"start": 3.0}}
    attack = plugin("attacks", spec)
    assert attack == Adaptive(MinMax(start=3.0), steps=5)
    assert named(attack)["minmax"] == {"start": 3.0, "tolerance": 1e-5}
    assert plugin("attacks", named(attack)) == attack
    assert plugin("attacks", "adaptive(minmax)") == Adaptive(MinMax())
    assert plugin("attacks", "adaptive(adaptive-labelflip)") == Adaptive(AdaptiveLabelFlip())
    assert plugin("attacks", {"name": "adaptive(lie)", "lie": None}) == Adaptive(LIE())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("adaptive(minmx)", "unknown attack 'minmx': did you mean 'minmax'"),
        ("adaptive()", "unknown attack ''"),
        ({"name": "adaptive(lie)", "step": 3}, r"attack \(adaptive\(lie\)\) has no field 'step': did you mean 'steps'"),
        ({"name": "adaptive(lie)", "attack": "fang"}, "has no field 'attack'"),
        ({"name": "adaptive(lie)", "fang": {}}, "has no field 'fang'"),
        ({"name": "adaptive(lie)", "lie": 3}, "field 'lie': must be a mapping of its parameters, got 3"),
        ({"name": "adaptive(lie)", "lie": {"y": 3}}, r"attack \(lie\) has no field 'y'"),
        ({"name": "adaptive(lie)", "steps": "many"}, "field 'steps'"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_named(spec: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plugin("attacks", spec)


def test_only_attacks_are_wrapped() -> None:
    with pytest.raises(ConfigError, match="unknown defense"):
        plugin("defenses", "adaptive(krum)")
