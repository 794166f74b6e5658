"""Which attack makes sense against which defense."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedsiege import registry
from fedsiege.arena.card_file import load, names
from fedsiege.arena.config import plugin
from fedsiege.arena.pairs import MEANT_FOR, doubt
from fedsiege.arena.paper import icml24
from fedsiege.defenses import Defense
from fedsiege.defenses.base import never_rejects
from fedsiege.rng import generator
from tests.conformance.catalogue import DEFENSES, label
from tests.worlds import World


def test_the_names_are_registered() -> None:
    assert registry.entries("defenses").keys() >= frozenset().union(*MEANT_FOR.values())
    assert registry.entries("attacks").keys() >= set(MEANT_FOR)


@pytest.mark.parametrize("defense", [d for d in DEFENSES if never_rejects(d)], ids=label)
def test_lenient_defenses_reject_nothing(defense: Defense) -> None:
    world, clients = World(), np.arange(12)
    state = defense.init(world.spec, generator(0, "defense-init"))
    for round_ in range(1, 5):
        factors = np.ones(12)
        factors[:4] = -1e4, -1.0, 0.0, 1e4
        updates = world.honest(clients, round_).scale(factors)
        outcome, state = defense.step(updates, state, world.defense_view(round_))
        assert outcome.verdicts.accepted.all()


@pytest.mark.parametrize(
    ("defense", "never"),
    [
        ("none", True),
        ("none+median", True),
        ("fl-wbc+trimmedmean", True),
        ("multikrum+median", False),
        ("krum", False),
        ("fltrust", False),
        ("flcert", True),
        ({"name": "flcert", "rule": "krum"}, False),
        ({"name": "flcert", "rule": {"name": "trimmedmean", "trim": 0.2}}, True),
    ],
)
def test_a_composition_rejects_if_a_part_does(defense: object, never: bool) -> None:
    assert never_rejects(plugin("defenses", defense)) is never


@pytest.mark.parametrize(
    ("attack", "defense", "words"),
    [
        ("adaptive-labelflip", "none", "for how much none still accepts, which rejects nothing"),
        ("adaptive-targeted-labelflip", "normbound", "a fixed scaling"),
        ("noise(adaptive-labelflip)", "median", "a fixed scaling"),
        ({"name": "adaptive(lie)", "benign": False}, "trimmedmean", "a fixed scaling"),
        ("adaptive-labelflip", "flcert", "a fixed scaling"),
        ("fang-krum", "median", "median is another rule; take it against krum"),
        ("adaptive-labelflip", "multikrum", None),
        ("adaptive-labelflip", {"name": "flcert", "rule": "krum"}, None),
        ("adaptive(lie)", "none", None),
        ({"name": "adaptive(lie)", "benign": False}, "flame", None),
        ("fang-krum", "multikrum", None),
        ("fang-krum", "union+krum", None),
        ("fang-krum", {"name": "flcert", "rule": "krum"}, None),
        ("none", "median", None),
        ("lie", "none", None),
    ],
)
def test_doubts(attack: object, defense: object, words: str | None) -> None:
    found = doubt(plugin("attacks", attack), plugin("defenses", defense))
    if words is None:
        assert found is None
    else:
        assert words in str(found)


def test_a_search_that_is_doubted_is_a_fixed_scaling() -> None:
    """What `doubt` says of it: where nothing is rejected, every upload is enlarged by the same number."""
    attack, world, present = plugin("attacks", "adaptive-labelflip"), World(), np.array([3, 8])
    view = replace(world.attack_view(attack, present, present), _oracle=lambda uploads: np.ones(uploads.n, bool))
    np.testing.assert_array_equal(attack.factors(world.honest(present), view), 4.875)


@pytest.mark.parametrize("id_", names())
def test_no_card_plays_a_pair_that_is_doubted(id_: str) -> None:
    card = load(id_)
    for attack in card.attacks:
        for defense in card.defenses:
            assert doubt(plugin("attacks", attack), plugin("defenses", defense)) is None


def test_no_printed_table_plays_a_pair_that_is_doubted() -> None:
    for attack, defenses in icml24()["table3"].items():
        for defense in defenses:
            assert doubt(plugin("attacks", attack), plugin("defenses", defense)) is None
