"""Cost of FedREDefense's reconstruction on CPUs, against a plain reference and over worker processes, in one run.

    python benchmarks/reconstruction.py [--clients 16 --cap 12 --repeats 5]
    python benchmarks/reconstruction.py --device cuda --clients 100

The network is the CNN of Table 5 (Xie et al., ICML 2024) without padding, on 28 × 28 grey images made up here. Bars, on
an idle machine of two cores: an outer iteration at most 1.1 times the reference's on one core, two worker processes at
least 1.7 times as fast as one, and the same verdicts from all. CPU seconds where one core is measured, wall-clock
seconds where several are; on a busy machine look at the CPU seconds that the workers took instead (Linux): one
process's by the busier worker's is what free cores would make of it.

With ``--device cuda`` all clients at once against one after another on that GPU, which should take 20 times as long.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fedsiege.defenses.reconstruction import Optimisation, Problem, Result, reconstruct, reconstruct_all
from fedsiege.defenses.reconstruction.processes import workers
from fedsiege.learners.classifier import full_precision
from fedsiege.learners.virtual import ModuleTask
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, ModelSpec

GAMMA = 0.6
RATES = {"inputs": 0.5, "labels": 0.2, "rate": 5e-6}


def table_5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 30, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(30, 50, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1250, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def plain(net: nn.Module, q: Problem, gamma: float) -> tuple[float, int]:
    """Return error and iterations as a careful reader would compute them: functional calls, three optimizers."""
    start = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    size = sum(t.square().sum() for t in q.target.values()) + 1e-9
    inputs, labels, rate = (q.knowledge[name].clone().requires_grad_() for name in ("inputs", "labels", "rate"))
    leaves = {"inputs": inputs, "labels": labels, "rate": rate}
    optimizers = [torch.optim.SGD([leaves[name]], lr=lr, momentum=0.5) for name, lr in RATES.items()]
    iteration = 0
    while True:
        params = start
        for _ in range(5):
            output = torch.func.functional_call(net, params, (inputs,))
            loss = -(labels.softmax(1) * output.log_softmax(1)).mean()
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {name: p - rate * g for (name, p), g in zip(params.items(), grads)}
        miss = sum((params[name] - start[name] - t).square().sum() for name, t in q.target.items())
        error = (miss + 1e-9) / size
        value = float(error.detach())
        if value < gamma or iteration == q.cap:
            return value, iteration
        for optimizer in optimizers:
            optimizer.zero_grad()
        error.backward(inputs=list(leaves.values()))
        for optimizer in optimizers:
            optimizer.step()
        iteration += 1


def trained(net: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Return the update of an epoch on 600 images of two classes, each a pattern under noise."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(9))
    y = torch.randperm(10, generator=rng)[torch.randint(0, 2, (600,), generator=rng)]
    x = 0.7 * patterns[y] + 0.7 * torch.randn(600, 1, 28, 28, generator=rng)
    before = {name: p.detach() for name, p in net.named_parameters()}
    params = {name: p.clone().requires_grad_() for name, p in before.items()}
    for batch in torch.arange(600).split(32):
        loss = F.cross_entropy(torch.func.functional_call(net, params, (x[batch],)), y[batch])
        grads = torch.autograd.grad(loss, list(params.values()))
        params = {name: (p - 1e-3 * g).detach().requires_grad_() for (name, p), g in zip(params.items(), grads)}
    return {name: p.detach() - before[name] for name, p in params.items()}


def spent() -> list[float]:
    """Return the CPU seconds of each of the two workers so far; zeros where they cannot be read."""
    found = []
    for process in workers(2).processes:
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            fields = ["0"] * 13
        found.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return found


def seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    call()
    return clock() - begin


def moved(q: Problem, device: str) -> Problem:
    """Return a problem on another device."""
    params, target, known = (
        {name: t.to(device) for name, t in part.items()} for part in (q.params, q.target, q.knowledge)
    )
    return Problem(params, target, known, q.cap)


def told_apart(results: Sequence[Result]) -> list[bool]:
    return [r.error <= GAMMA for r in results]


def in_double(task: ModuleTask, problems: Sequence[Problem], how: Optimisation, single: Sequence[Result]) -> None:
    """Print whether float64 gives the verdicts of float32."""
    double = reconstruct_all(task.loss, problems, how, torch.float64)
    gap = max(abs(a.error - b.error) for a, b in zip(single, double))
    print(f"verdicts like float64's: {told_apart(single) == told_apart(double)} (errors differ by at most {gap:.1e})")


def at_once(task: ModuleTask, problems: Sequence[Problem], device: str) -> None:
    """Measure all clients as one computation against one after another, on one accelerator."""

    def timed(how: Optimisation, mode: Literal["single", "batched"]) -> tuple[float, list[Result]]:
        reconstruct_all(task.loss, problems[:2], how, mode=mode)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        results = reconstruct_all(task.loss, problems, how, mode=mode)
        torch.cuda.synchronize()
        return time.perf_counter() - begin, results

    for name, how in (("fixed count", Optimisation(RATES)), ("dynamic", Optimisation(RATES, goal=GAMMA))):
        (slow, one), (fast, many) = timed(how, "single"), timed(how, "batched")
        same = told_apart(one) == told_apart(many)
        times = f"one by one {slow:7.2f} s   at once {fast:7.2f} s   times as fast {slow / fast:6.1f}"
        print(f"all clients, {name:<12} {times}   same verdicts: {same}", flush=True)
    in_double(task, problems, how, many)
    print(f"on {torch.cuda.get_device_name(device)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--cap", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    full_precision(torch.device(args.device))
    net = table_5()
    spec = ModelSpec(tuple(BlockSpec(name, tuple(p.shape)) for name, p in net.named_parameters()))
    task = ModuleTask(net, (1, 28, 28), 10, spec)
    params = {name: p.detach() for name, p in net.named_parameters()}
    known = {**task.knowledge(10, generator(0, "start")), "rate": torch.tensor(0.1)}
    problems = []
    for client in range(args.clients):
        factor = -3.0 if client % 4 == 3 else 1.0
        target = {name: factor * update for name, update in trained(net, client).items()}
        problems.append(Problem(params, target, known, args.cap))
    print(
        f"{sum(p.numel() for p in params.values())} parameters, {args.clients} clients, a quarter inverted", flush=True
    )

    if args.device != "cpu":
        at_once(task, [moved(q, args.device) for q in problems], args.device)
        return
    fixed, first = Optimisation(RATES), problems[0]
    ours, reference = [], []
    for _ in range(args.repeats + 1):
        ours.append(seconds(lambda: reconstruct(task.loss, first, fixed), time.process_time))
        reference.append(seconds(lambda: plain(net, first, -np.inf), time.process_time))
    a, b = (float(np.median(times[1:])) / args.cap for times in (ours, reference))
    print(
        f"outer iteration, one core   ours {a:.4f} s   reference {b:.4f} s   of the reference's {a / b:5.2f}",
        flush=True,
    )

    start = seconds(lambda: reconstruct_all(task.loss, problems[:2], fixed, workers=2), time.perf_counter)
    one, two = [], []
    alone, before = -time.process_time(), spent()
    reconstruct_all(task.loss, problems, fixed, workers=1)
    alone += time.process_time()
    reconstruct_all(task.loss, problems, fixed, workers=2)
    busy = [b - a for a, b in zip(before, spent())]
    for _ in range(3):
        one.append(seconds(lambda: reconstruct_all(task.loss, problems, fixed, workers=1), time.perf_counter))
        two.append(seconds(lambda: reconstruct_all(task.loss, problems, fixed, workers=2), time.perf_counter))
    a, b = float(np.median(one)), float(np.median(two))
    print(f"all clients, fixed count    one process {a:6.2f} s   two workers {b:6.2f} s   times as fast {a / b:5.2f}")
    if max(busy):
        each = " + ".join(f"{t:.2f}" for t in busy)
        print(
            f"CPU seconds                 one process {alone:6.2f} s   two workers {each} s   {alone / max(busy):5.2f}"
        )
    print(f"first call of two workers, their start included   {start:5.2f} s", flush=True)

    dynamic = replace(fixed, goal=GAMMA)
    longer = [replace(q, cap=4 * args.cap) for q in problems]
    serial = reconstruct_all(task.loss, longer, dynamic, workers=1)
    spread = reconstruct_all(task.loss, longer, dynamic, workers=2)
    naive = [plain(net, q, GAMMA) for q in longer]
    bits = all(
        (x.error, x.iterations) == (y.error, y.iterations)
        and all(torch.equal(x.knowledge[name], y.knowledge[name]) for name in x.knowledge)
        for x, y in zip(serial, spread)
    )
    same = [r.error <= GAMMA for r in serial] == [error <= GAMMA for error, _ in naive]
    gap = max(abs(r.error - error) for r, (error, _) in zip(serial, naive))
    accepted = sum(r.error <= GAMMA for r in serial)
    print(f"verdicts like the reference's: {same} ({accepted} accepted, errors differ by at most {gap:.1e})")
    print(f"workers give the same bits: {bits}   iterations {[r.iterations for r in serial]}")
    in_double(task, longer, dynamic, serial)


if __name__ == "__main__":
    main()
