"""A real SuperLink and three SuperNodes on loopback, one of them hostile; the SuperLink is killed with -9 mid-run."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from flwr.app import Context, RecordDict

from fedsiege.flower.grid import LocalGrid
from tests.flower.deployed_app import write_app, write_digits

ROOT = Path(__file__).parents[2]
ROUNDS = 5


def loopback() -> object:
    spec = importlib.util.spec_from_file_location("loopback", ROOT / "examples" / "loopback.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clean_accuracy(app: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """The same app without a hostile node, in this process."""
    monkeypatch.syspath_prepend(str(app))
    server = importlib.import_module("deployed.server_app")
    client = importlib.import_module("deployed.client_app")
    config = {"rounds": ROUNDS, "out-folder": str(out)}
    out.mkdir()
    server.app(LocalGrid(client.app, 3, run_config=config), Context(1, 1, {}, RecordDict(), config))
    import json

    return float(json.loads((out / "result.json").read_text())["accuracy"])


@pytest.mark.skipif(sys.platform == "win32", reason="kills process groups")
def test_a_real_federation_names_and_expels_the_attacker_and_survives_kill_9(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS", str(write_digits(tmp_path / "digits.npz")))
    # A temporary folder's name may be longer than what a SuperNode's configuration likes; the port is what matters.
    app = write_app(tmp_path)
    clean = clean_accuracy(app, tmp_path / "clean", monkeypatch)
    minutes = float(os.environ.get("FEDSIEGE_DEPLOYMENT_MINUTES", "5"))
    result = loopback().rehearse(  # type: ignore[attr-defined]
        app, tmp_path / "real", malicious={2: "signflip"}, kill_after=3, minutes=minutes, run_config={"rounds": ROUNDS}
    )
    rounds = result["rounds"]
    assert [entry["round"] for entry in rounds] == list(range(1, ROUNDS + 1))
    hostile = [one for entry in rounds for one in entry["uploads"] if not one["accepted"]]
    assert len({one["identity"] for one in hostile}) == 1
    assert all(one["reason"] for one in hostile)
    # Rejected twice, then out: asked in rounds 1 and 2 alone, also after the restart.
    assert [entry["round"] for entry in rounds if len(entry["uploads"]) == 3] == [1, 2]
    assert set(result["banned"]) == {hostile[0]["identity"]}
    assert result["banned"][hostile[0]["identity"]]["round"] == 2
    assert clean > 0.85
    assert result["accuracy"] >= clean - 0.01
