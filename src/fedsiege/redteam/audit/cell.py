"""One run of an app in a process of its own: it reads FOLDER/job.json and writes FOLDER/result.json."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedsiege.errors import ConfigError
from fedsiege.files import write_atomic
from fedsiege.redteam.audit.plan import CLEAN, JOB, OWN, RESULT, WORK, Job


def read_job(folder: Path) -> Job:
    """Return the job of a folder."""
    values = json.loads((folder / JOB).read_text(encoding="utf-8"))
    return Job(**{**values, "malicious": tuple(values["malicious"])})


def seed_all(seed: int) -> None:
    """Seed the generators that apps use without saying so."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - an app's own code draws from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def load_apps(job: Job) -> tuple[Any, Any]:
    """Return the app's ServerApp and ClientApp, from the run's copy of the app, which is the current folder.

    Raises
    ------
    ConfigError
        If one cannot be imported, or runs on Flower's compatibility layer.
    """
    from flwr.supercore.object_ref import load_app

    found = []
    for reference in (job.server, job.client):
        try:
            found.append(load_app(reference, ConfigError, Path.cwd()))
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{reference} cannot be imported: {type(error).__name__}: {error}") from error
    server, client = found
    if getattr(server, "_main", True) is None:
        raise ConfigError(
            f"{job.server} has no @app.main(); apps on Flower's compatibility layer (server_fn, flwr.server.strategy) "
            "hand a strategy nothing that a defense could stand before: move it to the Message API first"
        )
    return server, client


def told_of(job: Job, strategy: Any) -> int:
    """Return how many malicious nodes a defense is told of: as many as a round of this strategy holds on average."""
    share = math.ceil(job.told * min(1.0, float(getattr(strategy, "fraction_train", 1.0))))
    # FedAvg(fraction_train=0.00001, min_train_nodes=10) is a usual way to ask for ten nodes.
    least = math.ceil(job.told * min(job.nodes, int(getattr(strategy, "min_train_nodes", None) or 0)) / job.nodes)
    return max(share, least)


def defense_of(job: Job) -> Any:
    """Return what puts the job's defense before a strategy; None for none."""
    if job.defense == OWN:
        return None
    from fedsiege.flower.needs import heeds_count
    from fedsiege.flower.strategy import DefendedStrategy

    def defend(strategy: Any) -> DefendedStrategy:
        told = told_of(job, strategy) if heeds_count(job.defense) else None
        return DefendedStrategy(strategy, job.defense, seed=job.seed, items=job.items, told=told)

    return defend


def counted(history: list[dict[str, Any]], hostile: set[int]) -> dict[str, int]:
    """Return how many uploads of hostile and of honest nodes were taken and turned away, and who was expelled."""
    out = dict.fromkeys(("hostile_rejected", "hostile", "honest_rejected", "honest", "expelled", "wrongly_expelled"), 0)
    gone: set[int] = set()
    node_of = {one["client"]: one["node"] for entry in history for one in entry["uploads"]}
    for entry in history:
        for one in entry["uploads"]:
            side = "hostile" if one["node"] in hostile else "honest"
            out[side] += 1
            out[f"{side}_rejected"] += not one["accepted"]
            if one["expelled"]:
                gone.add(one["node"])
        gone.update(node_of[client] for client in entry["expelled_absent"])
    out["expelled"], out["wrongly_expelled"] = len(gone & hostile), len(gone - hostile)
    return out


def run(job: Job) -> dict[str, Any]:
    """Run a job and return its result; whatever the app raises is part of the result."""
    from fedsiege.redteam.audit.engines import ENGINES
    from fedsiege.redteam.audit.watch import watched
    from fedsiege.redteam.grid import coalition

    server, client = load_apps(job)
    seed_all(job.seed)
    result: dict[str, Any] = {"status": "ok", "error": None}
    started = time.monotonic()
    nodes: list[int] = []
    with watched(defense_of(job)) as seen:
        red = None
        if job.attack != CLEAN:
            # The strategy, and so its metric, is known once the app has started.
            key = partial(getattr, seen, "count_key")
            red = coalition(job.attack, job.malicious, seed=job.seed, items=job.items, count_key=key)
        try:
            ENGINES[job.engine](job, server, client, red, nodes)
        except ConfigError as error:
            result |= {"status": "refused", "error": str(error)}
        except SystemExit as error:
            # An app may say good-bye so once its strategy has ended.
            if not seen.ended or error.code not in (None, 0):
                result |= {"status": "crashed", "error": f"the app ended the process with code {error.code or 0}"}
        except Exception as error:
            traceback.print_exc()
            result |= {"status": "crashed", "error": f"{type(error).__name__}: {error}".strip()[:500]}
    if result["status"] == "ok" and not seen.strategy:
        reason = (
            "the ServerApp never calls `strategy.start(...)` of Flower's Message API, so there is nothing to measure"
        )
        result |= {"status": "refused", "error": reason}
    hostile = {nodes[place] for place in job.malicious if place < len(nodes)}
    return {
        **result,
        "key": job.key,
        "label": job.label,
        "seconds": time.monotonic() - started,
        "strategy": seen.strategy,
        "server": seen.server,
        "clients": seen.clients,
        "train": seen.train,
        "aggregation": seen.seconds,
        "told": None if seen.defended is None else seen.defended.server.told,
        "verdicts": None if seen.defended is None else counted(seen.defended.history, hostile),
    }


def main(folder: Path) -> None:
    """Run the job of a folder in FOLDER/work, the run's copy of the app, and write its result."""
    job = read_job(folder)
    os.chdir(folder / WORK)
    try:
        result = run(job)
    except ConfigError as error:
        result = {"status": "refused", "error": str(error), "key": job.key, "label": job.label}
    write_atomic(folder / RESULT, json.dumps(result).encode())
