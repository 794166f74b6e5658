from __future__ import annotations

from pathlib import Path

import pytest

from fedsiege.report.collect import Board, collect
from tests.report.fakes import write_store

ATTACKS = ("none", "fang", "clusterattack")
DEFENSES = ("none", "median", "union+multikrum")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"), ATTACKS, DEFENSES, 3)


@pytest.fixture(scope="session")
def board(store: Path) -> Board:
    return collect(store)


@pytest.fixture(autouse=True)
def short_bundle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundling Vega takes seconds; only the test that asks for the real one pays for it."""
    if "real_bundle" not in request.fixturenames:
        monkeypatch.setattr("fedsiege.report.page.javascript", lambda: "/* vega */")


@pytest.fixture
def real_bundle() -> None:
    """Ask for the real JavaScript bundle."""
