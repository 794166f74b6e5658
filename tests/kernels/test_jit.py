"""A kernel's bits are the same in a process that compiles it, in one that reads it, and whatever else was loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STEPS = """
import hashlib, sys
import numpy as np
from fedsiege.kernels import lazy_adam
rng = np.random.default_rng(0)
w = rng.standard_normal((50, 24)).astype(np.float32)
m, v = np.zeros_like(w), np.zeros_like(w)
touched, fresh = np.full(50, -1, np.int32), np.full(50, -1, np.int32)
adam = 0.01, 0.9, 0.999, 1e-8, 198
def replay():
    lazy_adam.replay(w, m, v, touched, fresh, np.arange(50), 20, *adam)
if "replay first" in sys.argv:
    replay()
for clock in range(1, 20, 3):
    some = np.sort(rng.choice(50, 20, replace=False))
    lazy_adam.step(w, m, v, touched, fresh, some, rng.standard_normal((20, 24)).astype(np.float32), clock, *adam)
replay()
print(hashlib.sha256(w.tobytes() + m.tobytes() + v.tobytes()).hexdigest())
"""


def bits(cache: Path, *arguments: str) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()[0]


def test_compiling_reading_and_order_of_loading_leave_the_bits_alone(tmp_path: Path) -> None:
    compiled = bits(tmp_path)
    assert list(tmp_path.rglob("*.step-*.nbc"))
    assert bits(tmp_path) == compiled
    assert bits(tmp_path, "replay first") == compiled


def test_kernels_are_counted_as_they_are_read_each_signature_once() -> None:
    import numpy as np

    from fedsiege.kernels import jit, rows

    values = np.ones((2, 3), np.float32)
    before = jit.readied()
    rows.row_norms(values)
    usual = jit.readied()
    assert usual - before in (0, 1)  # Another test may have called it.
    rows.row_norms(values)
    assert jit.readied() == usual
    rows.row_norms(np.ones((2, 3), np.int64))
    assert jit.readied() > usual


def test_a_cache_that_cannot_be_written_still_gives_a_kernel(tmp_path: Path) -> None:
    from fedsiege.kernels.jit import _Alone

    class Nothing:
        def load_overload(self, signature: object, context: object) -> None:
            return None

    class Options:
        compiled = 0

        def __call__(self, function: object) -> Options:
            return self

        def compile(self, signature: object) -> None:
            self.compiled += 1

    class Context:
        _internal_codegen = "shared"

    options, context = Options(), Context()
    assert _Alone(Nothing(), print, options).load_overload("(int64,)", context) is None
    assert options.compiled == 1
    assert context._internal_codegen == "shared"
