"""Runs the jobs of an audit side by side, each in a process of its own that is killed when its time is up."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fedsiege.files import make_folder, write_atomic
from fedsiege.redteam.audit.plan import JOB, RESULT, WORK, Job
from fedsiege.redteam.audit.tree import Stamps, lay_out, survey, tidy

LOG = "log.txt"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What keeps Flower and Ray from the network."""
PRELOAD = ["fedsiege.redteam.audit.cell", "fedsiege.redteam.audit.engines", "fedsiege.redteam.audit.watch"]
"""Imported once, so that each process starts at the app's own code."""
GRACE = 3.0
"""Seconds in which a process must end once its job is done."""


def stored(job: Job, root: Path) -> dict[str, Any] | None:
    """Return the result of a job that has run with the same app and settings; None if it must run."""
    try:
        result = json.loads((root / job.label / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # A run that was killed, by its time limit or by the system, may end well the next time.
    killed = result.get("status") == "timeout" or result.get("killed")
    return result if result.get("key") == job.key and not killed else None


def _child(folder: str, threads: int) -> None:
    """Run a job in this process, which leads a group of its own, with its output in the job's log."""
    os.setsid()
    log = os.open(Path(folder) / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from fedsiege.redteam.audit.cell import main
    from fedsiege.threads import use_threads

    use_threads(threads)
    try:
        main(Path(folder))
    finally:
        # A process waits for the threads that an app has left behind, which may never end.
        last = threading.Timer(GRACE, os._exit, (1,))
        last.daemon = True
        last.start()


def _end(process: BaseProcess) -> None:
    """Kill a process and all that it has started."""
    if process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    process.join()


def _outcome(job: Job, folder: Path, code: int | None, late: bool, seconds: float) -> dict[str, Any]:
    """Return what a finished process has written, or why it has written nothing."""
    told = {"key": job.key, "label": job.label, "seconds": seconds}
    if late:
        result = {**told, "status": "timeout", "error": f"stopped after {seconds:.0f} s"}
    else:
        try:
            return json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            why = f"the process ended with code {code}; see {folder / LOG}"
            result = {**told, "status": "crashed", "error": why, "killed": True}
    write_atomic(folder / RESULT, json.dumps(result).encode())
    return result


def run_jobs(
    jobs: Sequence[Job],
    root: Path,
    *,
    parallel: int = 1,
    timeout: float = 300.0,
    links: Sequence[str] = (),
    on_done: Callable[[Job, dict[str, Any]], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run jobs, except those whose results are stored, and return all results by label.

    Parameters
    ----------
    jobs : sequence of Job
        What to run, all with one app.
    root : Path
        Folder of the audit; each job gets a folder in it.
    parallel : int
        Processes side by side.
    timeout : float
        Seconds after which a job is killed.
    links : sequence of str
        Paths in the app's folder that are linked instead of copied, so that what a job writes there is not held back.
    on_done : callable, optional
        Called with each job and its result, stored ones first.

    Raises
    ------
    ConfigError
        If the app's folder is too large to be copied for each job, or a link is not in it.
    RunError
        If `root` cannot be written; jobs that have ended keep their results.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
    threads = max(1, (os.cpu_count() or 1) // parallel)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    results: dict[str, dict[str, Any]] = {}
    left: list[Job] = []

    def finish(job: Job, result: dict[str, Any]) -> None:
        results[job.label] = result
        if on_done is not None:
            on_done(job, result)

    for job in jobs:
        known = stored(job, root)
        if known is None:
            left.append(job)
        else:
            finish(job, known)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    if not left:
        return results
    tree = survey(Path(left[0].folder), root, links)
    running: dict[int, tuple[Job, BaseProcess, float, Stamps]] = {}
    try:
        while left or running:
            while left and len(running) < parallel:
                job = left.pop(0)
                folder = root / job.label
                make_folder(folder)
                # Written first: what cannot be written must not cost an old result.
                write_atomic(folder / JOB, json.dumps(asdict(job)).encode())
                (folder / RESULT).unlink(missing_ok=True)
                # Before its time starts to run, however large the app is.
                stamps = lay_out(tree, folder / WORK)
                process = context.Process(target=_child, args=(str(folder), threads))
                process.start()
                running[process.sentinel] = (job, process, time.monotonic(), stamps)
            soonest = min(started for _, _, started, _ in running.values()) + timeout - time.monotonic()
            ended = set(wait(list(running), timeout=max(0.0, soonest)))
            for sentinel, (job, old, started, stamps) in list(running.items()):
                age = time.monotonic() - started
                late = sentinel not in ended and age >= timeout
                if sentinel in ended or late:
                    del running[sentinel]
                    # An app may leave processes behind even when it ends by itself.
                    _end(old)
                    tidy(tree, root / job.label / WORK, stamps)
                    finish(job, _outcome(job, root / job.label, old.exitcode, late, age))
    finally:
        for job, left_over, _, stamps in running.values():
            _end(left_over)
            tidy(tree, root / job.label / WORK, stamps)
    return results
