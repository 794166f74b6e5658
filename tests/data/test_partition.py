"""Partitions: everything is assigned once, sizes and sums hold, proportions follow the draw."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsiege.data import Partition
from fedsiege.data._balance import balanced_counts, feasible, rounded, sinkhorn
from fedsiege.data.partition import Kind, dirichlet, iid, make, shards
from fedsiege.data.partition_picture import draw_partition
from fedsiege.errors import ConfigError, DataError

LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(10), 60))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def complete(partition: Partition, labels: np.ndarray, clients: int) -> None:
    assert partition.clients == clients
    assert sorted(partition.index.tolist()) == list(range(len(labels)))
    for client in range(clients):
        assert partition.of(client).tolist() == sorted(partition.of(client).tolist())


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("balanced", [True, False])
def test_everything_is_assigned_once_and_depends_on_the_seed(kind: Kind, balanced: bool) -> None:
    first, again, other = (
        make(kind, LABELS, 7, rng(seed), beta=0.5, per_client=3, minimum=2, balanced=balanced) for seed in (0, 0, 1)
    )
    complete(first, LABELS, 7)
    assert np.array_equal(first.index, again.index)
    assert np.array_equal(first.ptr, again.ptr)
    assert not np.array_equal(first.index, other.index)


def test_make_passes_everything_on() -> None:
    for made, direct in (
        (make("iid", LABELS, 9, rng()), iid(LABELS, 9, rng())),
        (make("shards", LABELS, 9, rng(), per_client=4), shards(LABELS, 9, 4, rng())),
        (make("dirichlet", LABELS, 9, rng(), beta=0.2), dirichlet(LABELS, 9, 0.2, rng())),
        (
            make("dirichlet", LABELS, 9, rng(), beta=2, minimum=1, balanced=False),
            dirichlet(LABELS, 9, 2, rng(), minimum=1, balanced=False),
        ),
    ):
        assert np.array_equal(made.index, direct.index)
        assert np.array_equal(made.ptr, direct.ptr)
    with pytest.raises(ConfigError, match="did you mean 'dirichlet'"):
        make("dirichle", LABELS, 9, rng())  # type: ignore[arg-type]


def test_counts_are_those_of_a_loop() -> None:
    partition = dirichlet(LABELS, 13, 0.3, rng())
    expected = [[0] * 11 for _ in range(13)]
    for client in range(13):
        for sample in partition.of(client):
            expected[client][LABELS[sample]] += 1
    assert partition.counts(LABELS, 11).tolist() == expected
    assert partition.counts(LABELS, 11).dtype == np.int64
    part = Partition(np.array([0, 0, 2]), np.array([5, 3]))
    assert part.counts(LABELS, 10).sum(axis=1).tolist() == [0, 2]
    assert part.sizes.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("ptr", "index", "message"),
    [
        ([0, 1], [0, 1], "rise from 0 to the number of samples, 2"),
        ([1, 2], [0, 1], "rise from 0"),
        ([0, 2, 1, 2], [0, 1], "rise from 0"),
        ([], [], "rise from 0|integers"),
        ([0, 2], [3, 3], "sample 3 is assigned to two clients"),
        ([0, 2], [-1, 3], "sample -1 .* negative"),
        ([0.0, 2.0], [1, 3], "arrays of integers"),
        ([[0, 2]], [1, 3], "one-dimensional"),
    ],
)
def test_partitions_are_checked(ptr: list, index: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Partition(np.array(ptr), np.array(index))


def test_iid_sizes() -> None:
    assert iid(LABELS, 7, rng()).sizes.tolist() == [86] * 5 + [85] * 2
    counts = iid(np.repeat(np.arange(2), 5000), 10, rng()).counts(np.repeat(np.arange(2), 5000), 2)
    assert np.abs(counts - 500).max() < 100
    complete(iid(LABELS, len(LABELS), rng()), LABELS, len(LABELS))


def test_shards_are_dealt_by_lot_and_mixed_within_a_class() -> None:
    partition = shards(LABELS, 20, 2, rng())
    rows = [partition.index[a:b] for a, b in zip(partition.ptr, partition.ptr[1:])]
    # Dealt in order, clients would hold classes that rise with their numbers.
    lowest = [int(LABELS[row].min()) for row in rows]
    assert lowest != sorted(lowest)
    assert any(np.ptp(LABELS[row]) > 1 for row in rows)
    # Unmixed, a client's samples of a class would follow each other among all of that class.
    place = np.empty(len(LABELS), int)
    for kind in range(10):
        place[kind == LABELS] = np.arange(60)
    assert all(np.ptp(place[row[LABELS[row] == LABELS[row[0]]]]) > 20 for row in rows)


def test_shards_hold_few_classes() -> None:
    partition = shards(LABELS, 20, 2, rng())
    complete(partition, LABELS, 20)
    assert partition.sizes.tolist() == [30] * 20
    assert (partition.counts(LABELS, 10) > 0).sum(axis=1).max() <= 2
    uneven = shards(LABELS[:599], 7, 3, rng())
    complete(uneven, LABELS[:599], 7)
    assert np.ptp(uneven.sizes) <= 3


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0, 100.0, 1e6])
def test_balanced_sizes_and_skew(beta: float) -> None:
    partition = dirichlet(LABELS, 40, beta, rng())
    complete(partition, LABELS, 40)
    assert partition.sizes.tolist() == [15] * 40
    counts = partition.counts(LABELS, 10)
    assert counts.sum(axis=0).tolist() == [60] * 10
    # Balancing keeps the skew of the draw: the share of a client's largest class, on average.
    drawn = rng(9).dirichlet([beta] * 10, 4000).max(axis=1).mean()
    # Of 15 samples the largest class of an even client has 2, a share of 0.13.
    assert (counts.max(axis=1) / 15).mean() == pytest.approx(drawn, abs=0.07)


def test_unbalanced_follows_the_class_wise_draw() -> None:
    partition = dirichlet(LABELS, 5, 0.5, rng(3), minimum=10, balanced=False)
    complete(partition, LABELS, 5)
    assert partition.sizes.min() >= 10
    generator = rng(3)
    while True:
        expected = np.zeros((5, 10), dtype=int)
        for label, shares in enumerate(generator.dirichlet([0.5] * 5, 10)):
            cuts = [0, *(int(total * 60) for total in np.cumsum(shares)[:-1]), 60]
            expected[:, label] = np.diff(cuts)
        if expected.sum(axis=1).min() >= 10:
            break
    assert partition.counts(LABELS, 10).tolist() == expected.tolist()
    assert np.ptp(partition.sizes) > 1


def test_absent_classes_and_one_client() -> None:
    labels = np.array([7, 2, 7, 2, 7, 7])
    for balanced in (True, False):
        complete(dirichlet(labels, 2, 0.5, rng(), minimum=1, balanced=balanced), labels, 2)
        complete(dirichlet(labels, 1, 0.5, rng(), minimum=6, balanced=balanced), labels, 1)
    complete(dirichlet(np.zeros(9, int), 4, 0.1, rng(), minimum=2), np.zeros(9, int), 4)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: iid(LABELS, 0, rng()), ConfigError, "clients=0: 600 samples"),
        (lambda: iid(LABELS, 601, rng()), ConfigError, "1 to 600 clients"),
        (lambda: iid(LABELS.astype(float), 3, rng()), DataError, "array of integers"),
        (lambda: shards(LABELS, 100, 7, rng()), ConfigError, "per_client=7: 100 clients can hold 1 to 6"),
        (lambda: shards(LABELS, 100, 0, rng()), ConfigError, "per_client=0"),
        (lambda: dirichlet(LABELS, 3, 0, rng()), ConfigError, "beta=0"),
        (lambda: dirichlet(LABELS, 3, float("nan"), rng()), ConfigError, "beta=nan"),
        (lambda: dirichlet(LABELS, 3, 1, rng(), minimum=-1), ConfigError, "minimum=-1"),
        (lambda: dirichlet(LABELS, 61, 1, rng()), DataError, "use at most 60 clients or a smaller `minimum`"),
        (lambda: dirichlet(LABELS, 1, 1, rng(), minimum=601), DataError, "601 each; use a smaller `minimum`"),
        (
            lambda: dirichlet(LABELS, 50, 0.01, rng(), balanced=False),
            DataError,
            "in 1000 draws with beta=0.01 .* use balanced=True, a larger beta, fewer clients",
        ),
    ],
)
def test_refusals(call: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    clients=st.integers(1, 12),
    beta=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(get_args(Kind)),
)
def test_any_partition_is_complete(sizes: list[int], clients: int, beta: float, seed: int, kind: Kind) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    clients = min(clients, len(labels))
    partition = make(kind, labels, clients, rng(seed), beta=beta, per_client=1, minimum=0)
    complete(partition, labels, clients)
    assert np.ptp(partition.sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 8), columns=st.integers(1, 6))
def test_tables_are_rounded_up_or_down(data: st.DataObject, rows: int, columns: int) -> None:
    cell = st.sampled_from([0.0, 1e-200, 1e-12, 0.01, 0.5, 1.0, 7.0])
    shares = np.array([[data.draw(cell) for _ in range(columns)] for _ in range(rows)])
    whole = np.array([[data.draw(st.integers(1, 30)) for _ in range(columns)] for _ in range(rows)])
    row_sums, column_sums = whole.sum(axis=1), whole.sum(axis=0)
    real = feasible(sinkhorn(np.maximum(shares, 1e-12), row_sums, column_sums), row_sums, column_sums)
    assert np.allclose(real.sum(axis=1), row_sums)
    assert np.allclose(real.sum(axis=0), column_sums)
    counts = balanced_counts(shares, row_sums, column_sums)
    assert counts.dtype == np.int64
    assert counts.min() >= 0
    assert np.array_equal(counts.sum(axis=1), row_sums)
    assert np.array_equal(counts.sum(axis=0), column_sums)
    assert np.abs(counts - real).max() <= 1 + 1e-9


def test_rounding_is_the_nearest_of_all() -> None:
    table = np.array([[0.2, 1.8, 1.0], [1.7, 0.4, 0.9], [1.1, 0.8, 1.1]])
    sums = table.sum(axis=1), table.sum(axis=0)
    want = [np.rint(total).astype(int) for total in sums]
    found = rounded(table, *want)
    down = np.floor(table).astype(int)
    best = min(
        np.abs(down + up - table).sum()
        for bits in range(2**9)
        for up in [np.array([bits >> i & 1 for i in range(9)]).reshape(3, 3)]
        if np.array_equal((down + up).sum(axis=1), want[0]) and np.array_equal((down + up).sum(axis=0), want[1])
    )
    assert np.abs(found - table).sum() == pytest.approx(best)
    whole = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert np.array_equal(rounded(whole, whole.sum(axis=1).astype(int), whole.sum(axis=0).astype(int)), whole)


@pytest.mark.parametrize(("clients", "classes"), [(1, 1), (100, 10), (7, 30)])
def test_pictures(tmp_path: Path, clients: int, classes: int) -> None:
    from PIL import Image

    counts = rng().integers(0, 9, (clients, classes))
    file = draw_partition(counts, [f"class {i}" for i in range(classes)], tmp_path / "new" / "p.png", title="who")
    with Image.open(file) as picture:
        width, height = picture.size
    # Each of 100 bars has a tenth of an inch and more at 150 dots per inch.
    assert height > 150 * 0.1 * clients
    assert width > 900
    for end in (".svg", ".pdf"):
        first = draw_partition(counts, ["x"] * classes, tmp_path / f"p{end}").read_bytes()
        assert first.startswith((b"<?xml", b"%PDF"))


def test_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in .png, .svg, .pdf"):
        draw_partition(np.ones((1, 1)), ["x"], tmp_path / "p.bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write picture"):
        draw_partition(np.ones((1, 1)), ["x"], tmp_path / "file" / "p.png")
