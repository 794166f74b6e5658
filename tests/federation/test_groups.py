"""Groups of clients with models of their own, and rounds put together from theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedsiege.defenses.base import Outcome, Verdicts
from fedsiege.errors import ConfigError
from fedsiege.federation.groups import Groups, Part, join
from fedsiege.updates import DenseBlock


def test_groups_are_dealt_evenly_by_lot_and_fixed() -> None:
    groups = Groups.of(4, 10, 3)
    assert sorted(np.bincount(groups.of_client)) == [2, 2, 3, 3]
    np.testing.assert_array_equal(groups.of_client, Groups.of(4, 10, 3).of_client)
    assert (groups.of_client != Groups.of(4, 10, 4).of_client).any()
    cohort = np.array([0, 2, 3, 9])
    split = dict(groups.split(cohort))
    assert sorted(np.concatenate(list(split.values()))) == cohort.tolist()
    assert all((groups.of_client[members] == g).all() for g, members in split.items())
    assert groups.addresses == [(0,), (1,), (2,), (3,)]


def test_a_group_without_a_client_is_refused() -> None:
    assert np.bincount(Groups.of(10, 10, 0).of_client).tolist() == [1] * 10
    with pytest.raises(ConfigError, match=r"here.groups = 11 exceeds the 10 clients.*take at most that"):
        Groups.of(11, 10, 0, "here.groups")


def test_one_group_is_everybody_and_nobody_is_no_group() -> None:
    groups = Groups.of(1, 5, 0)
    assert [(g, c.tolist()) for g, c in groups.split(np.array([1, 4]))] == [(0, [1, 4])]
    assert list(groups.split(np.empty(0, np.int64))) == []
    assert groups.addresses == [()]


def part(
    cohort: list[int],
    accepted: list[bool],
    expelled: list[bool] | None,
    restart: bool,
    applied: bool,
    absent: tuple[int, ...] = (),
) -> Part:
    n = len(cohort)
    verdicts = Verdicts(
        np.array(accepted), np.array(cohort) / 10, np.array(cohort) / sum(cohort), tuple(f"r{c}" for c in cohort),
        None if expelled is None else np.array(expelled), restart, absent,
    )  # fmt: skip
    delta = {"w": DenseBlock(torch.ones(1, 2))} if applied else None
    ids = np.array(cohort)
    return Part(ids, ids > 4, ids * 1.0, ids * 2.0, ids * 3.0, Outcome(delta, verdicts, {"k": n}))


def test_a_joined_round_has_every_upload_once_in_the_order_of_clients() -> None:
    whole = join(
        [
            part([1, 6, 7], [True, False, True], None, False, False, (9,)),
            part([0, 5], [True, False], [False, True], True, True, (8, 12)),
        ]
    )
    v = whole.outcome.verdicts
    assert whole.cohort.tolist() == [0, 1, 5, 6, 7]
    assert whole.bad.tolist() == [False, False, True, True, True]
    assert whole.loss.tolist() == [0, 1, 5, 6, 7]
    assert whole.norms.tolist() == [0, 2, 10, 12, 14]
    assert whole.counts.tolist() == [0, 3, 15, 18, 21]
    assert v.score.tolist() == [0, 0.1, 0.5, 0.6, 0.7]
    assert v.weight.tolist() == [0, 1 / 14, 1, 6 / 14, 7 / 14]
    assert v.accepted.tolist() == [True, True, False, False, True]
    assert v.reason == ("r0", "r1", "r5", "r6", "r7")
    assert v.expelled is not None
    assert v.expelled.tolist() == [False, False, True, False, False]
    assert v.restart
    assert v.absent == (8, 9, 12)
    assert whole.outcome.delta is not None
    assert whole.outcome.info == {"0.k": 3, "1.k": 2}


def test_a_round_of_nobody_changes_nothing() -> None:
    empty = join([])
    assert empty.cohort.size == empty.norms.size == 0
    assert empty.outcome.delta is None
