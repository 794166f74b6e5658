"""State trees on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsiege.errors import RunError
from fedsiege.federation import checkpoint


def test_a_tree_survives_writing_and_reading(tmp_path: Path) -> None:
    tree = {
        "tensor": torch.arange(6).view(2, 3),
        "array": np.array([1.5, np.nan]),
        "empty": torch.zeros(0, 4),
        "nested": {3: [1, (2.5, "x", None)], "flag": True},
        "scalar": np.float64(0.1),
    }
    checkpoint.save(tmp_path / "state", tree)
    back = checkpoint.load(tmp_path / "state")
    assert torch.equal(back["tensor"], tree["tensor"])
    assert np.array_equal(back["array"], tree["array"], equal_nan=True)
    assert back["empty"].shape == (0, 4)
    assert back["nested"] == {3: [1, (2.5, "x", None)], "flag": True}
    assert back["scalar"] == 0.1


@pytest.mark.parametrize("value", [np.float64(0.1), np.float32(0.1), np.int8(3), np.uint64(2**63), np.bool_(True)])
def test_a_numpy_scalar_keeps_its_type_which_decides_that_of_a_product(value: np.generic, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "state", {"x": value, "list": [value]})
    back = checkpoint.load(tmp_path / "state")
    assert type(back["x"]) is type(back["list"][0]) is type(value)
    assert back["x"].tobytes() == value.tobytes()
    weak = np.ones(2, np.float32)
    assert (weak * back["x"]).dtype == (weak * value).dtype


def test_what_cannot_be_written_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="state at /a/0 holds a set"):
        checkpoint.save(tmp_path / "state", {"a": [{1}]})


TREE = {"past": {"key:ü": [["a", "b"]] * 9}, "x": torch.arange(3), "deep": [{"y": np.ones(2)}, (None, 0.1)]}


def check(back: Any) -> None:
    assert back["past"] == TREE["past"]
    assert torch.equal(back["x"], TREE["x"])
    assert np.array_equal(back["deep"][0]["y"], np.ones(2))
    assert back["deep"][1] == (None, 0.1)
    assert set(back) == set(TREE)


def test_a_large_tree_is_written_as_a_tensor_and_a_small_one_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are read; equal states give equal bytes; and a small one is what earlier versions have written."""
    from safetensors.torch import save

    small, large = tmp_path / "small", tmp_path / "large"
    checkpoint.save(small, TREE)
    tensors: dict[str, torch.Tensor] = {}
    old = json.dumps(checkpoint._flatten(TREE, "", tensors))
    assert small.read_bytes() == save(tensors, {"fedsiege-state-1": old})
    monkeypatch.setattr(checkpoint, "LARGE", 10)
    checkpoint.save(large, TREE)
    first = large.read_bytes()
    assert first != small.read_bytes()
    checkpoint.save(large, TREE)
    assert large.read_bytes() == first
    for path in (small, large):
        check(checkpoint.load(path))


def test_words_beyond_what_a_header_may_have(tmp_path: Path) -> None:
    """The memory of some 17,000 clients of a server; safetensors refuses headers above 100 MB."""
    words = "0123456789abcdef" * (101 * 10**6 // 16)
    checkpoint.save(tmp_path / "state", {"past": words})
    assert checkpoint.load(tmp_path / "state")["past"] == words


def test_a_state_that_the_format_has_no_room_for_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(tensors: Any, metadata: Any) -> bytes:
        raise SafetensorError("Error while serializing: header too large")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(RunError, match=r"cannot write .*state: .*header too large; the state has 1 arrays"):
        checkpoint.save(tmp_path / "state", {"x": torch.zeros(1)})


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, str(tmp_path / "state"))
    with pytest.raises(RunError, match="not of format"):
        checkpoint.load(tmp_path / "state")
