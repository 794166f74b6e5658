"""FLDetector: clients whose updates do not follow from their earlier ones are expelled, and training starts over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from fedsiege.checks import is_count, require
from fedsiege.defenses.base import DefenseView, Filter, Verdicts, shares
from fedsiege.defenses.gap import gap_test
from fedsiege.learners.base import State
from fedsiege.updates import ModelSpec, UpdateBatch

CURVED = 1e-8
"""Smallest cosine between a step and its change of gradient that counts as positive curvature."""


def hessian_times(steps: torch.Tensor, changes: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return the L-BFGS approximation of a Hessian times `vectors`, float64 ``(r, d)``.

    The compact form of Byrd, Nocedal & Schnabel (Mathematical Programming 1994, Theorem 2.3). Pairs without positive
    curvature are left out, as the form requires; with none left the Hessian counts as zero.

    Parameters
    ----------
    steps, changes : torch.Tensor
        ``(m, d)``: differences of parameters and of gradients, oldest first.
    vectors : torch.Tensor
        ``(r, d)``.
    """
    s, y, v = steps.double(), changes.double(), vectors.double()
    lengths = s.norm(dim=1)
    usable = (s * y).sum(1) > CURVED * lengths * y.norm(dim=1)
    if not usable.any():
        return torch.zeros_like(v)
    # The formula does not change if a pair is scaled; unit steps keep the small system well-scaled.
    s, y = s[usable] / lengths[usable, None], y[usable] / lengths[usable, None]
    cross = s @ y.T
    sigma = cross[-1, -1]
    lower = cross.tril(-1)
    middle = torch.cat([torch.cat([sigma * (s @ s.T), lower], 1), torch.cat([lower.T, -torch.diag(cross.diag())], 1)])
    wide = torch.cat([sigma * s, y])
    scale = middle.diag().abs().rsqrt()
    # Not torch's default driver: gelsy starts from column pivots that nobody has set, and rounds by what memory held.
    small, right = middle * scale[:, None] * scale, (wide @ v.T) * scale[:, None]
    inner = torch.linalg.lstsq(small, right, driver="gelsd").solution
    return sigma * v - (inner * scale[:, None]).T @ wide


def flat_model(view: DefenseView) -> torch.Tensor:
    """Return a copy of the global model as one float32 vector."""
    parts = [
        view.model.table(block.name) if block.axis == "items" else view.model.param(block.name)
        for block in view.spec.blocks
    ]
    return torch.cat([part.detach().reshape(-1).float().cpu() for part in parts])


