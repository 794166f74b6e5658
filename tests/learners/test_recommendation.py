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


def test_a_target_that_is_masked_itself_is_missed_and_its_user_counts() -> None:
    train = Interactions(np.array([0, 2, 3, 4, 4]), np.array([0, 1, 5, 0], np.int32), ITEMS)
    # The first has seen both held-out items, the second holds the same item out twice, the third has no validation
    # item, and the last has no training item either.
    valid, test = np.array([0, 3, -1, -1], np.int32), np.array([1, 3, 4, 5], np.int32)
    repeats = RecDataset("made", train, valid, test, "time")
    users, asked = np.arange(4), []

    def best(block: np.ndarray) -> torch.Tensor:
        """Score the target of each user highest."""
        asked.append(block.tolist())
        scores = torch.zeros(block.size, ITEMS)
        scores[torch.arange(block.size), torch.from_numpy(held[block]).long()] = 1.0
        return scores

    held = valid
    assert all_ranking(repeats, users, (ITEMS,), best, "valid")[f"HR@{ITEMS}"] == 0.5
    held = test
    assert all_ranking(repeats, users, (1,), best, "test") == {"HR@1": 0.5, "NDCG@1": 0.5}
    assert asked == [[0, 1], [0, 1, 2, 3]]
    assert all_ranking(repeats, np.array([2, 3]), (1,), best, "test")["HR@1"] == 1.0


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
