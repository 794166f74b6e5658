"""What all recommenders share: the clients' interactions, and their scoring by all-ranking evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch

from fedsiege.checks import check_choice
from fedsiege.data.interactions import RecDataset
from fedsiege.data.negatives import draw_negatives
from fedsiege.errors import ConfigError
from fedsiege.learners.base import Job
from fedsiege.metrics.ranking import ranking_metrics, target_ranks
from fedsiege.rng import client_keys

Protocol = Literal["paper", "fair"]
BLOCK = 512


def interactions(name: str, dataset: Any) -> RecDataset:
    """Return `dataset` for the model of that name; ConfigError if it does not hold interactions."""
    if not isinstance(dataset, RecDataset):
        raise ConfigError(f"model {name!r} recommends items; this data set holds images: take a classifier, as cnn")
    return dataset


@dataclass(frozen=True)
class ClientStore:
    """Each client's training positives with one negative each, drawn once.

    Under the protocol ``"paper"`` negatives spare the held-out items (as the public code of the AAAI 2023 paper
    does), which tells the client which items are held out; under ``"fair"`` only training items are spared.
    """

    indptr: np.ndarray
    items: np.ndarray
    negatives: np.ndarray
    num_items: int

    @classmethod
    def build(cls, dataset: RecDataset, protocol: Protocol, seed: int) -> ClientStore:
        """Draw the negatives of `dataset` for `seed`; ConfigError if there is no such protocol."""
        check_choice("protocol", protocol, get_args(Protocol))
        held_out = (dataset.valid, dataset.test) if protocol == "paper" else ()
        return cls(
            dataset.train.indptr,
            dataset.train.items,
            draw_negatives(dataset.train, held_out, seed),
            dataset.train.num_items,
        )

    def task_draws(self, job: Job, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what the job's extra task reads on each client: ``(ptr (n + 1,), draws int32 (total, width))``.

        Clients that the task does not bind, and jobs without one, draw nothing.
        """
        if job.task is None:
            return np.zeros(job.clients.size + 1, np.int64), np.empty((0, 1), np.int32)
        on = np.ones(job.clients.size, bool) if job.task_for is None else job.task_for
        keys = client_keys(seed, "task", job.round, job.clients[on])
        ptr, draws = job.task.draw(self.indptr, self.items, job.clients[on], keys, self.num_items)
        lengths = np.zeros(job.clients.size, np.int64)
        lengths[on] = np.diff(ptr)
        return np.concatenate([[0], np.cumsum(lengths)]), draws


def all_ranking(
    dataset: RecDataset,
    clients: np.ndarray,
    ks: tuple[int, ...],
    scores: Callable[[np.ndarray], torch.Tensor],
    split: Literal["valid", "test"],
) -> dict[str, float]:
    """Return HR@K and NDCG@K of `clients` on one split, all items not interacted with being candidates.

    Parameters
    ----------
    dataset : RecDataset
        Training items are masked; on the test split the validation item is masked too. A held-out item that is masked
        itself, as it can be where a loader kept repeats, counts as ranked last.
    clients : numpy.ndarray
        int64 ``(n,)``: the users who are scored; those without a held-out item are left out.
    ks : tuple of int
        Cut-offs.
    scores : callable
        Maps user ids ``(b,)`` to float scores ``(b, items)``.
    split : {"valid", "test"}
        Which held-out item is the target.
    """
    held = dataset.valid if split == "valid" else dataset.test
    clients = clients[held[clients] >= 0]
    train = dataset.train
    greater = np.empty(clients.size, np.int64)
    equal = np.empty(clients.size, np.int64)
    for start in range(0, clients.size, BLOCK):
        users = clients[start : start + BLOCK]
        lengths = train.indptr[users + 1] - train.indptr[users]
        extra = int(split == "test")
        ptr = np.concatenate([[0], np.cumsum(lengths + extra)])
        masked = np.empty(ptr[-1], np.int32)
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        masked[np.repeat(ptr[:-1], lengths) + within] = train.items[np.repeat(train.indptr[users], lengths) + within]
        if extra:
            # Who has no validation item masks nothing more: a target alone is never masked.
            masked[ptr[1:] - 1] = np.where(dataset.valid[users] >= 0, dataset.valid[users], held[users])
        targets = np.where(dataset.repeated[split][users], -1, held[users])
        block = slice(start, start + users.size)
        greater[block], equal[block] = target_ranks(scores(users), targets, ptr, masked)
    return ranking_metrics(greater, equal, ks)
