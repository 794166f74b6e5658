"""Cells of image classifiers in the settings of the ICML 2024 paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedsiege.arena.paper import icml24

BACKDOORS = ("dba", "scaling")
RATES = ("input_lr", "label_lr", "virtual_lr", "rate_lr")
"""What Table 7 sets of FedREDefense besides the caps."""

BETA = 0.1
"""Concentration of the Dirichlet distribution over labels (section 5.1.4)."""

BATCH = 32
"""Batch size of local training (appendix A.5)."""

ATTACKS: dict[str, dict[str, Any]] = {
    # U(3, 4) deviations: Fang et al., and the public code.
    "fang": {"low": 3.0, "high": 4.0},
    # The start and end of the search are the public code's. So is the smallest sum as the bound of Min-Sum, which is
    # also the letter of the paper (A.2: "any benign client"); Shejwalkar and Houmansadr bound by the largest.
    # Both and LIE subtract deviations of updates: the public code and, of LIE, the paper.
    "lie": {"direction": "update"},
    "minmax": {"direction": "update", "start": 30.0, "tolerance": 1e-5},
    "minsum": {"direction": "update", "start": 30.0, "tolerance": 1e-5, "limit": "smallest"},
    # Factor 3 and class 0: the paper (A.2).
    "mpaf": {"scale": 3.0},
    "scaling": {"scale": 3.0, "target": 0},
    "dba": {"scale": 3.0, "target": 0},
    # Classes and steps of the search: the paper (6.1).
    "targeted-labelflip": {"source": 0, "target": 2},
    "adaptive-labelflip": {"first_step": 2.0, "last_step": 0.125},
    "adaptive-targeted-labelflip": {"source": 0, "target": 2, "first_step": 2.0, "last_step": 0.125},
}
"""Hyper-parameters of attacks. LIE takes z from the paper's formula; fang-krum has none that the paper names."""

TRIGGER = ((26, 26), (24, 26), (26, 24), (25, 25))
"""Pixels of the trigger, the public code's in images of any size. In FashionMNIST's they are our default."""

INSIDE = ((-4, -4), (-6, -4), (-4, -6), (-5, -5))
"""The same trigger two pixels further in. The Tables' CNN reads 26 rows and columns of 28, as its second pooling drops
the odd last ones, and with them three of the four pixels of `TRIGGER`."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained in a setting, and how FedREDefense judges its updates.

    Parameters
    ----------
    share : float
        Share of the setting's rounds that it is trained.
    lr : float
        Rate of local SGD.
    caps : (int, int) or None
        Most outer iterations of redefense at a client's first participation and later; None: those of Table 7.
    steps : dict of str to float
        Rates of redefense that replace Table 7's, which suit the paper's local rate alone.
    schedule : str
        Schedule of redefense where a table does not compare schedules.
    """

    share: float = 1.0
    lr: float = 1e-3
    caps: tuple[int, int] | None = None
    steps: Mapping[str, float] = field(default_factory=dict)
    schedule: str = "dynamic"


@dataclass(frozen=True)
class Setting:
    """A federation of image classifiers.

    Parameters
    ----------
    folder : str
        Folder of its runs.
    rounds : int
        Rounds of a run.
    datasets : tuple of str
        Data sets.
    models : tuple of str
        Models, the one of the figures first.
    everywhere : bool
        Whether all models run all cells; else those after the first run only backdoors, against redefense and FedAvg,
        and the cell without attack and defense.
    recipe : Recipe
        How models are trained and judged.
    recipes : dict of str to Recipe
        The same for models that need their own.
    clients : int
        Number of clients, all in every round.
    malicious : float
        Share of them that is malicious.
    shares : tuple of float
        Shares to compare in Figure 2.
    samples : int or None
        Training images that are divided; None: all.
    groups : int
        Groups of FLCert.
    cold_start, window : int
        Of FLDetector.
    evaluate_every : int
        Rounds between evaluations.
    """

    folder: str
    rounds: int
    datasets: tuple[str, ...] = ("fashion-mnist", "cifar-10", "cinic-10")
    models: tuple[str, ...] = ("convnet", "cnn")
    everywhere: bool = True
    recipe: Recipe = Recipe()
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    clients: int = 100
    malicious: float = 0.28
    shares: tuple[float, ...] = (0.08, 0.28, 0.48, 0.72)
    samples: int | None = None
    groups: int = 10
    cold_start: int = 50
    window: int = 10
    evaluate_every: int = 25

    def holds(self, model: str, attack: str, defense: str) -> bool:
        """Return whether a cell is among those that are run."""
        special = (attack in BACKDOORS and defense in ("none", "redefense")) or attack == defense == "none"
        return model in self.whole or (model in self.models and special)

    @property
    def whole(self) -> tuple[str, ...]:
        """The models that run all cells."""
        return self.models if self.everywhere else self.models[:1]

    def of(self, model: str) -> Recipe:
        """Return how a model is trained and judged."""
        return self.recipes.get(model, self.recipe)

    def iterations(self, model: str, dataset: str) -> tuple[int, int]:
        """Return the most outer iterations of redefense at a first participation and later."""
        table7 = icml24()["table7"][dataset]
        return self.of(model).caps or (table7["first"], table7["later"])


