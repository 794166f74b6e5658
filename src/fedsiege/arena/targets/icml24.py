"""Which cells each table and figure of the ICML 2024 paper (FedREDefense) needs, in full and in a lite form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from fedsiege.arena.measures import in_units
from fedsiege.arena.optimisation import FIRST
from fedsiege.arena.paper import icml24
from fedsiege.arena.targets.base import Sweep, Target
from fedsiege.arena.targets.images import BACKDOORS, BETA, ImagePoint, Recipe, Setting

ROUNDS = 500
"""Communication rounds (section 5.1.4)."""

LITE_ROUNDS = 60
"""Rounds of the lite form; ours."""

LITE_CNN = Recipe(lr=0.02, caps=(125, 400), steps={"virtual_lr": 0.456, "input_lr": 20.0, "label_lr": 5.0})
"""The Tables' CNN in the lite form; ours.

The local rate decides how well a budget tells LIE from training: six of twenty clients may shift their mean by 0.37
standard deviations only, so most of that upload is training. In round 1 honest clients need at most 66, 102 and 90
iterations (seeds 0 to 2) and LIE, on gradients, more than 143 at this rate; at 0.05 it was 83 against 96.

19 local steps times the rate, over the five virtual steps, times ten classes (the virtual loss is a mean over them)
would give a virtual rate of 0.76; at that the knowledge kept from one round overshoots in the next and may diverge, at
three fifths of it not. The other steps were tried in one round: at Table 7's no honest update came below γ in 50
iterations, at these all fourteen did in 15 to 83.
"""

LITE_CONVNET = Recipe(1 / 3, 0.01, caps=(28, 28), steps={"virtual_lr": 0.09}, schedule="label-start")
"""`convnet` in the lite form; ours. A round of it costs ten of the CNN's, and so does an outer iteration, of which the
paper's schedule needs about 200 at a client's first participation.

The virtual rate, which `label-start` keeps, is a quarter of what the local training asks for (0.38), so an enlarged
update is out of its reach. In round 1 under DBA honest clients need at most 16, 16 and 20 iterations (seeds 0 to 2),
the fastest of eighteen attackers 38, and seventeen are at 0.63 to 0.75 after 40. A larger local rate brings the two
closer: at 0.02 it was 38 against 41 (seed 0). At 0.005 no better either, 18 against 28 (seed 2), and less is learned.
"""

ERROR_ROUNDS = FIRST
"""Rounds from which Table 10 takes reconstruction errors; ours, as the paper names none."""

FULL = Setting("icml24", ROUNDS)
LITE = Setting(
    "icml24-lite",
    LITE_ROUNDS,
    datasets=("fashion-mnist",),
    models=("cnn", "convnet"),
    everywhere=False,
    recipe=LITE_CNN,
    recipes={"convnet": LITE_CONVNET},
    clients=20,
    malicious=0.3,
    shares=(0.1, 0.3, 0.5, 0.7),
    samples=12_000,
    groups=5,
    cold_start=5,
    window=5,
    evaluate_every=5,
)

RATES = ("DACC", "FPR", "FNR", "AAR")
FINAL = ("DACC_final", "FPR_final", "FNR_final", "AAR")
ACCURACY = ("TACC", "ASR")

FIGURE_DEFENSES = ("fldetector", "flame", "fltrust", "redefense")
"""Section 5.3 compares these."""

FIGURE_ATTACKS = ("fang", "minmax", "scaling")
"""One attack that FLDetector finds, one that it does not, and a backdoor; the paper's panels exist as pictures only."""

BETAS = (1.0, 0.5, 0.1, 0.05)
EPOCHS = (1, 2, 5)
COHORTS = (0.1, 0.5, 1.0)


def _point(setting: Setting, model: str, dataset: str, attack: str, defense: str, **more: Any) -> ImagePoint:
    schedule = setting.of(model).schedule if "redefense" in defense.split("+") else "dynamic"
    usual = {"malicious": setting.malicious, "schedule": schedule}
    return ImagePoint(setting, model, dataset, attack, defense, **{**usual, **more})


def _held(setting: Setting, points: Iterator[ImagePoint]) -> Iterator[ImagePoint]:
    """Yield the points that the setting runs."""
    return (point for point in points if setting.holds(point.model, point.attack, point.defense))


