"""Worker processes of one thread each that reconstruct uploads: the same bits as one process, on more cores.

The processes are started anew (not forked, so neither threads nor an accelerator are in the way), do not import the
main script, and stay for the rounds that follow: starting one takes seconds. They end with this process, however it
ends, because each waits on a pipe that closes then.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import numpy as np
import torch

from fedsiege.defenses.reconstruction.single import Loss, Optimisation, Problem, Result, Tensors, reconstruct
from fedsiege.heap import keep_freed_memory
from fedsiege.threads import use_threads


class WorkersFailed(Exception):
    """Worker processes cannot be started here, or one of them ended."""


class OutOfReach(Exception):
    """What is to be computed cannot be sent to another process."""


def _arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    # Arrays are pickled as bytes, tensors by way of shared memory or files.
    return {name: value.detach().cpu().contiguous().numpy() for name, value in tensors.items()}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    # Unpickled arrays may be read-only; nothing writes to them, but torch would warn.
    return {name: torch.from_numpy(value if value.flags.writeable else value.copy()) for name, value in arrays.items()}


def _serve(pipe: Connection) -> None:
    """Answer until the pipe closes: what is common to a call comes first, then one problem after another."""
    # Ctrl-C reaches the whole group, but whether to stop at once is for the main process to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_threads(1)
    keep_freed_memory()
    common: Any = None
    with suppress(EOFError, OSError):
        while True:
            kind, body = pickle.loads(pipe.recv_bytes())
            if kind == "common":
                try:
                    common = pickle.loads(body)
                    pipe.send_bytes(pickle.dumps(("ready", None)))
                except Exception as error:
                    pipe.send_bytes(pickle.dumps(("unknown", repr(error))))
                continue
            loss, how, dtype, shared = common
            params, target, knowledge, cap = body
            problem = Problem(_tensors(params or shared), _tensors(target), _tensors(knowledge), cap)
            try:
                result = reconstruct(loss, problem, how, dtype)
                answer = result.error, result.iterations, result.curve, _arrays(result.knowledge)
                pipe.send_bytes(pickle.dumps(("result", answer)))
            except Exception as error:
                pipe.send_bytes(pickle.dumps(("error", f"{type(error).__name__}: {error}")))


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep new processes from importing the main script, which may lack a guard and would run twice."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    main.__spec__ = None
    if file is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


class Workers:
    """So many processes, each with a pipe; see `workers`."""

    def __init__(self, count: int) -> None:
        context = get_context("spawn")
        self.owner, self.broken = os.getpid(), False
        self.pipes: list[Connection] = []
        self.processes = []
        try:
            with _without_main():
                for _ in range(count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_serve, args=(theirs,), daemon=True)
                    process.start()
                    theirs.close()
                    self.pipes.append(ours)
                    self.processes.append(process)
        except (OSError, AssertionError, RuntimeError) as error:
            # A daemonic process may have no children, and a machine may have no room for them.
            self.close()
            raise WorkersFailed(str(error)) from error

    def close(self) -> None:
        """End the processes at once."""
        self.broken = True
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.terminate()
            process.join()

    def reconstruct(
        self, loss: Loss, problems: Sequence[Problem], how: Optimisation, dtype: torch.dtype
    ) -> list[Result]:
        """Return the results of all problems, in their order; each worker takes the next one when it is free.

        Raises
        ------
        OutOfReach
            If `loss` cannot be pickled, or a worker cannot make it out.
        WorkersFailed
            If a worker ended.
        """
        shared = problems[0].params
        try:
            body = pickle.dumps((loss, how, dtype, _arrays(shared)))
        except Exception as error:
            raise OutOfReach(str(error)) from error
        waiting = list(range(len(problems)))[::-1]
        busy: dict[Connection, int] = {}
        results: dict[int, Result] = {}
        pipes = self.pipes[: len(problems)]
        try:
            for pipe in pipes:
                pipe.send_bytes(pickle.dumps(("common", body)))
                busy[pipe] = -1
            unknown = ""
            while busy:
                for ready in wait(list(busy)):
                    pipe = cast(Connection, ready)
                    kind, answer = pickle.loads(pipe.recv_bytes())
                    place = busy.pop(pipe)
                    if kind == "unknown":
                        unknown = str(answer)
                        continue
                    if kind == "error":
                        raise RuntimeError(f"the reconstruction of an upload failed in a worker: {answer}")
                    if kind == "result":
                        final, iterations, curve, knowledge = answer
                        results[place] = Result(final, iterations, curve, _tensors(knowledge))
                    if waiting and not unknown:
                        place = waiting.pop()
                        q = problems[place]
                        same = all(q.params[n].data_ptr() == v.data_ptr() for n, v in shared.items())
                        params = None if same else _arrays(q.params)
                        job = params, _arrays(q.target), _arrays(q.knowledge), q.cap
                        pipe.send_bytes(pickle.dumps(("problem", job)))
                        busy[pipe] = place
        except (EOFError, OSError) as error:
            self.close()
            raise WorkersFailed("a worker process ended") from error
        except BaseException:
            # Answers that are under way would be taken for those of the next call.
            self.close()
            raise
        if unknown:
            raise OutOfReach(unknown)
        return [results[place] for place in range(len(problems))]


_kept: dict[int, Workers] = {}


def workers(count: int) -> Workers:
    """Return `count` worker processes, started now or by an earlier call of this process."""
    held = _kept.get(count)
    if held is None or held.broken or held.owner != os.getpid():
        held = _kept[count] = Workers(count)
    return held


@atexit.register
def close_workers() -> None:
    """End the worker processes that this process has started."""
    for held in _kept.values():
        if held.owner == os.getpid() and not held.broken:
            held.close()
    _kept.clear()
