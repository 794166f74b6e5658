"""Which cells each table and figure of the AAAI 2023 paper needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fedsiege.arena.paper import aaai23, settings
from fedsiege.arena.targets.base import Target

ATTACKS = ("none", "labelflip", "fedattack", "gaussian", "lie", "fang", "clusterattack")
ASSUMED = 0.05
"""Byzantine share that Krum, MultiKrum and TrimmedMean assume in every cell: a fixed guess, not the true share."""


@dataclass(frozen=True)
class RecommenderPoint:
    """One cell of a recommender without its seed.

    Parameters
    ----------
    model, dataset, attack, defense : str
        Names.
    malicious : float
        Share of malicious clients.
    variant : str
        Distinguishes cells that differ in hyper-parameters only; empty for the plain setting.
    attack_options, defense_options, model_options, federation_options : dict
        Hyper-parameters beyond the plain setting.
    paper : dict
        The paper's values by metric, where it prints them.
    """

    model: str
    dataset: str
    attack: str
    defense: str = "none"
    malicious: float = 0.01
    variant: str = ""
    attack_options: dict[str, Any] = field(default_factory=dict)
    defense_options: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)
    federation_options: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """``model/dataset/attack/defense/m<share>`` with the variant, for ``--cells`` and for folders."""
        key = f"{self.model}/{self.dataset}/{self.attack}/{self.defense}/m{self.malicious:g}"
        return f"{key}/{self.variant}" if self.variant else key

    @property
    def group(self) -> tuple[str, str, str]:
        """What points share that are compared with the same clean run."""
        return self.model, self.dataset, repr(sorted(self.model_options.items()))

    def rounds(self, rounds: int) -> int:
        """Return `rounds`: every cell of a table runs equally long."""
        return rounds

    def config(self, seed: int, rounds: int) -> dict[str, Any]:
        """Return the configuration of this cell for a seed, in the form that YAML holds."""
        chosen = settings(self.model, self.dataset)
        model: dict[str, Any] = {"name": self.model, "l2": chosen["l2"]}
        if self.model == "mf":
            model["user_lr"] = chosen["lr"]
        if "max_len" in chosen:
            model["max_len"] = chosen["max_len"]
        attack: dict[str, Any] = {"name": self.attack}
        if self.attack.startswith("clusterattack"):
            attack["clusters"] = chosen["clusters"]
        every = 200 if self.model == "mf" else 500
        return {
            "seed": seed,
            "dataset": {"name": self.dataset, "protocol": "paper"},
            "model": {**model, **self.model_options},
            "attack": {**attack, **self.attack_options},
            "defense": self._defense(chosen),
            "federation": {
                "rounds": rounds,
                "malicious": self.malicious,
                "reserved": 0.05,
                "evaluate_every": min(every, rounds),
                **self.federation_options,
            },
            "server": {"optimizer": "adam", "lr": chosen["lr"]},
        }

    def _defense(self, chosen: dict[str, Any]) -> dict[str, Any]:
        plain: dict[str, dict[str, Any]] = {
            "krum": {"byzantine": ASSUMED},
            "multikrum": {"byzantine": ASSUMED},
            "trimmedmean": {"trim": ASSUMED},
            "normbound": {"bound": chosen["normbound"]},
        }
        parts = self.defense.split("+")
        options = {p: {**plain.get(p, {}), **self.defense_options.get(p, {})} for p in parts}
        if len(parts) == 1:
            return {"name": self.defense, **options[self.defense]}
        return {"name": self.defense, **{p: o for p, o in options.items() if o}}


def _clean(group: str = "mf/ml-1m") -> RecommenderPoint:
    """The run that others are compared with; without an attack the malicious share changes nothing."""
    model, dataset = group.split("/")
    values = aaai23()["table1"].get(group, {}).get("none")
    paper = {"HR@5": values[0], "NDCG@5": values[1]} if values else {}
    return RecommenderPoint(model, dataset, "none", paper=paper)


def _table1() -> Iterator[RecommenderPoint]:
    for group, rows in aaai23()["table1"].items():
        model, dataset = group.split("/")
        for attack, (hr, ndcg) in rows.items():
            yield RecommenderPoint(model, dataset, attack, paper={"HR@5": hr, "NDCG@5": ndcg})


def _small() -> Iterator[RecommenderPoint]:
    for model in ("mf", "sasrec"):
        for attack in ATTACKS:
            yield RecommenderPoint(model, "ml-100k", attack)


def _table3() -> Iterator[RecommenderPoint]:
    yield _clean()
    for defense, rows in aaai23()["table3"].items():
        for attack, hr in rows.items():
            yield RecommenderPoint("mf", "ml-1m", attack, defense, paper={"HR@5": hr})


def _table4() -> Iterator[RecommenderPoint]:
    yield _clean()
    for share, rows in aaai23()["table4"].items():
        for attack, hr in rows.items():
            if attack == "none":
                continue
            yield RecommenderPoint("mf", "ml-1m", attack, malicious=share, paper={"HR@5": hr})


def _table5() -> Iterator[RecommenderPoint]:
    yield _clean()
    for defense, rows in aaai23()["table5"].items():
        for attack, hr in rows.items():
            yield RecommenderPoint("mf", "ml-1m", attack, defense, malicious=0.05, paper={"HR@5": hr})


FIGURE2 = ("trimmedmean", "krum", "multikrum", "normbound", "fl-wbc", "union+multikrum", "union+normbound")


def _fig2() -> Iterator[RecommenderPoint]:
    yield _clean()
    printed = aaai23()["table3"]
    for defense in FIGURE2:
        for attack in ATTACKS:
            hr = printed.get(defense, {}).get(attack)
            yield RecommenderPoint("mf", "ml-1m", attack, defense, paper={"HR@5": hr} if hr else {})


def _undefended(attack: str) -> dict[str, float]:
    """The paper's HR@5 of MF on ML-1M without a defense."""
    return {"HR@5": aaai23()["table1"]["mf/ml-1m"][attack][0]}


