"""Cost of a federated round against the plain reference, in one run: medians, ratios, absolute milliseconds.

    python benchmarks/rounds.py [--dataset ml-1m] [--only mf union adaptive sasrec eval]

Bars: MF at least 20 times the reference, MF with MultiKrum+UNION at least 50 times, SASRec at least 4 times; on an
idle machine of two cores MF at most 8 ms a round, with MultiKrum+UNION at most 40 ms, an evaluation at most 0.5 s.
Without a bar: a round that an adaptive attack rehearses, against one whose rehearsals share nothing.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from reference import PlainMF, PlainSASRec

from fedsiege.arena.config import parse
from fedsiege.arena.runs import assemble
from fedsiege.updates import UpdateBatch

GUARDED = {"name": "union+multikrum", "multikrum": {"byzantine": 0.05}}


def federation(dataset: str, model: str, defense: object = "none", lr: float = 2e-3, attack: str = "none"):
    values = {
        "dataset": {"name": dataset, "protocol": "paper"},
        "model": model,
        "defense": defense,
        "server": {"lr": lr},
        "federation": {"rounds": 10**6, "evaluate_every": 10**6, "project_every": 0},
    }
    if attack != "none":
        values |= {"attack": attack}
        values["federation"] |= {"malicious": 0.01, "attackers": 1}
    return assemble(parse(values))[0]


def median_ms(step, repeats: int, warm: int) -> float:
    times = []
    for i in range(warm + repeats):
        start = time.perf_counter()
        step(i)
        if i >= warm:
            times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def report(name: str, ours: float, plain: float | None) -> None:
    ratio = "" if plain is None else f"   reference {plain:9.1f} ms   ratio {plain / ours:6.1f}"
    print(f"{name:28s} ours {ours:8.2f} ms{ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--only", nargs="*", default=["mf", "union", "adaptive", "sasrec", "eval"])
    args = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    print(f"threads: torch {torch.get_num_threads()}", flush=True)
    if "adaptive" in args.only:
        ours = federation(args.dataset, "mf", GUARDED, attack="adaptive(lie)")
        mine = median_ms(lambda i: ours.step(), 20, 5)
        ours = federation(args.dataset, "mf", GUARDED, attack="adaptive(lie)")
        shared = UpdateBatch.replace
        UpdateBatch.replace = lambda self, index, other, again=False: shared(self, index, other)
        report("MF round, adaptive(lie)", mine, median_ms(lambda i: ours.step(), 20, 5))
        UpdateBatch.replace = shared
    if {"mf", "union", "eval"} & set(args.only):
        ours = federation(args.dataset, "mf")
        users, items = ours.learner.num_clients, ours.learner.num_items

        def cohort() -> np.ndarray:
            return rng.choice(users, 50, replace=False)

        plain = PlainMF(ours.learner.store, users, items)
        if "mf" in args.only:
            mine = median_ms(lambda i: ours.step(), 200, 50)
            report("MF round", mine, median_ms(lambda i: plain.round(cohort()), 5, 1))
        if "eval" in args.only:
            report("MF evaluation, valid + test", median_ms(lambda i: ours.evaluate(), 5, 2), None)
        if "union" in args.only:
            defended = federation(args.dataset, "mf", GUARDED)
            mine = median_ms(lambda i: defended.step(), 100, 20)
            report("MF round, UNION+MultiKrum", mine, median_ms(lambda i: plain.round(cohort(), "union"), 3, 1))
    if "sasrec" in args.only:
        ours = federation(args.dataset, "sasrec", lr=1e-3)
        plain = PlainSASRec(ours.learner.store, ours.learner.num_items)
        users = ours.learner.num_clients
        mine = median_ms(lambda i: ours.step(), 20, 5)
        report("SASRec round", mine, median_ms(lambda i: plain.round(rng.choice(users, 50, replace=False)), 3, 1))


if __name__ == "__main__":
    main()
