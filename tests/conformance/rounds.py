"""Five rounds of every defense and of every attack, as fingerprints; ``python -m tests.conformance.rounds``."""

from __future__ import annotations

import json

import numpy as np
import torch

from fedsiege.rng import generator
from tests.conformance.catalogue import ATTACKS, DEFENSES
from tests.trees import fingerprint
from tests.worlds import World

COHORT = np.arange(3, 15)
COALITION = np.arange(100, 105)


def played() -> dict[str, str]:
    """Return a fingerprint of all outcomes and states of each plug-in, by its place in the catalogue and its name."""
    found = {}
    for place, defense in enumerate(DEFENSES):
        world = World()
        state = defense.init(world.spec, generator(0, "defense-init"))
        outcomes = []
        for round_ in range(1, 6):
            outcome, state = defense.step(world.honest(COHORT, round_), state, world.defense_view(round_))
            outcomes.append(outcome)
            for name, block in (outcome.delta or {}).items():
                world.model.params[name] += block.dense()[0]
        found[f"defense {place} {defense.name}"] = fingerprint([outcomes, state])
    for place, attack in enumerate(ATTACKS):
        world = World()
        state = attack.init(world.spec, generator(0, "attack-init"))
        uploads = []
        for round_ in range(1, 6):
            shown = world.attack_view(attack, COALITION[:3], COALITION, round_=round_)
            crafted, state = attack.step(world.honest(COALITION[:3], round_), state, shown)
            uploads.append(crafted)
        found[f"attack {place} {attack.name}"] = fingerprint([uploads, state])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(played()))
