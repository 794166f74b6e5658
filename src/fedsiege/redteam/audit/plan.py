"""What an audit runs: one cell for each attack and each defense, and two clean runs to tell harm from chance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedsiege.errors import ConfigError
from fedsiege.redteam.audit.app import App

CLEAN = "none"
"""Name of the attack that is none."""
OWN = "own"
"""Name of the app's own strategy as it is."""
ATTACKS = ("nan", "shape", "overcount", "signflip", "lie", "minmax")
"""Default battery: malformed uploads, a lie about weight, a lone attacker, and colluders that hide."""
DEFENSES = ("multikrum", "trimmedmean")
"""Defenses that need nothing but the uploads: a filter of whole uploads, and a rule on single coordinates."""

JOB, RESULT, WORK = "job.json", "result.json", "work"
"""Entries of the folder of a job: what is asked, what came of it, and the copy of the app in which it runs."""


@dataclass(frozen=True)
class Job:
    """One run of the app.

    Parameters
    ----------
    folder, server, client, run_config : Any
        The app, as in `App`.
    attack, defense : str
        What it is put to, and what stands before its strategy; ``"none"`` and ``"own"`` for neither.
    nodes : int
        Nodes of the federation.
    malicious : tuple of int
        Places of the malicious ones; empty without an attack.
    told : int
        How many nodes the defense is told may be malicious.
    seed : int
        Seed of the app's randomness and of attack and defense.
    engine : {"local", "simulation"}
        One process, or Flower's Simulation Engine.
    items : str or None
        Name of the array that is the item table.
    app_digest : str
        Hash of the app's sources.
    """

    folder: str
    server: str
    client: str
    run_config: dict[str, Any]
    attack: str
    defense: str
    nodes: int
    malicious: tuple[int, ...]
    told: int
    seed: int = 0
    engine: str = "local"
    items: str | None = None
    app_digest: str = ""

    @property
    def label(self) -> str:
        """Name of the run's folder."""
        return f"{self.attack}_{self.defense}_seed{self.seed}".replace("+", "-")

    @property
    def key(self) -> str:
        """Hash of everything that decides the outcome."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def malicious_places(nodes: int, share: float) -> tuple[int, ...]:
    """Return the places of the malicious nodes: the last ones, at least one and a minority.

    Raises
    ------
    ConfigError
        If `share` is not between 0 and 0.5, or there are fewer than 3 nodes.
    """
    if not 0 < share < 0.5:
        raise ConfigError(f"--malicious {share} must be above 0 and below 0.5")
    if nodes < 3:
        raise ConfigError(f"--nodes {nodes}: with fewer than 3 nodes no defense can tell who is who")
    count = min(max(1, round(share * nodes)), (nodes - 1) // 2)
    return tuple(range(nodes - count, nodes))


def plan(
    app: App,
    attacks: Sequence[str] = ATTACKS,
    defenses: Sequence[str] = DEFENSES,
    *,
    nodes: int | None = None,
    malicious: float = 0.2,
    seed: int = 0,
    engine: str = "local",
    items: str | None = None,
) -> list[Job]:
    """Return the jobs of an audit, the clean run of the app's own strategy first.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """
    count = app.nodes if nodes is None else nodes
    places = malicious_places(count, malicious)

    def job(attack: str, defense: str, seed_: int = seed) -> Job:
        bad = () if attack == CLEAN else places
        config = dict(app.run_config)
        where = str(app.folder)
        return Job(
            where,
            app.server,
            app.client,
            config,
            attack,
            defense,
            count,
            bad,
            len(places),
            seed_,
            engine,
            items,
            app.digest,
        )

    grid = [job(attack, defense) for defense in (OWN, *defenses) for attack in (CLEAN, *attacks)]
    return [grid[0], job(CLEAN, OWN, seed + 1), *grid[1:]]
