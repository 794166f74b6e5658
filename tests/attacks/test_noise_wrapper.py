"""``noise(ATTACK)``: norms, rows and all else are the attack's, directions are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.stats import kstest

from fedsiege.arena.config import named, plugin
from fedsiege.attacks.adaptive_wrapper import Adaptive
from fedsiege.attacks.base import AttackBase, AttackView
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.lie import LIE
from fedsiege.attacks.min_max import MinMax
from fedsiege.attacks.noise_wrapper import SameNorm
from fedsiege.attacks.none import NoAttack
from fedsiege.attacks.scaling import Scaling
from fedsiege.errors import ConfigError
from fedsiege.learners.base import State
from fedsiege.rng import generator
from fedsiege.updates import RowBlock, UpdateBatch
from tests.trees import fingerprint
from tests.worlds import World

COALITION = np.arange(100, 112)
PRESENT = np.array([101, 107, 110])


@dataclass(frozen=True)
class Double(AttackBase):
    """Uploads a multiple of what was learned, the last of it not finite."""

    name: ClassVar[str] = "double"
    factors: tuple[float, ...] = (2.0, 7.0, 0.0)

    def step(self, updates: UpdateBatch, state: State, view: AttackView) -> tuple[UpdateBatch, State]:
        return updates.scale(np.array(self.factors)), {"seen": state.get("seen", 0) + 1}


def play(attack: Any, world: World) -> tuple[UpdateBatch, UpdateBatch, State]:
    """What the wrapped attack uploads, what goes out in its place, and the state after."""
    view = world.attack_view(attack, PRESENT, COALITION, cohort=15)
    state = attack.init(world.spec, generator(0, "attack-init"))
    own = world.honest(PRESENT)
    crafted, _ = attack.attack.step(own, state, view)
    noise, after = attack.step(own, state, view)
    return crafted, noise, after


def flat(updates: UpdateBatch) -> np.ndarray:
    return updates.flat().double().numpy()


@pytest.mark.parametrize("attack", [LIE(), MinMax(), Double()], ids=lambda a: a.name)
def test_norms_and_rows_stay_and_directions_do_not(attack: Any) -> None:
    world = World()
    crafted, noise, _ = play(SameNorm(attack), world)
    assert noise.clients.tolist() == crafted.clients.tolist() == PRESENT.tolist()
    assert noise.counts.tolist() == crafted.counts.tolist()
    np.testing.assert_allclose(noise.norms, crafted.norms, rtol=1e-5)
    noise.check(world.spec)
    for name, block in crafted.blocks.items():
        if isinstance(block, RowBlock):
            assert all(np.array_equal(a, b) for a, b in zip(block.arrays[:2], noise.blocks[name].arrays[:2]))  # type: ignore[attr-defined]
    left, right = flat(crafted), flat(noise)
    cosine = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(left, right) if a.any()]
    assert np.abs(cosine).max() < 0.35
    # Each malicious client draws noise of its own, also where all upload the same.
    assert abs(right[0] @ right[1]) < 0.35 * np.linalg.norm(right[0]) * np.linalg.norm(right[1])


def test_the_state_is_the_wrapped_attacks_and_an_upload_of_nothing_stays_nothing() -> None:
    crafted, noise, state = play(SameNorm(Double()), World())
    assert state == {"seen": 1}
    assert noise.norms[2] == crafted.norms[2] == 0


def test_an_upload_that_is_not_finite_goes_out_as_it_is() -> None:
    crafted, noise, _ = play(SameNorm(Double(factors=(np.inf, 1.0, np.nan))), World())
    for k in (0, 2):
        assert fingerprint(noise.select(np.array([k])).flat()) == fingerprint(crafted.select(np.array([k])).flat())
    assert noise.norms[1] == pytest.approx(crafted.norms[1], rel=1e-5)


def test_noise_is_addressed_by_round() -> None:
    # Of an attack whose own uploads are the same in every round.
    attack, world = SameNorm(Double()), World()
    own, first = world.honest(PRESENT), None
    for round_ in (1, 1, 2):
        view = world.attack_view(attack, PRESENT, COALITION, cohort=15, round_=round_)
        got = flat(attack.step(own, {}, view)[0])
        if first is not None:
            assert np.array_equal(got, first) == (round_ == 1)
        first = got


def test_all_else_is_the_wrapped_attacks() -> None:
    attack = SameNorm(Scaling())
    assert attack.name == "noise(scaling)"
    goal = attack.goal()
    assert goal is not None
    assert goal.target == Scaling().target
    assert (attack.needs, attack.knowledge) == (Scaling().needs, Scaling().knowledge)
    assert attack.poisons_data
    assert SameNorm(LabelFlip()).poisons_data
    assert SameNorm(Adaptive(LIE())).knowledge == Adaptive(LIE()).knowledge


def test_configurations_and_their_mistakes() -> None:
    spec = {"name": "noise(lie)", "lie": {"z": 0.25}}
    made = plugin("attacks", spec)
    assert made == SameNorm(LIE(z=0.25))
    assert plugin("attacks", named(made)) == made
    assert plugin("attacks", "noise(adaptive(lie))") == SameNorm(Adaptive(LIE()))
    with pytest.raises(ConfigError, match="did you mean"):
        plugin("attacks", {"name": "noise(lie)", "lei": {"z": 0.25}})
    for wrong in (NoAttack(), SameNorm(LIE())):
        with pytest.raises(ConfigError, match="malicious and not noise"):
            SameNorm(wrong)


def test_every_direction_is_as_likely_as_any_other() -> None:
    # Coordinates of a uniform direction in so many dimensions are normal; uniform ones would have a kurtosis of 1.8.
    attack = SameNorm(Double(factors=(1.0,)))
    wide = World(items=4000, dim=16)
    one = np.array([101])
    view = wide.attack_view(attack, one, COALITION, cohort=15)
    noise, _ = attack.step(wide.honest(one), {}, view)
    x = flat(noise)[0]
    x = x[x != 0]
    assert x.size > 5000
    z = x / np.sqrt((x**2).mean())
    assert abs(z.mean()) < 4 / np.sqrt(x.size)
    assert (z**4).mean() == pytest.approx(3, abs=4 * np.sqrt(96 / x.size))
    assert kstest(z, "norm").pvalue > 1e-3
