"""A round among a million users and a million items against one among ten thousand of each.

    python benchmarks/scale.py [--users 1000000 --items 1000000 --interactions 50000000]

Bar: at most 16 GiB in all, and at most 3 times the cost of the small federation, without an attack and with MultiKrum.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from fedsiege.arena.config import plugin
from fedsiege.data.interactions import RecDataset
from fedsiege.data.splits import leave_one_out
from fedsiege.data.synthetic import synthetic_scale
from fedsiege.federation.loop import Federation, FederationConfig
from fedsiege.federation.server import ServerConfig


def build(users: int, items: int, interactions: int, defense: str) -> Federation:
    raw = synthetic_scale(users, items, interactions)
    train, valid, test = leave_one_out(raw, 0)
    dataset = RecDataset("scale", train, valid, test, raw.order, {})
    del raw
    config = FederationConfig(rounds=10**6, evaluate_every=10**6, project_every=0)
    learner = plugin("models", "mf").build(dataset, "fair", 0)
    return Federation(learner, plugin("attacks", "none"), plugin("defenses", defense), config, ServerConfig(), 0)


def cost(federation: Federation, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        federation.step()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times[rounds // 4 :]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--interactions", type=int, default=50_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    for defense in ("none", "multikrum"):
        small = build(10_000, 10_000, 500_000, defense)
        a = cost(small, args.rounds)
        del small
        start = time.perf_counter()
        large = build(args.users, args.items, args.interactions, defense)
        setup = time.perf_counter() - start
        b = cost(large, args.rounds)
        del large
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{defense:10s} 10k x 10k {a:7.2f} ms   {args.users} x {args.items} {b:7.2f} ms   ratio {b / a:5.2f}   "
            f"set-up {setup:5.1f} s   peak {peak:5.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
