"""Cost of dense aggregation rules in passes over the upload matrix, beside byzfl and Flower, in one run.

    python benchmarks/aggregation.py [--shape 100x1200000 50x237000 1000x100000] [--layout one cnn] [--no-peers]
                                     [--rules median krum ...] [--repeats 5] [--copies] [--json FILE]

One pass is ``sum(0)`` of the matrix. A rule is timed as a round runs it, behind the gate that rejects non-finite
uploads, on a batch that has nothing cached; `f` is a fifth of the uploads. Layout ``one`` is a single block, ``cnn``
the same numbers as the eight blocks of the CNN for CIFAR-10, its hidden layer sized to fill the columns given.

Bars, for 100 × 1,200,000 float32 on an idle machine of two cores: coordinate-wise rules within 6 passes, rules on
distances within 15. Peers are used where they are installed; neither is a dependency.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from fedsiege.defenses.afa import AFA
from fedsiege.defenses.base import Defense, DefenseView
from fedsiege.defenses.clustering import Clustering
from fedsiege.defenses.contra import Contra
from fedsiege.defenses.fl_trust import FLTrust
from fedsiege.defenses.flame import Flame
from fedsiege.defenses.gate import guarded_step
from fedsiege.defenses.krum import Krum
from fedsiege.defenses.median import Median
from fedsiege.defenses.multi_krum import MultiKrum
from fedsiege.defenses.norm_bound import NormBound
from fedsiege.defenses.trimmed_mean import TrimmedMean
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch

COORDINATE_WISE = {"median", "trimmedmean"}
BARS = {True: 6.0, False: 15.0}


def cnn_shapes(size: int) -> list[tuple[int, ...]]:
    """Return the eight shapes of the CNN for CIFAR-10 with so many hidden units as fit, and what is left."""
    front = [(32, 3, 3, 3), (32,), (64, 32, 3, 3), (64,)]
    left = size - sum(int(np.prod(s)) for s in front) - 10
    hidden = left // (2304 + 1 + 10)
    if hidden < 1:
        raise SystemExit(f"the CNN has more than {size} parameters")
    rest = left - hidden * (2304 + 1 + 10)
    return [*front, (hidden, 2304), (hidden,), (10, hidden), (10 + rest,)]


class World:
    """Uploads of a small step each, a fifth of them a little away from the others, and the model they are for.

    With `copies` that fifth sends one and the same upload, so that their distances must come from differences.
    """

    def __init__(self, n: int, size: int, layout: str, copies: bool, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        common = rng.standard_normal(size, np.float32)
        matrix = rng.standard_normal((n, size), np.float32)
        matrix += common
        matrix[: n // 5] += rng.standard_normal(size, np.float32)
        if copies:
            matrix[: n // 5] = matrix[0]
        matrix *= 1e-3
        self.matrix = torch.from_numpy(matrix)
        shapes = [(size,)] if layout == "one" else cnn_shapes(size)
        self.spec = ModelSpec(tuple(BlockSpec(f"w{i}", shape) for i, shape in enumerate(shapes)))
        self.sizes = [int(np.prod(shape)) for shape in shapes]
        root = torch.from_numpy(1e-3 * (common + rng.standard_normal(size, np.float32)))
        model = torch.from_numpy(0.05 * rng.standard_normal(size, np.float32))
        self.blocks = self._split(self.matrix)
        self.params = {name: block.values[0] for name, block in self._split(model[None]).items()}
        self.root = UpdateBatch(np.zeros(1, np.int64), np.ones(1), self._split(root[None]))
        self.view = DefenseView(self.spec, self, seed, 1, 1.0, root=lambda samples: self.root)

    def _split(self, matrix: torch.Tensor) -> dict[str, DenseBlock]:
        pieces = [matrix] if len(self.sizes) == 1 else [p.contiguous() for p in matrix.split(self.sizes, 1)]
        return {b.name: DenseBlock(p.view(-1, *b.shape)) for b, p in zip(self.spec.blocks, pieces)}

    def param(self, name: str) -> torch.Tensor:
        return self.params[name]

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        raise AssertionError("no table")

    look_ahead = table

    def fresh(self) -> UpdateBatch:
        """Return the uploads as a batch that has computed nothing yet."""
        return UpdateBatch(np.arange(len(self.matrix)), np.ones(len(self.matrix)), self.blocks)

    def step(self, rule: Defense) -> Any:
        state = rule.init(self.spec, generator(0, "defense-init"))
        return guarded_step(rule, self.fresh(), state, self.view)[0]

    def one_pass(self) -> None:
        for block in self.blocks.values():
            block.flat.sum(0)


def timed(call: Callable[[], Any], repeats: int, warm: int = 1) -> tuple[float, float, Any]:
    """Return the medians of wall-clock and of CPU milliseconds over all threads, and the last result."""
    wall, cpu, result = [], [], None
    for i in range(warm + repeats):
        result = None
        start = time.perf_counter(), time.process_time()
        result = call()
        end = time.perf_counter(), time.process_time()
        if i >= warm:
            wall.append(end[0] - start[0])
            cpu.append(end[1] - start[1])
    return 1e3 * float(np.median(wall)), 1e3 * float(np.median(cpu)), result


def aggregate(outcome: Any) -> np.ndarray:
    return np.concatenate([block.dense().double().numpy().reshape(-1) for block in outcome.delta.values()])


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest deviation as a fraction of the largest expected value."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def byzfl_rules(f: int, world: World) -> dict[str, Callable[[], Any]]:
    """Return byzfl's rules on the matrix. Its Krum sums one neighbour more than the paper: f is shifted by one."""
    from tests import peers

    if importlib.util.find_spec("byzfl") is None:
        return {}
    lib = peers.byzfl()
    clip, mean = lib.Clipping(c=float(np.median(world.fresh().norms))), lib.Average()
    return {
        "median": lambda: lib.Median()(world.matrix),
        "trimmedmean": lambda: lib.TrMean(f=f)(world.matrix),
        "krum": lambda: lib.Krum(f=f + 1)(world.matrix),
        "multikrum": lambda: lib.MultiKrum(f=f + 1)(world.matrix),
        "normbound": lambda: mean(clip(world.matrix.clone())),
    }


