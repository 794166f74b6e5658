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
        for layout in known.layouts:
            for copy in (layout.sha256, *layout.copies):
                assert len(copy) == len(layout.files)
                assert [sum is None for sum in copy] == [sum is None for sum in layout.sha256]
                assert all(sum is None or (len(sum) == 64 and int(sum, 16) >= 0) for sum in copy)
        assert (known.remote is None) == (not known.layouts)
        assert (known.kind == "images") == (known.pictures is not None)
        if known.further:
            assert len(known.layouts[-1].files) == 1 + len(known.further)


def test_which_images_are_pinned() -> None:
    free = {file for name in names("images") for layout in CARDS[name].layouts
            for file, sum in zip(layout.files, layout.sha256) if sum is None}  # fmt: skip
    assert free == {
        "cifar-10/cifar-10-batches-bin", "cifar-10/cifar-10-batches-py",
        "cinic-10/train", "cinic-10/test", "cinic-10/CINIC-10.tar.gz",
    }  # fmt: skip
    plain, packed = CARDS["fashion-mnist"].layouts
    assert (plain.sha256, plain.copies) == (packed.sha256, packed.copies)


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