def _fig3() -> Iterator[RecommenderPoint]:
    yield _clean()
    for clusters in (1, 2, 4, 8, 16):
        for adaptive in (True, False):
            plain = adaptive and clusters == 2
            yield RecommenderPoint(
                "mf", "ml-1m", "clusterattack",
                variant="" if plain else f"k{clusters}-{'adaptive' if adaptive else 'fixed'}",
                attack_options={"clusters": clusters, "adaptive": adaptive},
                paper=_undefended("clusterattack") if plain else {},
            )  # fmt: skip


def _fig4() -> Iterator[RecommenderPoint]:
    for alpha, variant in ((1.0, "with-cl"), (0.0, "without-cl")):
        yield RecommenderPoint(
            "mf", "ml-1m", "clusterattack", "union+multikrum", variant=variant,
            defense_options={"union": {"alpha": alpha}}, federation_options={"project_every": 10},
        )  # fmt: skip


UNIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "": ("union+multikrum", {}, {}),
    "as-published": ("union+multikrum", {"union": {"as_published": True, "simulate": "sgd"}}, {"tell_defense": True}),
    "as-published-normbound": (
        "union+normbound",
        {"union": {"as_published": True, "simulate": "sgd"}},
        {"tell_defense": True},
    ),
    "normbound": ("union+normbound", {}, {}),
    "sgd": ("union+multikrum", {"union": {"simulate": "sgd"}}, {}),
    "sgd-normbound": ("union+normbound", {"union": {"simulate": "sgd"}}, {}),
    "memory": ("union-memory+multikrum", {}, {}),
    "memory-alone": ("union-memory", {}, {}),
    "memory-normbound": ("union-memory+normbound", {}, {}),
}


def _unions() -> Iterator[RecommenderPoint]:
    yield _clean()
    printed = aaai23()["table3"]
    for variant, (defense, options, federation) in UNIONS.items():
        for attack in ("none", "clusterattack"):
            hr = None if options or federation else printed.get(defense, {}).get(attack)
            yield RecommenderPoint(
                "mf", "ml-1m", attack, defense, variant="" if variant == "normbound" else variant,
                defense_options=options, federation_options=federation, paper={"HR@5": hr} if hr else {},
            )  # fmt: skip


CLUSTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "": ({}, {}),
    "rescale": ({"rescale": True}, {}),
    "norms-all": ({"norms": "all"}, {}),
    "norms-all-rescale": ({"norms": "all", "rescale": True}, {}),
    "as-published": ({"as_published": True}, {}),
    "fixed-k": ({"adaptive": False}, {}),
    "l2-all": ({}, {"l2_rows": "all"}),
    "user-clock-own": ({}, {"user_clock": "own"}),
}


def _attacks() -> Iterator[RecommenderPoint]:
    for variant, (attack, model) in CLUSTERS.items():
        if model or not variant:
            clean = {} if model else _undefended("none")
            yield RecommenderPoint("mf", "ml-1m", "none", variant=variant, model_options=model, paper=clean)
        yield RecommenderPoint(
            "mf", "ml-1m", "clusterattack", variant=variant, attack_options=attack, model_options=model,
            paper={} if variant else _undefended("clusterattack"),
        )  # fmt: skip


_NOTES = ("Protocol `paper`: training negatives spare held-out items. The paper's values are means of five runs.",)
_LETTER = (
    "`sgd` is Algorithm 2 to the letter, V − ηg; our default is the step of the server's own optimizer, Adam as in the "
    "paper."
)
_GOWALLA = (
    "Gowalla here has each place of a user once (1,027,370 pairs; the paper's Table 2 counts 1,585,043 actions, with "
    "repeats). The files of NGCF and LightGCN have no order of time, so with them the held-out items are random."
)
_target = partial(Target, notes=_NOTES)

AAAI23: dict[str, Target] = {
    t.id: t
    for t in (
        _target(
            "aaai23-table1", "Table 1: attacks without a defense",
            "HR@5 and NDCG@5 of MF and SASRec on ML-1M and Gowalla under six attacks, 1 % malicious.",
            _table1, ("HR@5", "NDCG@5"), notes=(*_NOTES, _GOWALLA),
        ),
        _target(
            "aaai23-table1-small", "Table 1 on ML-100K (not in the paper)",
            "The same attacks on the small data set, for machines without hours to spare.",
            _small, ("HR@5", "NDCG@5"), seeds=1,
        ),
        _target(
            "aaai23-table3", "Table 3: ClusterAttack+CL against UNION",
            "HR@5 of MF on ML-1M under both forms of ClusterAttack with the two UNION combinations.", _table3,
        ),
        _target(
            "aaai23-table4", "Table 4: share of malicious clients",
            "HR@5 of MF on ML-1M at 0.5 % and 1 % malicious, without a defense.", _table4,
        ),
        _target(
            "aaai23-table5", "Table 5: UNION at 5 % malicious",
            "HR@5 of MF on ML-1M at 5 % malicious with and without the two UNION combinations.", _table5,
        ),
        _target(
            "aaai23-fig2", "Figure 2: attacks under defenses",
            "HR@5 of MF on ML-1M for six attacks under seven defenses.", _fig2, figure=True,
        ),
        _target(
            "aaai23-fig3", "Figure 3: adaptive clustering",
            "HR@5 against the initial number of clusters, with and without adaptation.", _fig3, figure=True,
        ),
        _target(
            "aaai23-fig4", "Figure 4: gradients and uniformity",
            "PCA of uploads and densities of UNION's scores, with and without the contrastive task.",
            _fig4, figure=True, seeds=1,
        ),
        _target(
            "variants-union", "UNION: the paper's, the published code's and ours",
            "HR@5 and detection of each form of UNION, clean and under ClusterAttack.", _unions, seeds=3,
            notes=(*_NOTES, _LETTER),
        ),
        _target(
            "variants-clusterattack", "ClusterAttack: what each reading gives",
            "HR@5 under ClusterAttack for each way to read the paper.", _attacks, seeds=3,
        ),
    )
}  # fmt: skip
