"""Where Flower is not installed: what is said, in place of the name of a module that nobody has asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOOPBACK = Path(__file__).parents[2] / "examples" / "loopback.py"
AUDIT = """
from fedsiege.cli.audit import Audit
from fedsiege.errors import ConfigError
from pathlib import Path
try:
    Audit(Path("absent"))()
except ConfigError as error:
    raise SystemExit(str(error))
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import fedsiege.flower.strategy", "ModuleNotFoundError: fedsiege.flower needs Flower"),
        ("import fedsiege.redteam.mod", "ModuleNotFoundError: fedsiege.redteam needs Flower"),
        (AUDIT, "fedsiege audit needs Flower"),
        (
            f"import runpy; sys.argv = ['loopback.py', 'app', '--out', 'out']; "
            f"runpy.run_path({str(LOOPBACK)!r}, run_name='__main__')",
            "loopback.py needs Flower",
        ),
    ],
)
def test_the_extra_to_install_is_named(code: str, said: str, tmp_path: Path) -> None:
    hidden = f"import sys; sys.modules['flwr'] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{said}; in a clone of FedSiege run: pip install -e '.[flower]'"
    assert not any(tmp_path.iterdir())