@dataclass(frozen=True)
class FLDetector(Filter):
    """FLDetector: expel clients whose updates are not what their earlier ones predict, and start training over.

    By the mean value theorem a client's gradient moves by H(w − w′) when the model moves from w′ to w. The server
    takes for H the L-BFGS approximation from the last `window` differences of global models and of aggregates, and
    predicts each upload from the client's previous one. In the sign of updates u = −g that is û = u′ − H(w − w′),
    with H from the pairs (Δw, −Δū). A client's score is the mean of its last `window` prediction errors, each
    divided by the round's mean error. Once the scores fall into more than one cluster by gap statistics, the upper
    of two clusters is expelled, training restarts from the initial model, and everything but the list of expelled
    clients is forgotten, so the cold start counts anew. Which cluster is larger plays no role.

    Gap statistics err: of normal scores of 14, 25, 50 and 100 clients they see two clusters in 3.3, 1.5, 0.5 and 0 %
    of tests, and there is one test a round.

    The paper has every client in every round. Here w′ is the model at which the client was last seen; the errors of
    a round are divided by their mean and not by their sum, which is the same up to the number of clients; a client
    is judged once it has `window` errors, and nobody before half of the clients seen have as many; and one may be
    found malicious while absent. The aggregate whose differences enter H is the weighted
    mean of accepted uploads (the paper's FedAvg), whatever rule stands behind this filter. Pairs without positive
    curvature are left out of L-BFGS.

    For small models: it keeps one dense float32 vector of the model's size for each client seen, one for each
    distinct round in which a client was last seen, and two for each pair; row-sparse uploads are made dense.

    Reference: Zhang et al., FLDetector, KDD 2022, section 4, Algorithms 1 to 3.

    Parameters
    ----------
    weighting : {"samples", "uniform"}
        How accepted uploads are averaged.
    cold_start : int
        Rounds, from the first or from a restart, in which nobody is scored, ≥ 0.
    window : int
        N, number of pairs of L-BFGS and of errors in a score, ≥ 1.
    references : int
        B, uniform reference samples of the gap statistics, ≥ 2.
    """

    name: ClassVar[str] = "fldetector"
    expels: ClassVar[bool] = True
    cold_start: int = 50
    window: int = 10
    references: int = 20

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        for field, least in (("cold_start", 0), ("window", 1), ("references", 2)):
            value = getattr(self, field)
            require(is_count(value) and value >= least, f"fldetector.{field}", value, f"an int of at least {least}")

    def init(self, spec: ModelSpec, rng: np.random.Generator) -> State:
        """Return an empty memory."""
        return {
            "seen": 0,
            "models": {},
            "last": {},
            "updates": {},
            "aggregate": None,
            "steps": [],
            "changes": [],
            "errors": {},
            "expelled": [],
        }

    def _errors(
        self, flat: torch.Tensor, model: torch.Tensor, ids: list[str], state: State
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which uploads have a prediction, bool ``(n,)``, and how far off those are, float64."""
        since = np.array([state["last"].get(i, -1) for i in ids], np.int64)
        known = since >= 0
        if not known.any() or not state["steps"]:
            return np.zeros(len(ids), bool), np.empty(0)
        rounds, place = np.unique(since[known], return_inverse=True)
        moves = model.double() - torch.stack([state["models"][str(r)] for r in rounds]).double()
        curved = hessian_times(torch.stack(state["steps"]), torch.stack(state["changes"]), moves)
        before = torch.stack([state["updates"][ids[k]] for k in np.flatnonzero(known)])
        here, errors = flat[torch.from_numpy(known)], np.empty(place.size)
        for k in range(rounds.size):
            group = np.flatnonzero(place == k)
            at = torch.from_numpy(group)
            errors[group] = (here[at].double() - before[at].double() + curved[k]).norm(dim=1).numpy()
        return known, errors

    def _learn(
        self, state: State, flat: torch.Tensor, model: torch.Tensor, weight: np.ndarray, ids: list[str]
    ) -> State:
        """Return the memory after a round: its model, aggregate, pair and the uploads of `ids`."""
        now = state["seen"] + 1
        aggregate = torch.from_numpy(weight).to(flat) @ flat
        steps, changes = state["steps"], state["changes"]
        if state["aggregate"] is not None:
            step = model - state["models"][str(now - 1)]
            steps = [*steps, step][-self.window :]
            changes = [*changes, state["aggregate"] - aggregate][-self.window :]
        last = {**state["last"], **dict.fromkeys(ids, now)}
        # Rows of their own: a state's tensors share no memory.
        updates = {**state["updates"], **{i: row.clone() for i, row in zip(ids, flat)}}
        models = {**state["models"], str(now): model}
        needed = {str(r) for r in last.values()} | {str(now)}
        return {
            **state,
            "seen": now,
            "models": {r: m for r, m in models.items() if r in needed},
            "last": last,
            "updates": updates,
            "aggregate": aggregate,
            "steps": steps,
            "changes": changes,
        }

    def _detect(self, errors: Mapping[str, list[float]], met: int, view: DefenseView) -> list[str]:
        """Return the clients of the upper of two clusters of scores, none if there is one cluster or it is too early.

        It is too early while fewer than half of the `met` clients have a full window.
        """
        ready = sorted((i for i, row in errors.items() if len(row) == self.window), key=int)
        if 2 * len(ready) < met:
            return []
        scores = np.array([np.mean(errors[i]) for i in ready])
        found = gap_test(scores, self.references, view.rng())
        return [ready[k] for k in np.flatnonzero(~found.lower)] if found.fired else []

    def judge(self, updates: UpdateBatch, state: State, view: DefenseView) -> tuple[Verdicts, State, Mapping[str, Any]]:
        """Predict, score, look for two clusters; reject and expel whoever is found, now or before."""
        names = [str(int(c)) for c in updates.clients]
        barred = np.isin(updates.clients, np.array(state["expelled"], np.int64))
        keep = np.flatnonzero(~barred)
        score, expelled = np.full(updates.n, np.nan), barred
        restart = False
        absent: tuple[int, ...] = ()
        if keep.size:
            ids = [names[k] for k in keep]
            flat = updates.select(keep).flat().detach().float().cpu()
            model = flat_model(view)
            errors = dict(state["errors"])
            if state["seen"] >= self.cold_start:
                known, off = self._errors(flat, model, ids, state)
                mean = off.mean() if off.size else 0.0
                relative = off / mean if mean > 0 else np.ones_like(off)
                for k, value in zip(np.flatnonzero(known), relative.tolist()):
                    errors[ids[k]] = [*errors.get(ids[k], []), value][-self.window :]
            score[keep] = [np.mean(errors[i]) if i in errors else np.nan for i in ids]
            found = self._detect(errors, len({*state["last"], *ids}), view)
            restart = bool(found)
            if restart:
                expelled = barred | np.isin(names, found)
                absent = tuple(sorted(map(int, set(found) - set(names))))
                state = {**self.init(view.spec, view.rng()), "expelled": [*state["expelled"], *map(int, found)]}
            else:
                weight = shares(updates, ~barred, self.weighting)[keep]
                state = {**self._learn(state, flat, model, weight, ids), "errors": errors}
        reason = tuple("not what its earlier updates predict" if out else "" for out in expelled)
        verdicts = Verdicts(~expelled, score, np.where(expelled, 0.0, 1.0), reason, expelled, restart, absent)
        return verdicts, state, {"expelled": len(state["expelled"])}
