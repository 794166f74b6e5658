"""What every test may rely on."""

from __future__ import annotations

import pytest

from fedsiege import registry


@pytest.fixture(autouse=True)
def _plugins_stay_in_their_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug-ins that a test registers are gone when it ends."""
    monkeypatch.setattr(registry, "_extra", dict(registry._extra))
