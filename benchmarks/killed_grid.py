"""A grid of a small card, run three ways: without any incident, killed again and again, and through Ray.

    python benchmarks/killed_grid.py [--card ID] [--attacks …] [--defenses …] [--kills 6] [--ray] [--keep DIR]

The grid is six attacks, six defenses and five seeds. Kills are signal 9, to the driver and to a worker by turns, at
random moments; after a driver's death the same command is given again. With --ray the grid runs on a cluster of one
node with one core, to which a second node (a raylet of its own) with one core is added on the way. Printed: minutes,
and whether `fedsiege export` writes the same bytes as for the undisturbed grid; the exit status is 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fedsiege.arena.environment import commit

CLI = (sys.executable, "-c", "import sys; from fedsiege.cli.main import main; sys.exit(main(sys.argv[1:]))")
ATTACKS = ("none", "labelflip", "gaussian", "lie", "fang", "clusterattack")
DEFENSES = ("none", "median", "trimmedmean", "krum", "normbound", "union+multikrum")
PAUSE = (10.0, 60.0)
"""Seconds between the start of a grid, or the last kill, and the next: drawn evenly."""


def start(words: list[str], out: Path) -> subprocess.Popen[bytes]:
    with (out.parent / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen([*CLI, "arena", *words, "--out", str(out), "--json"], stdout=log, stderr=log)


def export(root: Path) -> bytes:
    table = root.parent / f"{root.name}.csv"
    subprocess.run([*CLI, "export", str(root), "--out", str(table)], check=True, stdout=subprocess.DEVNULL)
    return table.read_bytes()


def of_another_commit(root: Path) -> bool:
    """Return whether a kept grid was run by other code, so that exports differ by the commit alone."""
    return root.exists() and any(
        json.loads(file.read_text())["commit"] != commit() for file in root.rglob("environment.json")
    )


def finished(root: Path) -> int:
    return sum(1 for _ in root.rglob("result.json"))


def workers(driver: int) -> list[int]:
    """Return the processes that `driver` has started for its cells (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
            if parent == driver and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def undisturbed(words: list[str], out: Path) -> None:
    assert start(words, out).wait() == 0, f"the grid failed; see {out.parent}"


def killed(words: list[str], out: Path, kills: int, rng: random.Random) -> None:
    driver = start(words, out)
    for turn in range(kills):
        end = time.monotonic() + rng.uniform(*PAUSE)
        while time.monotonic() < end and driver.poll() is None:
            time.sleep(0.05)
        if driver.poll() is not None:
            print(f"  the grid ended before kill {turn + 1}", flush=True)
            break
        if turn % 2:
            while not (found := workers(driver.pid)) and driver.poll() is None:
                time.sleep(0.05)
            if not found:
                continue
            victim = rng.choice(found)
            os.kill(victim, signal.SIGKILL)
            print(f"  worker {victim} killed at {finished(out)} runs", flush=True)
        else:
            driver.kill()
            driver.wait()
            print(f"  driver {driver.pid} killed at {finished(out)} runs", flush=True)
            driver = start(words, out)
    assert driver.wait() == 0, f"the grid failed; see {out.parent}"


def through_ray(words: list[str], out: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False)
    busy: dict[int, float] = {}
    driver: subprocess.Popen[bytes] | None = None
    try:
        driver = start([*words, "--ray", cluster.address], out)
        while driver.poll() is None:
            nodes = sum(node["Alive"] for node in ray.nodes())
            used = ray.cluster_resources().get("CPU", 0.0) - ray.available_resources().get("CPU", 0.0)
            busy[nodes] = max(busy.get(nodes, 0.0), used)
            if nodes == 1 and finished(out) >= 5:
                cluster.add_node(num_cpus=1)
                print(f"  second node joins at {finished(out)} runs", flush=True)
            time.sleep(0.5)
        assert driver.returncode == 0, f"the grid failed; see {out.parent}"
        for nodes, used in sorted(busy.items()):
            print(f"  {nodes} node(s): at most {used:g} cores busy", flush=True)
    finally:
        if driver is not None and driver.poll() is None:
            driver.kill()
        ray.shutdown()
        cluster.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--card", default="rec-untargeted-v1-lite")
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS))
    parser.add_argument("--defenses", nargs="+", default=list(DEFENSES))
    parser.add_argument("--seeds", nargs="+", default=list("01234"))
    parser.add_argument("--degrees", nargs="*", default=[], help="of a card that has several")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--random", type=int, default=0, help="seed of the moments")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the runs; the undisturbed are used again")
    args = parser.parse_args()
    words = ["--card", args.card, "--attacks", *args.attacks, "--defenses", *args.defenses, "--seeds", *args.seeds]
    words += ["--degrees", *args.degrees] if args.degrees else []
    same = True
    with tempfile.TemporaryDirectory() as room:
        root = args.keep or Path(room)
        root.mkdir(parents=True, exist_ok=True)
        ways: list[tuple[str, Any]] = [
            ("undisturbed", lambda out: undisturbed(words, out)),
            ("killed", lambda out: killed(words, out, args.kills, random.Random(args.random))),
        ]
        if args.ray:
            ways.append(("ray", lambda out: through_ray(words, out)))
        tables: list[bytes] = []
        for name, run in ways:
            if name != "undisturbed" or of_another_commit(root / name):
                # A finished grid has nothing that could be killed.
                shutil.rmtree(root / name, ignore_errors=True)
            begin = time.monotonic()
            run(root / name)
            tables.append(export(root / name))
            same &= tables[-1] == tables[0]
            verdict = "" if name == "undisturbed" else f"   export equal: {tables[-1] == tables[0]}"
            took = (time.monotonic() - begin) / 60
            print(f"{name:12s} {finished(root / name)} runs   {took:5.1f} minutes{verdict}", flush=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
