"""Every plug-in that the conformance suites examine. A new plug-in joins with one line here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fedsiege.attacks import Attack
from fedsiege.attacks.adaptive import AdaptiveLabelFlip, AdaptiveTargetedLabelFlip
from fedsiege.attacks.adaptive_wrapper import Adaptive
from fedsiege.attacks.cluster_attack import ClusterAttack
from fedsiege.attacks.cluster_attack_cl import ClusterAttackCL
from fedsiege.attacks.dba import DBA
from fedsiege.attacks.fang import Fang
from fedsiege.attacks.fang_krum import FangKrum
from fedsiege.attacks.fed_attack import FedAttack
from fedsiege.attacks.gaussian import Gaussian
from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.attacks.lie import LIE
from fedsiege.attacks.min_max import MinMax
from fedsiege.attacks.min_sum import MinSum
from fedsiege.attacks.mpaf import MPAF
from fedsiege.attacks.noise_wrapper import SameNorm
from fedsiege.attacks.none import NoAttack
from fedsiege.attacks.scaling import Scaling
from fedsiege.attacks.targeted_label_flip import TargetedLabelFlip
from fedsiege.defenses import Defense
from fedsiege.defenses.afa import AFA
from fedsiege.defenses.clustering import Clustering
from fedsiege.defenses.compose import Pipeline
from fedsiege.defenses.contra import Contra
from fedsiege.defenses.fl_cert import FLCert
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

ATTACKS: list[Attack] = [
    NoAttack(),
    LabelFlip(),
    FedAttack(),
    FedAttack(k=3),
    Gaussian(),
    LIE(),
    LIE(z=0.3),
    Fang(),
    Fang(low=0.0, high=1.0),
    ClusterAttack(),
    ClusterAttack(as_published=True, threshold=1),
    ClusterAttack(clusters=8, rescale=True, norms="all"),
    ClusterAttackCL(),
    FangKrum(),
    FangKrum(epsilon=0.01),
    MinMax(),
    MinMax(start=30.0),
    MinSum(),
    MinSum(limit="smallest"),
    MPAF(),
    Scaling(),
    DBA(),
    TargetedLabelFlip(),
    AdaptiveLabelFlip(),
    AdaptiveTargetedLabelFlip(),
    Adaptive(MinMax()),
    Adaptive(LIE(), maximum=3.0, steps=3),
    Adaptive(Fang(), benign=False),
    Adaptive(LabelFlip()),
    Adaptive(TargetedLabelFlip(), benign=False),
    Adaptive(ClusterAttack(), steps=4),
    Adaptive(MPAF()),
    Adaptive(AdaptiveLabelFlip(), steps=1),
    SameNorm(MinMax()),
    SameNorm(LabelFlip()),
    SameNorm(ClusterAttack()),
    SameNorm(MPAF()),
]

LENIENT = FedREDefense(
    gamma=1.5, input_lr=1e-3, label_lr=1e-3, virtual_lr=1e-4, rate_lr=1e-12, first=2, later=2, workers=1
)
"""Accepts whatever is as small as a world's honest uploads, which no training has made."""

DEFENSES: list[Defense] = [
    FedAvg(),
    FedAvg(weighting="uniform"),
    Median(),
    TrimmedMean(),
    TrimmedMean(trim=2),
    TrimmedMean(trim=None),
    Krum(),
    Krum(byzantine=3),
    MultiKrum(),
    MultiKrum(byzantine=0.3, weighting="uniform"),
    NormBound(),
    NormBound(bound=None, weighting="uniform"),
    FLWBC(),
    FLTrust(),
    FLCert(),
    FLCert(groups=3, rule="trimmedmean"),
    FLCert(groups=3, rule={"name": "multikrum", "byzantine": 2, "weighting": "uniform"}),
    Union(),
    Union(as_published=True),
    Union(simulate="sgd", samples=20),
    UnionMemory(),
    UnionMemory(simulate="sgd", outlier=2.0, drift=0.5, evidence=1.0),
    Flame(),
    Flame(noise=0.0),
    Clustering(),
    Clustering(gap=0.0, weighting="uniform"),
    AFA(),
    AFA(weighting="uniform", width=0.5, widen=0.1),
    Contra(),
    Contra(memory=True, threshold=0.1, neighbours=2),
    FLDetector(),
    FLDetector(cold_start=1, window=2),
    LENIENT,
    replace(LENIENT, schedule="continuous", refine=1),
    Pipeline((LENIENT, Median())),
    Pipeline((Union(), MultiKrum())),
    Pipeline((Union(as_published=True), MultiKrum())),
    Pipeline((UnionMemory(), MultiKrum(), NormBound())),
    Pipeline((FLDetector(cold_start=1, window=2), AFA(weighting="uniform"), Flame(noise=0.0))),
    Pipeline((MultiKrum(), Median())),
]

OWN_MEASURE: set[str] = {"fltrust"}
"""Defenses that measure uploads by something else than uploads, so equal ones are not their own aggregate."""

TABLE_ONLY: set[str] = {"clusterattack", "clusterattack+cl", "union", "union-memory"}
"""Names of plug-ins that need a row-sparse item table, and so cannot run on the same uploads made dense."""


DRAWING: set[str] = {"gaussian", "fang", "clusterattack", "clusterattack+cl", "union"}
"""Names of plug-ins that draw random numbers each round, besides those that add noise."""


def draws(plugin: Any) -> bool:
    """Tell whether what a plug-in does depends on the address of its random numbers, and so on seed and round."""
    if hasattr(plugin, "parts"):
        return any(map(draws, plugin.parts))
    noisy = plugin.name.startswith("noise(") or getattr(plugin, "noise", 0.0) > 0 or getattr(plugin, "epsilon", 0.0) > 0
    return noisy or getattr(plugin, "attack", plugin).name in DRAWING


def label(plugin: object) -> str:
    """Return a test id such as ``multikrum-byzantine=0.3``."""
    if hasattr(plugin, "parts"):
        return "+".join(label(part) for part in plugin.parts)
    fields = getattr(plugin, "__dataclass_fields__", {})
    changed = [f"{k}={getattr(plugin, k)}" for k, f in fields.items() if getattr(plugin, k) != f.default]
    changed = [text for text in changed if not text.startswith("attack=")]  # A wrapper's name holds it.
    return "-".join([plugin.name, *changed])  # type: ignore[attr-defined]