def _judged(setting: Setting, table: str, measures: tuple[str, ...]) -> Iterator[ImagePoint]:
    """Tables 1, 3 and 8, which print by attack, then defense, then data set."""
    for model in setting.models:
        for dataset in setting.datasets:
            for attack, defenses in icml24()[table].items():
                for defense, values in defenses.items():
                    paper = in_units(measures, values[dataset])
                    yield _point(setting, model, dataset, attack, defense, paper=paper)


def _table2(setting: Setting) -> Iterator[ImagePoint]:
    # The text of the paper lacks one value, and the cell is run all the same.
    defenses = list(icml24()["table2"]["fashion-mnist"]["none"])
    for model in setting.models:
        for dataset in setting.datasets:
            for attack, values in icml24()["table2"][dataset].items():
                for defense in defenses:
                    paper = in_units(ACCURACY, values[defense]) if defense in values else {}
                    # A.2: the attack on Krum under Krum, that on the trimmed mean elsewhere.
                    mine = "fang-krum" if (attack, defense) == ("fang", "krum") else attack
                    yield _point(setting, model, dataset, mine, defense, paper=paper)
            # LIE is in Table 1 only; this is what it costs, with FedREDefense and without.
            for defense in ("none", "redefense"):
                yield _point(setting, model, dataset, "lie", defense)


def _table9(setting: Setting) -> Iterator[ImagePoint]:
    dataset = "cifar-10" if "cifar-10" in setting.datasets else setting.datasets[0]
    for model in setting.whole:
        for schedule, aoi in icml24()["table9"].items():
            paper = {"AOI": aoi} if dataset == "cifar-10" else {}
            yield _point(setting, model, dataset, "fang", "redefense", schedule=schedule, paper=paper)


def _table10(setting: Setting) -> Iterator[ImagePoint]:
    for model in setting.whole:
        for dataset in setting.datasets:
            for attack, values in icml24()["table10"].items():
                paper = in_units(("error", "error std"), values[dataset])
                yield _point(setting, model, dataset, attack, "redefense", schedule="continuous", paper=paper)


def _figure(setting: Setting, **axis: tuple[float, ...]) -> Iterator[ImagePoint]:
    """Figures 2 to 5: one field of a point takes several values; CIFAR-10 in the paper."""
    ((name, values),) = axis.items()
    dataset = "cifar-10" if "cifar-10" in setting.datasets else setting.datasets[0]
    for attack in FIGURE_ATTACKS:
        for defense in FIGURE_DEFENSES:
            # B.2: FLDetector needs every client in every round. 5.3: FLAME needs a majority of benign clients.
            if name == "cohort" and defense == "fldetector":
                continue
            for value in values:
                if name == "malicious" and defense == "flame" and value >= 0.5:
                    continue
                # A figure in which the backdoor cannot work would compare nothing.
                inside = attack in BACKDOORS and setting.models[0] == "cnn"
                yield _point(setting, setting.models[0], dataset, attack, defense, inside=inside, **{name: value})


