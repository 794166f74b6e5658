"""The reconstruction of one upload."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch

Tensors = Mapping[str, torch.Tensor]
Loss = Callable[[Tensors, Tensors], torch.Tensor]
"""Training loss of parameters on knowledge; see `VirtualTask.loss`."""

EPS = 1e-9
"""Added to both squared norms of the error, as in the authors' code."""

TINY = 1e-30
"""Lengths below this are no direction."""

AWAY = 2.0
"""Times the smallest error so far above which a fit has run away."""


@dataclass(frozen=True)
class Optimisation:
    """How knowledge is fitted to an upload.

    Parameters
    ----------
    rates : mapping of str to float
        Step sizes of the outer optimizer, by piece of knowledge; ``"rate"`` is the virtual learning rate. Pieces that
        have none, which may hold integers, are shown to the loss and stay as they are.
    inner : int
        Steps of virtual training.
    momentum : float
        Momentum of the outer optimizer, which starts anew at every call.
    goal : float
        The fit ends once the error is below this; −inf never.
    level : bool
        Whether a step has a length of its own: the running mean of gradients (`momentum` is the weight of the past)
        is scaled to a root mean square of 1 in each piece, so that step sizes are lengths, however steep the error.
    """

    rates: Mapping[str, float]
    inner: int = 5
    momentum: float = 0.5
    goal: float = -math.inf
    level: bool = False


@dataclass(frozen=True)
class Problem:
    """One upload to reconstruct.

    Parameters
    ----------
    params : mapping of str to torch.Tensor
        Where virtual training starts.
    target : mapping of str to torch.Tensor
        The upload, block by block.
    knowledge : mapping of str to torch.Tensor
        What to start from: the pieces that the loss reads and the scalar ``"rate"``.
    cap : int
        Most outer iterations; 0 only measures the error.
    """

    params: Tensors = field(repr=False)
    target: Tensors = field(repr=False)
    knowledge: Tensors = field(repr=False)
    cap: int


@dataclass(frozen=True)
class Result:
    """What came of it.

    Parameters
    ----------
    error : float
        Final error; inf if that of the first knowledge was not finite.
    iterations : int
        Outer iterations, steps that were taken back included.
    curve : list of float
        Errors before outer step 0, 1, 2, 4, 8, … and the final one.
    knowledge : mapping of str to torch.Tensor
        The fitted knowledge on the CPU; what the problem started from if the error is inf.
    """

    error: float
    iterations: int
    curve: list[float]
    knowledge: Tensors = field(repr=False)


def on_curve(iteration: int) -> bool:
    """Return whether a curve keeps the error before step `iteration`: 0 and powers of two."""
    return iteration & (iteration - 1) == 0


def stored(knowledge: Tensors) -> dict[str, torch.Tensor]:
    """Return knowledge as it is kept between rounds: copies on the CPU, without graph, in one piece each."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in knowledge.items()
    }


def cast(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return `value` without graph on `device`, in `dtype` unless it holds integers."""
    return value.detach().to(device, dtype if value.is_floating_point() else value.dtype)


def sq_norm(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the squared L2 norm of all tensors together."""
    return torch.stack([t.square().sum() for t in tensors]).sum()


def leveled(gradient: torch.Tensor, axes: int = 0) -> torch.Tensor:
    """Return `gradient` scaled to a root mean square of 1, for each row of its first `axes` axes; zeros stay zeros."""
    # Divided by the largest value first: squares of small gradients would vanish.
    inner = tuple(range(axes, gradient.dim()))
    if inner:
        scaled = gradient / gradient.abs().amax(inner, keepdim=True).clamp(min=TINY)
        return scaled / scaled.square().mean(inner, keepdim=True).sqrt().clamp(min=TINY)
    return gradient.sign()


@torch.enable_grad()
def reconstruct(loss: Loss, problem: Problem, how: Optimisation, dtype: torch.dtype = torch.float32) -> Result:
    """Fit knowledge to one upload by gradient descent through virtual training.

    Each outer iteration trains `how.inner` full-batch gradient steps from the parameters and takes the error of the
    move against the upload g, (‖move − g‖² + 1e-9) / (‖g‖² + 1e-9). Below `how.goal` or at the cap it ends; else
    the knowledge makes a step of gradient descent with momentum. The error that ends the fit and the one whose
    gradient is taken are the same number, so it is computed once; at the cap it is computed without a graph.

    A fit runs away where the error is steep, through ever larger values and out of the numbers. Once a step has led
    above `AWAY` times the smallest error so far, the knowledge goes back to where that was, without momentum, and all
    further steps are half as long. That is ours; where it does not happen, not a bit differs from the paper's descent.
    """

    def fresh(value: torch.Tensor) -> torch.Tensor:
        return value.detach().to(device, dtype, copy=True, memory_format=torch.contiguous_format)

    device = next(iter(problem.params.values())).device
    names = list(problem.params)
    start = [fresh(value).requires_grad_() for value in problem.params.values()]
    target = [fresh(problem.target[name]) for name in names]
    pieces = [name for name in problem.knowledge if name in how.rates]
    leaves = [fresh(problem.knowledge[name]).requires_grad_() for name in pieces]
    held = {name: cast(value, device, dtype) for name, value in problem.knowledge.items() if name not in how.rates}
    rates = [how.rates[name] for name in pieces]
    velocity = [torch.zeros_like(leaf) for leaf in leaves]
    size = float(sq_norm(target)) + EPS

    def error(graph: bool) -> torch.Tensor:
        known = {**held, **dict(zip(pieces, leaves if graph else [leaf.detach() for leaf in leaves]))}
        params = start
        for _ in range(how.inner):
            value = loss(dict(zip(names, params)), known)
            grads = torch.autograd.grad(value, params, create_graph=graph, materialize_grads=True)
            params = [p - known["rate"] * g for p, g in zip(params, grads)]
            if not graph:
                params = [p.detach().requires_grad_() for p in params]
        return (sq_norm((p - s) - g for p, s, g in zip(params, start, target)) + EPS) / size

    curve: list[float] = []
    iteration, length = 0, 1.0
    smallest, best = math.inf, [leaf.detach().clone() for leaf in leaves]
    while True:
        last = iteration == problem.cap
        measured = error(graph=not last)
        value = float(measured.detach())
        away = not (math.isfinite(value) and value <= AWAY * smallest)
        if last or value < how.goal or (away and iteration == 0):
            break
        if on_curve(iteration):
            curve.append(value)
        with torch.no_grad():
            if away:
                length /= 2
                for leaf, kept, v in zip(leaves, best, velocity):
                    leaf.copy_(kept)
                    v.zero_()
            else:
                if value < smallest:
                    smallest = value
                    for leaf, kept in zip(leaves, best):
                        kept.copy_(leaf)
                gradients = torch.autograd.grad(measured, leaves, materialize_grads=True)
                for leaf, v, g, step in zip(leaves, velocity, gradients, rates):
                    v.mul_(how.momentum).add_(g)
                    leaf.sub_(leveled(v) if how.level else v, alpha=length * step)
        iteration += 1
    if away and iteration:
        value, leaves = smallest, best
    curve.append(value)
    if not (math.isfinite(value) and all(torch.isfinite(leaf).all() for leaf in leaves)):
        return Result(math.inf, iteration, curve, stored(problem.knowledge))
    return Result(value, iteration, curve, stored({**held, **dict(zip(pieces, leaves))}))
