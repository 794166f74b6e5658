"""A round's own cost on a Flower server: FedSiege's strategy beside Flower's strategy of the same rule, in one run.

    python benchmarks/flower.py [--clients 100] [--params 1000000] [--rules krum multikrum trimmedmean median]
                                [--rounds 5] [--json FILE]

Both are handed the same replies, as a grid delivers them: bytes in NumPy's file format. The time is that of
`configure_train` and `aggregate_train`, so it holds all that a strategy does by itself. On our side that is parsing,
checks, hashes against replays, the defense, and verdicts and state written to disk; on Flower's the rule. Clients and
network take no part. Memory is what the process holds at most during such a round, beyond the replies.

`f` is a fifth of the clients. The results are the same up to rounding, as each pair is set to one definition:

* Krum, MultiKrum: n − f − 2 neighbours, squared distances, averages weighed by sample counts (ours are capped; the
  counts here stay below the cap). Ours takes distances between updates, Flower's in float32 between whole models, where
  near ties drown in rounding; so the uploads here differ clearly in their distances.
* TrimmedMean, Median: f cut on either side, the mean of the middle two. Ours works on updates, Flower's on models.

Bars: never slower; coordinate-wise rules at least 3 times as fast.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Strategy

from fedsiege.defenses import krum, median, multi_krum, trimmed_mean
from fedsiege.flower.grid import LocalGrid
from fedsiege.flower.strategy import DefendedStrategy

RULES = ["krum", "multikrum", "trimmedmean", "median"]
COORDINATE_WISE = {"trimmedmean", "median"}
BARS = {True: 3.0, False: 1.0}
FIRST = 1001
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def shapes_of(size: int) -> dict[str, tuple[int, ...]]:
    """Return a small network's arrays that hold `size` values together, most of them in one matrix."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (16, 3, 3, 3), "conv2": (32, 16, 3, 3), "bias": (32,)}
    left = size - sum(int(np.prod(s)) for s in shapes.values())
    wide = left // 2 // 100
    if wide < 1:
        raise SystemExit("--params must be at least 5500")
    shapes |= {"dense1": (100, wide), "dense2": (10, (left - 100 * wide) // 20)}
    return shapes | {"rest": (size - sum(int(np.prod(s)) for s in shapes.values()),)}


class World:
    """A model, and one upload from each client: a common step, and a step of its own that grows with its number.

    The last fifth takes a step in quite another direction.
    """

    def __init__(self, clients: int, params: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.n, self.f = clients, clients // 5
        self.sizes = shapes_of(params)
        model = 0.05 * rng.standard_normal(params, np.float32)
        common, other = 1e-2 * rng.standard_normal((2, params), np.float32)
        self.model = self._record(model)
        self.uploads: dict[int, tuple[ArrayRecord, int]] = {}
        for i in range(clients):
            own = 1e-2 * (1 + i / clients) * rng.standard_normal(params, np.float32)
            step = own + (common if i < clients - self.f else other)
            self.uploads[FIRST + i] = self._record(model + step), 10 + i % 5
        self.grid = LocalGrid(self.answer, clients)

    def _record(self, flat: np.ndarray) -> ArrayRecord:
        ends = np.cumsum([int(np.prod(s)) for s in self.sizes.values()])
        pieces = np.split(flat, ends[:-1])
        return ArrayRecord({k: Array(p.reshape(s)) for (k, s), p in zip(self.sizes.items(), pieces)})

    def answer(self, message: Message, context: Context) -> Message:
        # A record of its own for every round: Flower's coordinate-wise strategies take the arrays out of it.
        arrays, count = self.uploads[context.node_id]
        metrics = MetricRecord({"num-examples": count, "loss": 1.0})
        return Message(RecordDict({"arrays": ArrayRecord(dict(arrays)), "metrics": metrics}), reply_to=message)


def peak() -> int:
    """Return the most memory that the process has held since `forget_peak`, in bytes; 0 where the system cannot say."""
    if not STATUS.exists():
        return 0
    return next(1024 * int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))


def forget_peak() -> int:
    """Start to measure anew; return what the process holds now."""
    if FORGET.exists():
        FORGET.write_text("5")
    return peak()


def timed(strategy: Strategy, world: World, rounds: int) -> tuple[float, float, float, ArrayRecord]:
    """Return medians of wall-clock and CPU milliseconds, peak memory in MiB and the last model."""
    wall, cpu, held = [], [], []
    for round_ in range(1, rounds + 2):
        base = forget_peak()
        start = time.perf_counter(), time.process_time()
        sent = list(strategy.configure_train(round_, world.model, ConfigRecord(), world.grid))
        asked = time.perf_counter(), time.process_time()
        replies = world.grid.send_and_receive(sent)
        back = time.perf_counter(), time.process_time()
        arrays, _ = strategy.aggregate_train(round_, replies)
        end = time.perf_counter(), time.process_time()
        assert arrays is not None
        if round_ > 1:
            wall.append(asked[0] - start[0] + end[0] - back[0])
            cpu.append(asked[1] - start[1] + end[1] - back[1])
            held.append(peak() - base)
    return 1e3 * float(np.median(wall)), 1e3 * float(np.median(cpu)), max(held) / 2**20, arrays


def ours(name: str, f: int, folder: Path) -> DefendedStrategy:
    defense = {
        "krum": lambda: krum.Krum(byzantine=f),
        "multikrum": lambda: multi_krum.MultiKrum(byzantine=f),
        "trimmedmean": lambda: trimmed_mean.TrimmedMean(trim=f),
        "median": lambda: median.Median(),
    }[name]()
    return DefendedStrategy(FedAvg(fraction_evaluate=0.0), defense, folder=folder)


def theirs(name: str, n: int, f: int) -> Strategy:
    # A hair more than f / n: Flower rounds the fraction times n down.
    makes: dict[str, Callable[[], Strategy]] = {
        "krum": lambda: Krum(fraction_evaluate=0.0, num_malicious_nodes=f),
        "multikrum": lambda: MultiKrum(fraction_evaluate=0.0, num_malicious_nodes=f, num_nodes_to_select=n - f),
        "trimmedmean": lambda: FedTrimmedAvg(fraction_evaluate=0.0, beta=(f + 1e-6) / n),
        "median": lambda: FedMedian(fraction_evaluate=0.0),
    }
    return makes[name]()


def difference(got: ArrayRecord, expected: ArrayRecord, model: ArrayRecord) -> float:
    """Return the largest deviation as a fraction of the largest step that was expected."""

    def flat(record: Mapping[str, Array]) -> np.ndarray:
        return np.concatenate([record[k].numpy().astype(np.float64).reshape(-1) for k in model])

    reference = flat(expected)
    return float(np.abs(flat(got) - reference).max() / np.abs(reference - flat(model)).max())


def measure(world: World, name: str, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        strategy = ours(name, world.f, Path(folder))
        ms, cpu, memory, arrays = timed(strategy, world, rounds)
        assert all(entry["applied"] and not entry["absent"] for entry in strategy.history)
    other, other_cpu, other_memory, expected = timed(theirs(name, world.n, world.f), world, rounds)
    off, ratio, bar = difference(arrays, expected, world.model), other / ms, BARS[name in COORDINATE_WISE]
    print(
        f"  {name:12s}{ms:9.0f} ms{cpu:9.0f} ms of CPU{memory:7.0f} MiB   "
        f"Flower{other:9.0f} ms{other_cpu:9.0f} ms of CPU{other_memory:7.0f} MiB   "
        f"{ratio:5.1f} times as fast, bar {bar:.0f}   difference {off:.1e}",
        flush=True,
    )
    return {
        **{"rule": name, "clients": world.n, "bar": bar, "ratio": ratio, "difference": off},
        **{"ms": ms, "cpu_ms": cpu, "peak_mib": memory},
        **{"flower_ms": other, "flower_cpu_ms": other_cpu, "flower_peak_mib": other_memory},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--params", type=int, default=1_000_000)
    parser.add_argument("--rules", nargs="*", default=RULES, choices=RULES)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that is not")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.clients < 10:
        raise SystemExit("--clients must be at least 10")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    world = World(args.clients, args.params)
    print(
        f"{args.clients} clients × {args.params} float32 in {len(world.sizes)} arrays, f = {world.f}; "
        f"threads: torch {torch.get_num_threads()}",
        flush=True,
    )
    rows = [{"params": args.params, **measure(world, name, args.rounds)} for name in args.rules]
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
