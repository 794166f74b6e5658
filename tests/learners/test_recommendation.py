"""What a recommender masks when it ranks, and which negatives each protocol draws, on catalogues worked by hand."""

from __future__ import annotations

import numpy as np
import torch

from fedsiege.data.interactions import Interactions, RecDataset
from fedsiege.learners.recommendation import ClientStore, all_ranking

ITEMS = 6


def dataset() -> RecDataset:
    """Two users: trained on 0 and 1 and on 5, with 2 and 3 held out for validation and 3 and 4 for the test."""
    train = Interactions(np.array([0, 2, 3]), np.array([0, 1, 5], np.int32), ITEMS)
    return RecDataset("made", train, np.array([2, 3], np.int32), np.array([3, 4], np.int32), "time")


def ranked(first: list[int], split: str) -> float:
    """HR@1 of user 0 where items are scored in the order of `first`."""
    scores = torch.zeros(1, ITEMS)
    for place, item in enumerate(first):
        scores[0, item] = 10 - place
    return all_ranking(dataset(), np.array([0]), (1,), lambda users: scores, split)["HR@1"]  # type: ignore[arg-type]


def test_what_is_known_is_no_candidate() -> None:
    assert ranked([0, 1, 2, 3], "test") == 1.0  # training items and the validation item come before the target
    assert ranked([0, 1, 4, 3], "test") == 0.0
    assert ranked([0, 1, 2], "valid") == 1.0
    assert ranked([0, 1, 3, 2], "valid") == 0.0  # the test item is a candidate like others


def test_only_the_papers_protocol_spares_held_out_items() -> None:
    def drawn(protocol: str) -> list[set[int]]:
        found: list[set[int]] = [set(), set()]
        for seed in range(60):
            store = ClientStore.build(dataset(), protocol, seed)  # type: ignore[arg-type]
            found[0] |= set(store.negatives[:2].tolist())
            found[1] |= set(store.negatives[2:].tolist())
        return found

    assert drawn("paper") == [{4, 5}, {0, 1, 2}]
    assert drawn("fair") == [{2, 3, 4, 5}, {0, 1, 2, 3, 4}]