@dataclass(frozen=True)
class ImagePoint:
    """One cell of image classifiers without its seed.

    Parameters
    ----------
    setting : Setting
        The federation.
    model, dataset, attack, defense : str
        Names.
    malicious : float
        Share of malicious clients.
    beta : float
        Concentration of the Dirichlet distribution over labels.
    epochs : int
        Local epochs; so many times fewer rounds, and so many times more iterations of redefense (B.2).
    cohort : float
        Share of clients in a round. Redefense may make 1 / `cohort` times more iterations in later rounds, as a
        client's last one lies further back (B.2); its first participation is what it was.
    schedule : str
        Schedule of redefense (B.3).
    inside : bool
        Whether a backdoor's trigger is `INSIDE`.
    paper : mapping
        The paper's values by measure.
    """

    setting: Setting
    model: str
    dataset: str
    attack: str
    defense: str
    malicious: float
    beta: float = BETA
    epochs: int = 1
    cohort: float = 1.0
    schedule: str = "dynamic"
    inside: bool = False
    paper: Mapping[str, float] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """What is not as in the default setting, such as ``beta0.5``."""
        parts = [f"beta{self.beta:g}"] * (self.beta != BETA) + [f"epochs{self.epochs}"] * (self.epochs != 1)
        parts += [f"cohort{self.cohort:g}"] * (self.cohort != 1) + [self.schedule] * (self.schedule != "dynamic")
        parts += ["inside"] * self.inside
        return "-".join(parts)

    @property
    def key(self) -> str:
        """``model/dataset/attack/defense/m<share>`` with the variant."""
        key = f"{self.model}/{self.dataset}/{self.attack}/{self.defense}/m{self.malicious:g}"
        return f"{key}/{self.variant}" if self.variant else key

    @property
    def group(self) -> tuple[str, str]:
        """What points share that are compared with the same clean run."""
        return self.model, self.dataset

    def rounds(self, rounds: int) -> int:
        """Return the rounds of this cell in a table that is run for so many: fewer where each costs more."""
        return max(1, round(rounds * self.setting.of(self.model).share) // self.epochs)

    def config(self, seed: int, rounds: int) -> dict[str, Any]:
        """Return the configuration of this cell for a seed, in the form that YAML holds."""
        setting, rounds = self.setting, self.rounds(rounds)
        dataset: dict[str, Any] = {"name": self.dataset, "clients": setting.clients, "partition": "dirichlet"}
        dataset |= {"beta": self.beta, "balanced": True}
        if setting.samples is not None:
            dataset["samples"] = setting.samples
        parts = self.defense.split("+")
        options = {part: self._defense(part) for part in parts}
        return {
            "seed": seed,
            "dataset": dataset,
            "model": {"name": self.model, "lr": setting.of(self.model).lr, "epochs": self.epochs, "batch": BATCH},
            "attack": {"name": self.attack, **self._attack()},
            "defense": {"name": self.defense, **(options[self.defense] if len(parts) == 1 else options)},
            "federation": {
                "rounds": rounds,
                "cohort": self.cohort,
                "malicious": self.malicious,
                "reserved": 0.0,
                "evaluate_every": min(setting.evaluate_every, rounds),
                "project_every": 2 * setting.evaluate_every,
            },
            "server": {"optimizer": "sgd", "lr": 1.0},
        }

    def _attack(self) -> dict[str, Any]:
        """Return the parameters of the attack."""
        known = ATTACKS.get(self.attack, {})
        if self.attack in BACKDOORS and self.inside:
            return {**known, "pixels": [list(pixel) for pixel in INSIDE]}
        if self.attack in BACKDOORS and self.dataset != "fashion-mnist":
            return {**known, "pixels": [list(pixel) for pixel in TRIGGER]}
        return known

    def _defense(self, part: str) -> dict[str, Any]:
        """Return the parameters of a defense: those of appendix A.3; FedAvg and means are unweighted."""
        setting, even = self.setting, {"weighting": "uniform"}
        attackers = round(self.malicious * setting.clients)
        if part == "redefense":
            return {**even, **self._redefense()}
        known: dict[str, dict[str, Any]] = {
            "none": even,
            "krum": {**even, "byzantine": attackers},
            "trimmedmean": {"trim": attackers},
            # The paper clips to the mean norm of the truly benign, which no server knows; here: the median of all.
            "normbound": {**even, "bound": None},
            "flame": even,
            "fltrust": {"samples": 500},
            "fldetector": {**even, "cold_start": setting.cold_start, "window": setting.window},
            "flcert": {"groups": setting.groups, "rule": "median"},
        }
        return known.get(part, {})

    def _redefense(self) -> dict[str, Any]:
        """Return the parameters of redefense: γ, pairs and inner steps of 5.1.4, rates and caps of Table 7.

        Momentum and N(0, 1) as the first draw are the public code's, and our defaults; the paper says uniform noise.
        """
        first, later = self.setting.iterations(self.model, self.dataset)
        table7 = icml24()["table7"][self.dataset]
        return {
            "gamma": 0.6,
            "pairs": 10,
            "inner": 5,
            **{name: table7[name] for name in RATES},
            **self.setting.of(self.model).steps,
            "first": first * self.epochs,
            "later": round(later * self.epochs / self.cohort),
            # B.3: continuous refines by 60 iterations, intermittent fits as long as at first, every tenth round.
            "schedule": self.schedule,
            "refine": 60,
            "refresh": first,
            "interval": 10,
        }
