"""Many uploads at once: the same computation mapped over clients, for accelerators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from fedsiege.defenses.reconstruction.single import (
    AWAY,
    EPS,
    Loss,
    Optimisation,
    Problem,
    Result,
    Tensors,
    cast,
    leveled,
    on_curve,
    sq_norm,
    stored,
)

SHARE = 0.4
"""Share of an accelerator's free memory that one batch may take."""

ON_CPU = 8
"""Clients at once on a CPU."""


class _Batch:
    """The clients under way: a row of every tensor each, and lists of what is not a tensor."""

    def __init__(
        self, loss: Loss, problems: Sequence[Problem], how: Optimisation, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.loss, self.problems, self.how, self.dtype, self.device = loss, problems, how, dtype, device
        self.names, everything = list(problems[0].params), list(problems[0].knowledge)
        self.pieces = [name for name in everything if name in how.rates]
        self.held = [name for name in everything if name not in how.rates]
        first = problems[0].params
        self.shared = all(q.params[n].data_ptr() == first[n].data_ptr() for q in problems for n in self.names)
        self.common = {n: self._cast(first[n]) for n in self.names} if self.shared else {}
        self.places: list[int] = []
        self.iterations: list[int] = []
        self.smallest: list[float] = []
        self.curves: list[list[float]] = []
        self.rows: dict[str, dict[str, torch.Tensor]] = {}
        axis = None if self.shared else 0
        self.errors = torch.func.vmap(self._error, in_dims=(0, axis, 0, 0))
        self.slopes = torch.func.vmap(torch.func.grad_and_value(self._error), in_dims=(0, axis, 0, 0))

    def _cast(self, value: torch.Tensor) -> torch.Tensor:
        return cast(value, self.device, self.dtype)

    def _error(self, fitted: Tensors, start: dict[str, torch.Tensor], target: Tensors, held: Tensors) -> torch.Tensor:
        slope, knowledge = torch.func.grad(self.loss), {**fitted, **held}
        params = start
        for _ in range(self.how.inner):
            gradient = slope(params, knowledge)
            params = {n: p - knowledge["rate"] * gradient[n] for n, p in params.items()}
        miss = sq_norm((params[n] - start[n]) - target[n] for n in self.names)
        return (miss + EPS) / (sq_norm(target[n] for n in self.names) + EPS)

    def admit(self, places: Sequence[int]) -> None:
        """Let the problems at `places` join."""
        mine = [self.problems[place] for place in places]

        def stacked(kind: str, keys: Sequence[str]) -> dict[str, torch.Tensor]:
            return {key: torch.stack([self._cast(getattr(q, kind)[key]) for q in mine]) for key in keys}

        new = {"knowledge": stacked("knowledge", self.pieces), "target": stacked("target", self.names)}
        new["held"] = stacked("knowledge", self.held)
        new["velocity"] = {key: torch.zeros_like(value) for key, value in new["knowledge"].items()}
        new["best"] = {key: value.clone() for key, value in new["knowledge"].items()}
        new["length"] = {"": torch.ones(len(mine), dtype=self.dtype, device=self.device)}
        if not self.shared:
            new["params"] = stacked("params", self.names)
        for kind, tensors in new.items():
            held = self.rows.get(kind)
            self.rows[kind] = tensors if not held else {k: torch.cat([held[k], v]) for k, v in tensors.items()}
        self.places += places
        self.iterations += [0] * len(places)
        self.smallest += [math.inf] * len(places)
        self.curves += [[] for _ in places]

    def _evaluate(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        start = self.common if self.shared else self.rows["params"]
        known, target, held = self.rows["knowledge"], self.rows["target"], self.rows["held"]
        if all(i == self.problems[p].cap for i, p in zip(self.iterations, self.places)):
            return {}, self.errors(known, start, target, held)
        return self.slopes(known, start, target, held)

    def _done(self, row: int, value: float, away: bool) -> Result:
        """Return what came of the fit in a row that ends with this error."""
        problem, iteration, curve = self.problems[self.places[row]], self.iterations[row], self.curves[row]
        kind = "best" if away and iteration else "knowledge"
        value = self.smallest[row] if kind == "best" else value
        fitted = stored({key: piece[row] for key, piece in {**self.rows["held"], **self.rows[kind]}.items()})
        sound = math.isfinite(value) and all(torch.isfinite(fitted[key]).all() for key in self.pieces)
        known = fitted if sound else stored(problem.knowledge)
        return Result(value if sound else math.inf, iteration, [*curve, value], known)

    def advance(self) -> list[tuple[int, Result]]:
        """Measure all errors, take out who is done, and let the others make a step or take their last one back."""
        slope, errors = self._evaluate()
        values = errors.tolist()
        done, keep, strayed, better = [], [], [], []
        for row, (place, value) in enumerate(zip(self.places, values)):
            problem, iteration = self.problems[place], self.iterations[row]
            away = not (math.isfinite(value) and value <= AWAY * self.smallest[row])
            if iteration == problem.cap or value < self.how.goal or (away and iteration == 0):
                done.append((place, self._done(row, value, away)))
                continue
            if on_curve(iteration):
                self.curves[row].append(value)
            keep.append(row)
            strayed.append(away)
            better.append(value < self.smallest[row])
        if len(keep) < len(values):
            index = torch.tensor(keep, dtype=torch.int64, device=self.device)
            self.rows = {kind: {k: v[index] for k, v in tensors.items()} for kind, tensors in self.rows.items()}
            slope = {key: value[index] for key, value in slope.items()}
            self.places = [self.places[row] for row in keep]
            self.curves = [self.curves[row] for row in keep]
        self.iterations = [self.iterations[row] + 1 for row in keep]
        self.smallest = [values[row] if less else self.smallest[row] for row, less in zip(keep, better)]
        if keep:
            self._move(slope, strayed, better)
        return done

    def _move(self, slope: Tensors, strayed: list[bool], better: list[bool]) -> None:
        """Let every row make a step; those that have strayed go back instead, and their steps become half as long."""
        lost, gained = (torch.tensor(flags, device=self.device) for flags in (strayed, better))
        length = self.rows["length"][""]
        if any(strayed):
            length.copy_(torch.where(lost, length / 2, length))

        def where(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            return rows.view(-1, *[1] * (like.dim() - 1))

        for key, leaf in self.rows["knowledge"].items():
            best, velocity = self.rows["best"][key], self.rows["velocity"][key]
            best.copy_(torch.where(where(gained, leaf), leaf, best))
            velocity.mul_(self.how.momentum).add_(slope[key])
            step = leveled(velocity, 1) if self.how.level else velocity
            if any(strayed):
                velocity.copy_(torch.where(where(lost, leaf), 0.0, velocity))
            moved = leaf - self.how.rates[key] * where(length, leaf) * step
            leaf.copy_(torch.where(where(lost, leaf), best, moved) if any(strayed) else moved)


def _shapes(problem: Problem) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((n, tuple(v.shape)) for part in (problem.params, problem.knowledge) for n, v in part.items())


def _width(loss: Loss, problem: Problem, how: Optimisation, dtype: torch.dtype, device: torch.device) -> int:
    """Return how many clients fit: on an accelerator by the memory that one of them takes and what is free."""
    if device.type != "cuda":
        return ON_CPU
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    # Whoever may make no step takes less than those who do.
    trial = _Batch(loss, [replace(problem, cap=max(problem.cap, 1))], replace(how, goal=-math.inf), dtype, device)
    trial.admit([0])
    trial.advance()
    taken = max(torch.cuda.max_memory_allocated(device) - before, 1)
    # What torch holds and does not use is free as well.
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - before
    return max(1, int(SHARE * free / taken))


def reconstruct_batched(
    loss: Loss,
    problems: Sequence[Problem],
    how: Optimisation,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    width: int | None = None,
) -> list[Result]:
    """Do what `reconstruct` does for all problems, several at once through ``torch.func.vmap``.

    Whoever is done leaves and the next one takes the place, so stragglers do not hold up the others. Problems of
    different shapes are not mixed. Errors agree with `reconstruct` up to rounding, not bit for bit.

    Parameters
    ----------
    width : int, optional
        Clients at once; default: as many as 40 % of the accelerator's free memory holds, eight on a CPU.
    """
    results: dict[int, Result] = {}
    groups: dict[object, list[int]] = {}
    for place, problem in enumerate(problems):
        groups.setdefault(_shapes(problem), []).append(place)
    for places in groups.values():
        alike = [problems[place] for place in places]
        where = device or next(iter(alike[0].params.values())).device
        most = width or _width(loss, alike[0], how, dtype, where)
        batch = _Batch(loss, alike, how, dtype, where)
        waiting = list(range(len(alike)))
        while waiting or batch.places:
            free = most - len(batch.places)
            if waiting and free > 0:
                batch.admit(waiting[:free])
                del waiting[:free]
            results.update((places[k], result) for k, result in batch.advance())
    return [results[place] for place in range(len(problems))]
