"""Accuracy, attack success and votes, against loops."""

from __future__ import annotations

import math
from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsiege.metrics.classification import accuracy, classify, success, vote

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def test_a_row_with_a_nan_has_no_class() -> None:
    nan, inf = math.nan, math.inf
    logits = torch.tensor([[nan, nan], [0.0, nan], [1.0, 2.0], [-inf, -inf], [inf, 0.0], [3.0, 3.0]])
    found = classify(logits)
    assert found.dtype == torch.int64
    assert found.tolist() == [-1, -1, 1, 0, 0, int(logits[5].argmax())]
    assert accuracy(found[:2], torch.tensor([0, 1])) == 0.0
    assert success(found[:2], torch.tensor([1, 1]), 0) == 0.0


@given(st.lists(st.lists(st.integers(-1, 3), min_size=6, max_size=6), min_size=1, max_size=7))
def test_the_vote_is_the_most_common_class_and_the_lowest_of_equals(models: list[list[int]]) -> None:
    got = vote([torch.tensor(m) for m in models], 4).tolist()
    for place, winner in enumerate(got):
        counts = Counter(m[place] for m in models if m[place] >= 0)
        assert winner == min(counts, key=lambda c: (-counts[c], c), default=-1)


@given(LABELS, st.data(), st.integers(0, 3), st.one_of(st.none(), st.integers(0, 3)))
def test_rates_are_counts_of_the_samples_that_are_meant(
    labels: list[int], data: st.DataObject, target: int, source: int | None
) -> None:
    predicted = data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)))
    pairs = list(zip(predicted, labels, strict=True))
    assert math.isclose(
        accuracy(torch.tensor(predicted), torch.tensor(labels)), sum(p == y for p, y in pairs) / len(pairs)
    )
    meant = [p for p, y in pairs if (y == source if source is not None else y != target)]
    got = success(torch.tensor(predicted), torch.tensor(labels), target, source)
    assert math.isnan(got) if not meant else math.isclose(got, meant.count(target) / len(meant))


def test_no_samples_have_no_rate() -> None:
    nobody = torch.empty(0, dtype=torch.int64)
    assert math.isnan(accuracy(nobody, nobody))
    assert math.isnan(success(torch.tensor([0]), torch.tensor([2]), 2))
