"""The checksum of large arrays: a plain loop of whole numbers, and what has to change it."""

from __future__ import annotations

import numpy as np
import pytest

from fedsiege.kernels import checksum

GOLDEN, WORD = 0x9E3779B97F4A7C15, 1 << 64


def summed(*arrays: np.ndarray) -> list[int]:
    lanes = checksum.start()
    for array in arrays:
        checksum.add(lanes, array)
    return [int(x) for x in lanes]


def plain(*arrays: np.ndarray) -> list[int]:
    """The same in Python's unbounded integers, word by word."""
    lanes = [1, 2, 3, 4]

    def mix(words: list[int]) -> None:
        for j, word in enumerate(words):
            mixed = (lanes[j % 4] ^ word) * GOLDEN % WORD
            lanes[j % 4] = mixed ^ (mixed >> 32)

    for array in arrays:
        raw = array.tobytes()
        whole = len(raw) - len(raw) % 8
        mix([int.from_bytes(raw[i : i + 8], "little") for i in range(0, whole, 8)])
        if whole < len(raw):
            mix([int.from_bytes(raw[whole:], "little")])
    return lanes


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 64, 1001])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, bool])
def test_it_is_that_of_a_plain_loop(size: int, dtype: type) -> None:
    first = np.random.default_rng(size).integers(0, 256, size).astype(dtype)
    second = np.random.default_rng(1).normal(size=(3, 5)).astype(dtype)
    assert summed(first, second) == plain(first, second)


def test_every_bit_changes_it() -> None:
    raw = np.random.default_rng(0).integers(0, 256, 77, np.uint8)
    seen = {tuple(summed(raw))}
    for place in range(raw.size):
        for bit in range(8):
            other = raw.copy()
            other[place] ^= 1 << bit
            seen.add(tuple(summed(other)))
    assert len(seen) == 1 + 8 * raw.size


def test_order_counts_and_layout_does_not() -> None:
    table = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    assert summed(table) == summed(np.asfortranarray(table))
    assert summed(table) != summed(table.T)
    assert summed(table, table + 1) != summed(table + 1, table)
    read_only = np.frombuffer(table.tobytes(), np.float32)
    assert summed(read_only) == summed(table)


def test_values_may_begin_at_any_byte() -> None:
    table = np.random.default_rng(0).normal(size=33)
    for by in range(9):
        assert summed(np.frombuffer(b"x" * by + table.tobytes(), np.float64, offset=by)) == summed(table)


def test_zeros_of_another_number_are_another_array() -> None:
    assert len({tuple(summed(np.zeros(n))) for n in range(50)}) == 50
