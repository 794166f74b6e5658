"""Every format that images come in, sound and damaged, in small files made here."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fedsiege.data import load_images
from fedsiege.data._cifar import _pickled
from fedsiege.data._encoded import decode
from fedsiege.data._idx import read_idx
from fedsiege.data.images import ImageDataset, is_images, sniff_images
from fedsiege.errors import DataError

from .pictures import (
    Split,
    cifar_batches,
    encoded,
    folder_content,
    idx_bytes,
    made,
    write_files,
    write_idx,
    write_parquet,
    write_tar,
)

GREY, COLOUR = (1, 5, 4), (3, 32, 32)
PARTS = [made(n, COLOUR, seed) for seed, n in enumerate((3, 1, 2, 4, 2, 11))]
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def _elsewhere(empty_machine: Path) -> None:
    """Decoded images are not kept in the cache of this machine."""


def same(data: ImageDataset, train: Split, test: Split) -> None:
    for part, (images, labels) in ((data.train, train), (data.test, test)):
        assert part.images.dtype == np.uint8
        assert np.array_equal(part.images, images)
        assert part.labels.dtype == np.int64
        assert np.array_equal(part.labels, labels)


def by_class(split: Split) -> Split:
    order = np.lexsort((np.arange(len(split[1])), split[1]))
    return split[0][order], split[1][order]


def all_but_last() -> Split:
    return np.concatenate([p[0] for p in PARTS[:-1]]), np.concatenate([p[1] for p in PARTS[:-1]])


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx(tmp_path: Path, end: str) -> None:
    train, test = made(12, GREY, 0), made(7, GREY, 1, classes=4)
    folder = write_idx(tmp_path / "own", train, test, end)
    for path in (folder, folder / f"t10k-labels-idx1-ubyte{end}"):
        assert is_images(path)
        data = load_images(path)
        same(data, train, test)
        assert data.classes == tuple("0123456789")
        assert data.info["format"] == "idx"
        assert str(data.info["sha256"]).count("=") == 4
    (folder / f"train-labels-idx1-ubyte{end}").rename(folder / f"train-labels.idx1-ubyte{end}")
    same(load_images(folder), train, test)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00\x08", "starts with 00 00 08"),
        (idx_bytes(np.zeros((2, 2, 2)))[:-1], "header says 2×2×2 values, 7 follow"),
        (idx_bytes(np.zeros((2, 2, 2))) + b"x", "header says 2×2×2 values, 9 follow"),
        (idx_bytes(np.zeros(8)), "not 00 00 08 03"),
        (b"\x00\x00\x0d\x03" + idx_bytes(np.zeros((2, 2, 2)))[4:], "starts with 00 00 0d 03"),
        (b"\x00\x00\x08\x03" + b"\xff\xff\xff\xff" * 3, "truncated or damaged"),
        (b"\x00\x00\x08\x03" + b"\x7f\xff\xff\xff" * 3, "truncated or damaged"),
    ],
)
def test_damaged_idx(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_incomplete_idx(tmp_path: Path) -> None:
    folder = write_idx(tmp_path, made(3, GREY, 0), made(2, GREY, 1))
    packed = folder / "train-images-idx3-ubyte.gz"
    whole = packed.read_bytes()
    for bad in (whole[:-9], b"<html>", whole[:30] + b"xxxx" + whole[34:]):
        packed.write_bytes(bad)
        with pytest.raises(DataError, match="cannot be read"):
            load_images(folder)
    packed.write_bytes(gzip.compress(idx_bytes(np.zeros((4, 5, 4)))))
    with pytest.raises(DataError, match=r"4 images, train-labels-idx1-ubyte.gz 3 labels"):
        load_images(folder)
    packed.unlink()
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte"):
        load_images(folder)


@pytest.mark.parametrize("form", ["cifar-binary", "cifar-pickle"])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar(tmp_path: Path, form: str, packed: bool) -> None:
    inner = "cifar-10-batches-bin" if form == "cifar-binary" else "cifar-10-batches-py"
    content = {f"{inner}/{name}": data for name, data in cifar_batches(PARTS, form).items()}
    content[f"{inner}/readme.html"] = b"hello"
    if packed:
        paths = [write_tar(tmp_path / "cifar.tar.gz", content)]
    else:
        folder = write_files(tmp_path / "cifar", content)
        paths = [folder, folder / inner]
    for path in paths:
        assert sniff_images(path) == form
        data = load_images(path)
        same(data, all_but_last(), PARTS[-1])
        assert data.classes[:2] == ("airplane", "automobile")
        assert data.mean == (0.4914, 0.4822, 0.4465)
        assert data.info["normalisation"] == "constants of the published code"
    if packed:
        assert data.info["sha256"] == hashlib.sha256(paths[0].read_bytes()).hexdigest()


def test_pickles_written_anew(tmp_path: Path) -> None:
    same(
        load_images(write_files(tmp_path, cifar_batches(PARTS, "cifar-pickle", text_keys=True))),
        all_but_last(),
        PARTS[-1],
    )


def test_the_other_home_of_arrays_in_pickles() -> None:
    images, labels = PARTS[0]
    content = pickle.dumps({"data": images.reshape(3, -1), "labels": labels.tolist()}, protocol=2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    for one, other in ((old, new), (new, old)):
        assert np.array_equal(_pickled(content.replace(one, other), "x").images, images)


class Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.folder),))


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    content = pickle.dumps({"data": Evil(folder), "labels": [1]}, protocol=2)
    with pytest.raises(DataError, match=r"asks for (posix|nt)\.mkdir"):
        _pickled(content, "batch")
    assert not folder.exists()
    pickle.loads(content)
    assert folder.exists()


@pytest.mark.parametrize(
    "table",
    [
        {"data": np.zeros((2, 3072), np.uint8)},
        {"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]},
        {"data": np.zeros((2, 3072)), "labels": [0, 1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0.5, 1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]},
        [1, 2],
    ],
)
def test_pickles_of_something_else(table: object) -> None:
    with pytest.raises(DataError, match="batch"):
        _pickled(pickle.dumps(table, protocol=2), "batch")


@pytest.mark.parametrize("form", ["cifar-binary", "cifar-pickle"])
def test_damaged_cifar(tmp_path: Path, form: str) -> None:
    content = cifar_batches(PARTS, form)
    name = next(iter(content))
    for bad in (content[name][:-5], b""):
        with pytest.raises(DataError, match="fetch it again") as error:
            load_images(write_files(tmp_path / "cifar", content | {name: bad}))
        assert name in str(error.value)
    (tmp_path / "cifar" / name.replace("_1", "_3")).unlink()
    with pytest.raises(DataError, match="has no data_batch_3"):
        load_images(tmp_path / "cifar")
    packed = write_tar(tmp_path / "x.tar.gz", {k: v for k, v in content.items() if "test" not in k})
    with pytest.raises(DataError, match="has no test_batch"):
        load_images(packed)
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(DataError, match="not a whole tar archive"):
        load_images(packed)


def test_a_label_beyond_nine(tmp_path: Path) -> None:
    content = cifar_batches(PARTS, "cifar-binary")
    content["data_batch_2.bin"] = b"\x0a" + content["data_batch_2.bin"][1:]
    with pytest.raises(DataError, match=r"data_batch_2.bin: image 0 has label 10"):
        load_images(write_files(tmp_path, content))


@pytest.mark.parametrize("struct_column", [False, True])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_parquet(tmp_path: Path, shape: tuple[int, int, int], struct_column: bool) -> None:
    train, test = made(9, shape, 0), made(4, shape, 1)
    folder = write_parquet(tmp_path / "own", train, test, struct_column)
    for path in (folder, folder / "test-00000-of-00001.parquet"):
        same(load_images(path), train, test)
    mean = train[0].astype(np.float64).mean(axis=(0, 2, 3)) / 255
    std = (train[0].astype(np.float64) / 255).std(axis=(0, 2, 3))
    data = load_images(folder)
    assert np.allclose(data.mean, mean, atol=1e-12)
    assert np.allclose(data.std, std, atol=1e-12)
    assert "training pixels" in str(data.info["normalisation"])


def test_several_parquet_files_are_read_in_order(tmp_path: Path) -> None:
    train, test = made(9, GREY, 0), made(4, GREY, 1)
    folder = write_parquet(tmp_path, train, test)
    whole = pl.read_parquet(folder / "train-00000-of-00001.parquet")
    (folder / "train-00000-of-00001.parquet").unlink()
    whole[:5].write_parquet(folder / "train-00000-of-00002.parquet")
    whole[5:].write_parquet(folder / "train-00001-of-00002.parquet")
    same(load_images(folder), train, test)


def test_damaged_parquet(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, made(9, GREY, 0), made(4, GREY, 1))
    file = folder / "train-00000-of-00001.parquet"
    whole = pl.read_parquet(file)
    for frame, message in (
        (whole.drop("label"), "must have one column of encoded images"),
        (whole.drop("img"), "one of integer labels; it has label"),
        (whole.with_columns(more=pl.col("label")), "must have one column"),
        (whole.with_columns(label=pl.when(pl.col("label") > 3).then(pl.col("label"))), "empty entries"),
        (pl.DataFrame({"img": [encoded(np.zeros(GREY, np.uint8)), b"no"], "label": [0, 1]}), "row 1 cannot be decoded"),
        (
            pl.DataFrame({"img": [encoded(np.zeros((1, 5, s), np.uint8)) for s in (4, 6)], "label": [0, 1]}),
            "row 1 is 5×6 pixels, the first one 5×4",
        ),
        (whole.with_columns(label=pl.lit(-1)), "negative"),
        (whole[:0], "there are no train images"),
    ):
        frame.write_parquet(file)
        with pytest.raises(DataError, match=message):
            load_images(folder)
    file.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="not a Parquet file"):
        load_images(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"has no train\*.parquet"):
        load_images(folder)


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders(tmp_path: Path, packed: bool) -> None:
    train, test = made(9, COLOUR, 0, classes=3), made(6, COLOUR, 1, classes=3)
    content = folder_content(train, test, CLASSES)
    if packed:
        path = write_tar(tmp_path / "own.tar.gz", {f"./CINIC-10/{name}": data for name, data in content.items()})
    else:
        path = write_files(tmp_path / "own", content)
    data = load_images(path)
    same(data, by_class(train), by_class(test))
    assert data.classes == CLASSES
    assert len(str(data.info["sha256"])) == 64


def test_incomplete_class_folders(tmp_path: Path) -> None:
    train, test = made(9, COLOUR, 0, classes=3), made(6, COLOUR, 1, classes=2)
    with pytest.raises(DataError, match=r"different classes \(cat in one alone\)"):
        load_images(write_files(tmp_path / "a", folder_content(train, test, CLASSES)))
    content = folder_content(train, made(6, COLOUR, 1, classes=3), CLASSES)
    content["train/bee/001.png"] = content["train/bee/004.png"][:-40]
    with pytest.raises(DataError, match=r"train/bee/001.png cannot be decoded"):
        load_images(write_files(tmp_path / "b", content))
    content["train/bee/001.png"] = b"no picture"
    with pytest.raises(DataError, match=r"bee/001.png cannot be decoded \(no image that Pillow knows\); replace or re"):
        load_images(write_files(tmp_path / "d", content))
    with pytest.raises(DataError, match="no images train/CLASS"):
        load_images(write_files(tmp_path / "c", {"train/x/readme.txt": b"", "test/x/readme.txt": b""}))


def test_grey_among_colour_is_colour() -> None:
    grey, colour = np.full((1, 2, 2), 9, np.uint8), np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    out = decode([encoded(grey), encoded(colour)], str)
    assert np.array_equal(out, np.stack([np.repeat(grey, 3, axis=0), colour]))
    assert decode([encoded(grey)], str).shape == (1, 1, 2, 2)
    assert decode([encoded(grey)], str, 3).shape == (1, 3, 2, 2)
    assert decode([], str).shape == (0, 1, 0, 0)


def test_ids_are_no_labels(tmp_path: Path) -> None:
    images = made(1, GREY, 0)[0]
    folder = write_parquet(tmp_path / "own", (images, np.array([10_000_000_000])), (images, np.array([0])))
    with pytest.raises(DataError, match=r"^own: label 10000000000 with 2 images; number the classes from 0"):
        load_images(folder)
    # A few images of a data set of many classes keep their labels.
    write_parquet(folder, (images, np.array([21_840])), (images, np.array([999])))
    assert len(load_images(folder).classes) == 21_841


def test_grey_beyond_eight_bits_is_refused(tmp_path: Path) -> None:
    def saved(levels: np.ndarray, kind: str = "PNG") -> bytes:
        out = io.BytesIO()
        Image.fromarray(levels).save(out, kind)
        return out.getvalue()

    small = np.array([[0, 255], [7, 128]])
    for kind, dtype in (("PNG", np.uint16), ("TIFF", np.int32), ("TIFF", np.float32)):
        # What 8 bits hold is taken as it is.
        out = decode([saved(small.astype(dtype), kind)], str)
        assert np.array_equal(out[0], np.stack([small] * 3))
    for levels, kind, span in (
        (np.array([[0, 65535], [256, 1000]], np.uint16), "PNG", "from 0 to 65535"),
        (np.array([[-1, 3]], np.int32), "TIFF", "from -1 to 3"),
        (np.array([[0.0, 0.5]], np.float32), "TIFF", "from 0 to 0.5"),
        (np.array([[0.0, np.nan]], np.float32), "TIFF", "from nan"),
    ):
        for channels in (None, 1, 3):
            with pytest.raises(DataError, match=f"^image 1 has grey values {span}"):
                decode(
                    [encoded(np.zeros((1, *levels.shape), np.uint8)), saved(levels, kind)], "image {}".format, channels
                )
    content = folder_content(made(4, GREY, 0, 2), made(4, GREY, 1, 2), ("ant", "bee"))
    content["train/bee/001.png"] = saved(np.full(GREY[1:], 40_000, np.uint16))
    with pytest.raises(DataError, match=r"train/bee/001.png has grey values from 40000 to 40000.* value // 257"):
        load_images(write_files(tmp_path, content))


def test_an_error_among_colour_names_the_image_that_it_is_about() -> None:
    sizes = [encoded(np.zeros((3, side, side), np.uint8)) for side in (4, 6)]
    for bad, message in ((sizes[1], "image 1 is 6×6 pixels, the first one 4×4"), (b"no", "image 1 cannot be decoded")):
        with pytest.raises(DataError, match=f"^{message}"):
            decode([sizes[0], bad], "image {}".format)


def test_names_and_formats(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    assert not is_images(tmp_path / "odd")
    assert not is_images("ml-1m")
    assert is_images("digits")
    assert is_images(tmp_path / "odd", "idx")
    assert not is_images(tmp_path / "odd", "movielens")
    with pytest.raises(DataError, match="no known format; give format="):
        load_images(tmp_path / "odd")
    with pytest.raises(DataError, match="did you mean 'parquet'"):
        load_images(tmp_path, format="parket")
    with pytest.raises(DataError, match="has a format of its own"):
        load_images("digits", format="idx")
    with pytest.raises(DataError, match="did you mean 'cifar-10'"):
        load_images("cifar10")
    with pytest.raises(DataError, match="does not exist"):
        load_images(tmp_path / "absent")
    with pytest.raises(DataError, match="holds interactions; load it with load"):
        load_images("ml-1m")
