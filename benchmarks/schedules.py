"""Iterations that FedREDefense needs on real uploads: schedule ``dynamic`` beside ``label-start``, in one run.

    python benchmarks/schedules.py [--seeds 0 1] [--rounds 3] [--clients 6] [--budget 100 16] [--attacks fang ...]

The federation is the lite form of the icml24 targets: FashionMNIST, 20 clients, 6 of them malicious, the Tables' CNN.
Everybody trains honestly and the model follows the mean, so both schedules see the same uploads. In the first and the
last of `rounds` one malicious client's crafted uploads are judged as well, each from what the server knows of that
client, who was honest until then. Every fit may take `budget` iterations, one number a schedule. For each schedule:
iterations of honest uploads until their error is below γ; for each crafted upload the iteration at which it passes
too, or its lowest error. At last the verdicts that the two give, each at its own budget, and the margin: iterations
of the first crafted upload to pass over those of the last honest one ("more than": none passed).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedsiege.arena.config import parse, plugin
from fedsiege.arena.runs import assemble
from fedsiege.arena.targets.icml24 import LITE
from fedsiege.arena.targets.images import ATTACKS, ImagePoint
from fedsiege.attacks.base import AttackView
from fedsiege.defenses.base import DefenseView
from fedsiege.defenses.redefense import FedREDefense
from fedsiege.federation.loop import Federation
from fedsiege.learners.base import Job, State
from fedsiege.updates import UpdateBatch

SCHEDULES = ("dynamic", "label-start")
CRAFTED = ("fang", "minmax", "minsum", "mpaf", "lie")


class Crafts:
    """Attacks that each see every round, as their state demands, and what their first client would upload."""

    def __init__(self, federation: Federation, names: list[str]) -> None:
        self.federation, spec = federation, federation.learner.spec
        self.attacks = {name: plugin("attacks", {"name": name, **ATTACKS.get(name, {})}) for name in names}
        self.states = {n: a.init(spec, np.random.default_rng(0)) for n, a in self.attacks.items()}

    def step(self, round_: int, own: UpdateBatch, cohort: int) -> dict[str, UpdateBatch]:
        """Return a single upload of each attack; zero updates, which are rejected unseen, are left out."""
        f, made = self.federation, {}
        for name, attack in self.attacks.items():
            view = AttackView(
                attack.knowledge, f.learner.spec, f.seed, round_, cohort, f.coalition, own.clients, f.model,
                lambda clients: own.select(np.searchsorted(own.clients, clients)),
            )  # fmt: skip
            crafted, self.states[name] = attack.step(own, self.states[name], view)
            made[name] = crafted.select(np.array([0]))
        return {name: upload for name, upload in made.items() if upload.norms[0] > 0}


class Reader:
    """A schedule that judges uploads and keeps the knowledge, but expels nobody."""

    def __init__(self, schedule: str, budget: int, base: FedREDefense, federation: Federation) -> None:
        self.defense = replace(base, schedule=schedule, first=budget, later=budget)  # type: ignore[arg-type]
        self.schedule, self.budget = schedule, budget
        self.state: State = self.defense.init(federation.learner.spec, np.random.default_rng(federation.seed))
        self.honest: list[int] = []
        self.crafted: list[int] = []

    def judge(self, uploads: UpdateBatch, view: DefenseView, keep: bool) -> tuple[list[int], list[float]]:
        """Return iterations (one more than the budget where γ was not reached) and errors at the end."""
        verdicts, state, info = self.defense.judge(uploads, self.state, view)
        if keep:
            self.state = {**state, "expelled": []}
        pairs = zip(info["iterations"], verdicts.accepted)
        return [i if ok else self.budget + 1 for i, ok in pairs], verdicts.score.tolist()


def compare(seed: int, args: Any) -> list[Reader]:
    point = ImagePoint(LITE, args.model, "fashion-mnist", "none", "redefense", LITE.malicious)
    config = parse(point.config(seed, args.rounds))
    base = config.defense
    assert isinstance(base, FedREDefense)
    federation, _ = assemble(config)
    learner, model = federation.learner, federation.model
    crafts = Crafts(federation, args.attacks)
    readers = [Reader(s, b, base, federation) for s, b in zip(SCHEDULES, args.budget)]
    everyone = np.arange(learner.num_clients)
    benign = np.setdiff1d(everyone, federation.coalition)[: args.clients]
    fitted = np.append(benign, federation.coalition[0])
    for round_ in range(1, args.rounds + 1):
        trained = learner.train(model, Job(everyone, round_, commit=False))
        updates = trained.updates
        made = crafts.step(round_, updates.select(federation.coalition), updates.n)
        view = DefenseView(learner.spec, model, seed, round_, 1.0, virtual=learner.virtual())  # type: ignore[attr-defined]
        for reader in readers:
            started = time.process_time()
            crafted = {}
            for name, upload in made.items() if round_ in (1, args.rounds) else ():
                counts, errors = reader.judge(upload, view, keep=False)
                reader.crafted += counts
                crafted[name] = f"after {counts[0]}" if counts[0] <= reader.budget else f"{errors[0]:.3f}"
            counts, errors = reader.judge(updates.select(fitted), view, keep=True)
            reader.honest += counts[: benign.size]
            print(
                f"seed {seed} round {round_} {reader.schedule:12s} honest {counts[:-1]} "
                f"mean {np.mean(counts[:-1]):.2f}, largest error {max(errors[:-1]):.3f}   crafted {crafted}   "
                f"{time.process_time() - started:.0f} s of CPU",
                flush=True,
            )
        trained.commit()
        model.apply(updates.weighted_sum(np.full(updates.n, 1 / updates.n)))
    return readers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=6, help="benign clients whose uploads are judged")
    parser.add_argument("--budget", nargs=2, type=int, default=[100, 16], metavar=("DYNAMIC", "LABEL_START"))
    parser.add_argument("--attacks", nargs="*", default=list(CRAFTED), choices=CRAFTED)
    parser.add_argument("--model", choices=["cnn", "convnet"], default="cnn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = [compare(seed, args) for seed in args.seeds]
    print(f"\nγ {found[0][0].defense.gamma:g}, seeds {args.seeds}, rounds 1 to {args.rounds}")
    verdicts = []
    for k, schedule in enumerate(SCHEDULES):
        budget = args.budget[k]
        honest = np.array([c for pair in found for c in pair[k].honest])
        crafted = np.array([c for pair in found for c in pair[k].crafted])
        verdicts.append(np.concatenate([honest, crafted]) <= budget)
        first = int(crafted.min(initial=budget + 1))
        text = f"more than {budget / honest.max():.2f}" if first > budget else f"{first / max(honest.max(), 1):.2f}"
        print(
            f"{schedule:12s} at most {budget}: honest accepted {int((honest <= budget).sum())} of {honest.size}, "
            f"mean {honest.mean():.2f} iterations, most {honest.max()}; crafted accepted "
            f"{int((crafted <= budget).sum())} of {crafted.size}; margin {text}"
        )
    same = int((verdicts[0] == verdicts[1]).sum())
    print(f"same verdict on {same} of {verdicts[0].size} uploads")


if __name__ == "__main__":
    main()
