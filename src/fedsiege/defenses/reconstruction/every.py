"""The reconstruction of all uploads of a round, on whatever there is to compute with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import torch

from fedsiege.defenses.reconstruction import processes
from fedsiege.defenses.reconstruction.batched import reconstruct_batched
from fedsiege.defenses.reconstruction.single import Loss, Optimisation, Problem, Result, reconstruct
from fedsiege.threads import threads

Mode = Literal["auto", "single", "batched"]


def reconstruct_all(
    loss: Loss,
    problems: Sequence[Problem],
    how: Optimisation,
    dtype: torch.dtype = torch.float32,
    workers: int | None = None,
    mode: Mode = "auto",
) -> list[Result]:
    """Return the reconstruction of each problem, in their order.

    Parameters
    ----------
    workers : int, optional
        Processes to spread the problems over when they are done one by one on a CPU; default: as many as torch has
        threads, the cores that a run may use. It changes no bit of the results. Where processes cannot be had, or
        the loss cannot be sent to them, everything is done in this one.
    mode : {"auto", "single", "batched"}
        One by one (always on one thread), or all at once (`reconstruct_batched`), which agrees up to rounding;
        "auto" takes the first on a CPU, where batching gains nothing, the second elsewhere.
    """
    if not problems:
        return []
    on_cpu = next(iter(problems[0].params.values())).device.type == "cpu"
    if mode == "batched" or (mode == "auto" and not on_cpu):
        return reconstruct_batched(loss, problems, how, dtype)
    count = min(torch.get_num_threads() if workers is None else workers, len(problems))
    if on_cpu and count > 1:
        try:
            # Always the same number, so that a small cohort does not start processes of its own.
            held = processes.workers(torch.get_num_threads() if workers is None else workers)
            return held.reconstruct(loss, problems, how, dtype)
        except (processes.WorkersFailed, processes.OutOfReach) as error:
            warnings.warn(f"uploads are reconstructed in one process: {error}", RuntimeWarning, stacklevel=2)
    # Bits must depend neither on cores nor on workers.
    with threads(1):
        return [reconstruct(loss, problem, how, dtype) for problem in problems]
