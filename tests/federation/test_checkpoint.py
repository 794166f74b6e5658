"""State trees on disk."""

from __future__ import annotations

from pathlib import Path

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


def test_what_cannot_be_written_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="state at /a/0 holds a set"):
        checkpoint.save(tmp_path / "state", {"a": [{1}]})


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, str(tmp_path / "state"))
    with pytest.raises(RunError, match="not of format"):
        checkpoint.load(tmp_path / "state")
