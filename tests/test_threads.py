"""Threads of torch and numba are set together, and given back."""

from __future__ import annotations

import subprocess
import sys

import numba
import numpy as np
import pytest
import torch

from fedsiege.errors import ConfigError
from fedsiege.kernels.norm_pool import norm_pool
from fedsiege.threads import asked_threads, threads


def run_a_kernel() -> None:
    x, plane = np.ones((2, 4, 4, 1), np.float32), np.empty((2, 1), np.float32)
    norm_pool(x, np.ones(1, np.float32), x[0, 0, 0], np.float32(1), plane, plane.copy(), np.empty((2, 2, 2, 1), "f"))


def test_a_kernel_changes_nothing_about_the_threads_of_torch() -> None:
    with threads(1):
        run_a_kernel()
        assert (torch.get_num_threads(), numba.get_num_threads()) == (1, 1)


def test_the_first_call_of_a_process_holds() -> None:
    code = (
        "import numba, torch; from fedsiege.threads import use_threads; torch.get_num_threads(); use_threads(1); "
        "print(torch.get_num_threads(), numba.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_threads_are_given_back_after_an_error_too() -> None:
    before = torch.get_num_threads(), numba.get_num_threads()
    with pytest.raises(ValueError, match="stop"), threads(1):
        raise ValueError("stop")
    assert (torch.get_num_threads(), numba.get_num_threads()) == before


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "2 "])
def test_the_number_of_the_environment_is_checked(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIEGE_THREADS", value)
    if value == "2 ":
        assert asked_threads() == 2
        return
    with pytest.raises(ConfigError, match=f"FEDSIEGE_THREADS={value} must be a whole number"):
        asked_threads()


def test_without_a_number_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "0"):
        monkeypatch.setenv("FEDSIEGE_THREADS", value)
        assert asked_threads() == 0
    monkeypatch.delenv("FEDSIEGE_THREADS")
    assert asked_threads() == 0