def _targets(setting: Setting) -> Iterator[Target]:
    judged = partial(_judged, setting)
    make = partial(
        Target, seeds=1, paper="icml24", rounds=setting.rounds, folder=setting.folder, layout="measures",
        notes=(
            "Pages print rates in percent, the JSON holds shares in [0, 1]; AAR counts rounds. The paper does not say "
            "how many runs its values are means of, and names the Tables' `cnn` where its public code runs `convnet`.",
        ),
    )  # fmt: skip
    draw = partial(make, metrics=("DACC_final", *ACCURACY), figure=True)
    attacks = " or ".join(FIGURE_ATTACKS)
    yield make(
        "icml24-table1", "Table 1: who is found malicious",
        "FLDetector and FedREDefense against seven attacks: clients told apart by the end of training.",
        lambda: _held(setting, judged("table1", FINAL)), FINAL,
    )  # fmt: skip
    yield make(
        "icml24-table2", "Table 2: accuracy under attacks and defenses",
        "Test accuracy (and attack success) of ten defenses without an attack and under six.",
        lambda: _held(setting, _table2(setting)), ACCURACY,
    )  # fmt: skip
    yield make(
        "icml24-table3", "Table 3: label flips and adaptive attacks",
        "FedREDefense with FedAvg or NormBound behind it, under poisoned data and uploads scaled to pass.",
        lambda: _held(setting, judged("table3", ACCURACY)), ACCURACY,
    )  # fmt: skip
    yield make(
        "icml24-table8", "Table 8: rejections of FLAME and FLTrust",
        "Rates averaged over rounds of the two defenses that judge each round anew, against seven attacks.",
        lambda: _held(setting, judged("table8", RATES)), RATES,
    )  # fmt: skip
    yield make(
        "icml24-table9", "Table 9: iterations of three schedules",
        "Averaged optimization iterations (AOI) of FedREDefense under Fang.",
        lambda: _held(setting, _table9(setting)), ("AOI", "DACC_final"),
    )  # fmt: skip
    yield make(
        "icml24-table10", "Table 10: reconstruction errors",
        "Mean and standard deviation of the errors of benign clients (no attack) and of attackers.",
        lambda: _held(setting, _table10(setting)), ("error", "error std"), rounds=ERROR_ROUNDS,
        notes=(
            f"Errors of all verdicts of the first {ERROR_ROUNDS} rounds. The paper names neither rounds nor budget; "
            "here a client's first fit takes all iterations that Table 7 allows at first (in the lite form, all that "
            "this form allows), and later ones 60 each.",
        ),
    )  # fmt: skip
    yield draw(
        "icml24-fig2", "Figure 2: share of malicious clients", f"Detection and accuracy under {attacks}.",
        lambda: _figure(setting, malicious=setting.shares), sweep=Sweep("share of malicious clients"),
    )  # fmt: skip
    yield draw(
        "icml24-fig3", "Figure 3: how unlike the clients' data are", f"Detection and accuracy under {attacks}.",
        lambda: _figure(setting, beta=BETAS), sweep=Sweep("β (small: unlike)", "beta", BETA),
    )  # fmt: skip
    yield draw(
        "icml24-fig4", "Figure 4: local epochs",
        f"Detection and accuracy under {attacks}, with so many times fewer rounds.",
        lambda: _figure(setting, epochs=EPOCHS), sweep=Sweep("local epochs", "epochs", 1),
    )  # fmt: skip
    yield draw(
        "icml24-fig5", "Figure 5: participation", f"Detection and accuracy under {attacks}.",
        lambda: _figure(setting, cohort=COHORTS), sweep=Sweep("share of clients in a round", "cohort", 1),
    )  # fmt: skip


def _lite(target: Target) -> Target:
    """Return a lite target with an identifier, a title and a note that say so."""
    images, small, large = (LITE.samples or 0) // LITE.clients, LITE_CNN, LITE_CONVNET
    (first, later), (least, most) = small.caps or (0, 0), large.caps or (0, 0)
    what = (
        f"Lite form: {LITE.clients} clients with about {images} images of FashionMNIST each, {LITE.malicious:.0%} of "
        f"them malicious unless the table says otherwise, {target.rounds} rounds of local SGD at rate {small.lr:g}, at "
        f"most {first} iterations of FedREDefense at first and {later} later, {LITE.groups} groups of FLCert, "
        f"{LITE.cold_start} rounds before FLDetector scores and {LITE.window} in its window. The budgets and rates "
        f"were chosen on seeds 0 to 2. `convnet` is run without an attack or a defense and for backdoors under "
        f"FedREDefense and FedAvg, over {large.share:.0%} of the rounds, at rate {large.lr:g} and with schedule "
        f"{large.schedule}, {least} iterations at first and {most} later. γ is 0.6, as in the paper. The paper's "
        f"values are those of its own, larger setting: they say which way a result should point, not what it should be."
    )
    seen = (
        "The CNN does not see three of the four pixels of the public code's trigger; in figures the trigger lies two "
        "pixels further in, where it sees all of them."
    )
    notes = (what, *[seen] * target.figure, *target.notes)
    return replace(target, id=f"{target.id}-lite", title=f"{target.title} (lite)", full=target.id, notes=notes)


ICML24: dict[str, Target] = {t.id: t for t in _targets(FULL)}
ICML24_LITE: dict[str, Target] = {t.id: t for t in map(_lite, _targets(LITE))}
