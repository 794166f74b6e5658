"""How well a classifier does, and how far a targeted attack has come."""

from __future__ import annotations

from collections.abc import Sequence

import torch

NONE = -1
"""What is predicted where nothing is: it is no class, so neither right nor an attacker's target."""


def classify(logits: torch.Tensor) -> torch.Tensor:
    """Return the class of the largest logit, int64 ``(samples,)``; −1 where one of ``(samples, classes)`` is NaN."""
    return logits.argmax(1).where(~logits.isnan().any(1), NONE)


def vote(predictions: Sequence[torch.Tensor], classes: int) -> torch.Tensor:
    """Return the class that most models predict, int64 ``(samples,)``; of equal counts the lower class.

    A model that predicts nothing (−1) has no vote; where none has one, the result is −1.

    Reference: Cao et al., FLCert, IEEE TIFS 2022, section IV.

    Parameters
    ----------
    predictions : sequence of torch.Tensor
        int64 ``(samples,)`` of each model, at least one; see `classify`.
    classes : int
        Number of classes.
    """
    if len(predictions) == 1:
        return predictions[0]
    counts = torch.zeros(predictions[0].numel(), classes, dtype=torch.int64, device=predictions[0].device)
    for labels in predictions:
        cast = labels != NONE
        counts.scatter_add_(1, labels.where(cast, 0)[:, None], cast.long()[:, None])
    most = counts.max(1, keepdim=True).values
    # argmax leaves open which of several equal entries it returns; so count the classes before the first best one.
    return ((counts == most).cumsum(1) == 0).sum(1).where(most[:, 0] > 0, NONE)


def accuracy(predicted: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of samples classified rightly (TACC, Xie et al., ICML 2024, A.4), NaN without samples."""
    return float((predicted == labels).double().mean()) if labels.numel() else float("nan")


def success(predicted: torch.Tensor, labels: torch.Tensor, target: int, source: int | None = None) -> float:
    """Return the attack success rate: the share of samples with the trigger that are classified as `target`.

    Samples whose true class is `target` are left out (Xie et al., ICML 2024, A.4, which to the letter divides by all,
    but prints rates that this would not allow); with a `source` only samples of
    that class count (section 6.1, label flips). NaN if none is left.

    Parameters
    ----------
    predicted, labels : torch.Tensor
        int64 ``(samples,)``: predictions on inputs with the trigger, and true classes.
    target, source : int
        Classes.
    """
    meant = labels != target if source is None else labels == source
    return float((predicted[meant] == target).double().mean()) if bool(meant.any()) else float("nan")