def flower_rules(f: int, world: World) -> dict[str, Callable[[], Any]]:
    """Return Flower's aggregation functions on a list of uploads, as its strategies call them."""
    if importlib.util.find_spec("flwr") is None:
        return {}
    lib = importlib.import_module("flwr.server.strategy.aggregate")
    results = [([row.numpy()], 1) for row in world.matrix]
    n = len(results)
    return {
        "median": lambda: lib.aggregate_median(results)[0],
        "trimmedmean": lambda: lib.aggregate_trimmed_avg(results, f / n)[0],
        "krum": lambda: lib.aggregate_krum(results, f, 0)[0],
        "multikrum": lambda: lib.aggregate_krum(results, f, n - f)[0],
    }


def expected_of(name: str, peer: str, outcome: Any, world: World) -> np.ndarray:
    """Return what the peer should give: ours, less the last upload that byzfl's shifted MultiKrum leaves out."""
    if (name, peer) == ("multikrum", "byzfl"):
        kept = np.argsort(outcome.verdicts.score, kind="stable")[: int(outcome.verdicts.accepted.sum()) - 1]
        return world.matrix[torch.from_numpy(kept)].double().mean(0).numpy()
    return aggregate(outcome)


def measure(n: int, size: int, layout: str, names: list[str], args: Any, with_peers: bool) -> list[dict[str, Any]]:
    world, f, repeats = World(n, size, layout, args.copies), n // 5, args.repeats
    bound = float(np.median(world.fresh().norms))
    rules: dict[str, Defense] = {
        "median": Median(),
        "trimmedmean": TrimmedMean(trim=f),
        "krum": Krum(byzantine=f, weighting="uniform"),
        "multikrum": MultiKrum(byzantine=f, weighting="uniform"),
        "normbound": NormBound(bound=bound, weighting="uniform"),
        "fltrust": FLTrust(),
        "flame": Flame(),
        "clustering": Clustering(weighting="uniform"),
        "afa": AFA(weighting="uniform"),
        "contra": Contra(),
    }
    peers = {"byzfl": byzfl_rules(f, world), "flwr": flower_rules(f, world)} if with_peers else {}
    for peer, found in peers.items():
        if not found:
            print(f"{peer} is not installed")
    once, once_cpu, _ = timed(world.one_pass, 4 * repeats, 4)
    print(f"\n{n} × {size}, {layout}: one pass {once:.1f} ms, {once_cpu:.1f} ms of CPU", flush=True)
    gate, gate_cpu, _ = timed(lambda: world.fresh().norms, repeats)
    print(f"  {'norms (gate)':14s}{gate:9.1f} ms{gate / once:6.1f} passes{gate_cpu:9.1f} ms of CPU", flush=True)
    base = {"uploads": n, "columns": size, "layout": layout, "pass_ms": once, "pass_cpu_ms": once_cpu}
    rows = [{**base, "rule": "norms", "by": "fedsiege", "ms": gate, "cpu_ms": gate_cpu, "passes": gate / once}]
    for name in names:
        rule = rules[name]
        ms, cpu, outcome = timed(lambda: world.step(rule), repeats)  # noqa: B023
        bar = BARS[name in COORDINATE_WISE]
        rows.append({**base, "rule": name, "by": "fedsiege", "ms": ms, "cpu_ms": cpu, "passes": ms / once, "bar": bar})
        print(f"  {name:14s}{ms:9.1f} ms{ms / once:6.1f} passes{cpu:9.1f} ms of CPU   bar {bar:.0f}", flush=True)
        for peer, found in peers.items():
            if name in found:
                ms, cpu, result = timed(found[name], 1, 0)
                got = np.asarray(result, np.float64).reshape(-1)
                off = difference(got, expected_of(name, peer, outcome, world))
                line = {"rule": name, "by": peer, "ms": ms, "cpu_ms": cpu, "passes": ms / once, "difference": off}
                rows.append({**base, **line})
                print(
                    f"    {peer:12s}{ms:9.1f} ms{ms / once:6.1f} passes{cpu:9.1f} ms of CPU   difference {off:.1e}",
                    flush=True,
                )
    return rows


def main() -> None:
    rules = ["median", "trimmedmean", "krum", "multikrum", "normbound", "fltrust", "flame", "clustering"]
    rules += ["afa", "contra"]
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", nargs="*", default=["100x1200000"], help="uploads x columns")
    parser.add_argument("--layout", nargs="*", default=["one", "cnn"], choices=["one", "cnn"])
    parser.add_argument("--rules", nargs="*", default=rules, choices=rules)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--copies", action="store_true", help="the malicious fifth sends one upload")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"threads: torch {torch.get_num_threads()}")
    rows = []
    for shape in args.shape:
        n, size = map(int, shape.split("x"))
        for layout in args.layout:
            with_peers = not args.no_peers and layout == args.layout[0]
            rows += measure(n, size, layout, args.rules, args, with_peers)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
