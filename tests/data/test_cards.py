from __future__ import annotations

import subprocess
import sys

import pytest

from fedsiege.data import CARDS, card, names
from fedsiege.errors import DataError


def test_the_catalog() -> None:
    assert names() == ["ml-100k", "ml-1m", "gowalla", "synthetic"]
    assert names("images") == ["fashion-mnist", "cifar-10", "cinic-10", "digits"]
    for name, known in CARDS.items():
        assert known.name == name
        assert all(len(layout.files) == len(layout.sha256) for layout in known.layouts)
        assert (known.remote is None) == (not known.layouts)
        assert (known.kind == "images") == (known.pictures is not None)
        if known.further:
            assert len(known.layouts[-1].files) == 1 + len(known.further)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'ml-100k'"):
        card("ml100k")


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, fedsiege.data as data; data.names(); data.CARDS\n"
        "heavy = {'numpy', 'polars', 'numba', 'pooch', 'torch', 'rich'} & set(sys.modules); print(*heavy)\n"
        "data.load('synthetic')\n"
        "heavy = {'polars', 'numba', 'pooch', 'torch', 'rich'} & set(sys.modules); print(*heavy)\n"
        "assert set(dir(data)) >= {'load', 'draw_negatives'}\n"
        "try: data.nothing\n"
        "except AttributeError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["", "", "refused", ""]


def test_every_exported_name_is_there() -> None:
    import fedsiege.data as data

    for name in data.__all__:
        assert getattr(data, name) is not None
