from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from fedsiege.data import CARDS, ImageDataset, ImageSet, _decoded, fetch, load, load_images, locate
from fedsiege.data.cache import find
from fedsiege.data.cards import Remote
from fedsiege.data.image_info import describe_images
from fedsiege.errors import DataError

from .conftest import need
from .pictures import folder_content, made, write_files, write_idx, write_parquet, write_tar
from .test_cache import Server, server  # noqa: F401

FASHION = CARDS["fashion-mnist"]


def image_set(count: int = 4, shape: tuple[int, int, int] = (2, 3, 5), seed: int = 0) -> ImageSet:
    return ImageSet(*made(count, shape, seed, classes=3))


def data_set(**changed: object) -> ImageDataset:
    values: dict = {
        "name": "x", "train": image_set(), "test": image_set(3, seed=1), "classes": ("a", "b", "c"),
        "mean": (0.5, 0.25), "std": (0.1, 0.3), "info": {},
    }  # fmt: skip
    return ImageDataset(**(values | changed))


def test_normalised_is_the_formula() -> None:
    data = data_set()
    for split, part in (("train", data.train), ("test", data.test)):
        out = data.normalised(split)  # type: ignore[arg-type]
        assert (out.dtype, out.shape) == (np.float32, part.images.shape)
        for place in np.ndindex(*out.shape):
            expected = (int(part.images[place]) / 255 - data.mean[place[1]]) / data.std[place[1]]
            assert out[place] == np.float32(expected)
    assert data.shape == (2, 3, 5)
    assert len(data.train) == 4


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 1, 2, 2)), np.zeros(2, int), "must be uint8"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros(2, int), r"must be uint8 of shape \(n, C, H, W\)"),
        (np.zeros((2, 1, 2, 2), np.uint8), np.zeros(3, int), r"integers of shape \(2,\)"),
        (np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2), "not float64"),
        (np.zeros((2, 1, 2, 2), np.uint8), np.array([0, -3]), "label -3 of image 1 is negative"),
    ],
)
def test_image_sets_are_checked(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet(images, labels)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": image_set(0)}, "no test images"),
        ({"classes": ("a", "b")}, "label 2, yet 2 classes"),
        ({"test": image_set(3, (2, 3, 4))}, "bring them to one size"),
        ({"mean": (0.1,)}, "one entry for each of 2 channels"),
        ({"std": (0.1, 0.0)}, "must be positive"),
    ],
)
def test_data_sets_are_checked(changed: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data_set(**changed)


def test_digits() -> None:
    from sklearn.datasets import load_digits

    data, raw = load_images("digits"), load_digits()
    assert (len(data.train), len(data.test), data.shape) == (1442, 355, (1, 8, 8))
    seen, train, test = {}, [], []
    for image, label in zip(raw.images, raw.target):
        seen[label] = seen.get(label, 0) + 1
        (test if seen[label] % 5 == 0 else train).append((image, label))
    for part, expected in ((data.train, train), (data.test, test)):
        assert part.labels.tolist() == [label for _, label in expected]
        for image, (levels, _) in zip(part.images, expected):
            assert np.abs(image[0] / 255 - levels / 16).max() <= 0.5 / 255
    assert data.train.images.max() == 255
    normalised = data.normalised("train").astype(np.float64)
    assert abs(normalised.mean()) < 1e-6
    assert abs(normalised.std() - 1) < 1e-6
    assert data.info["source"] == "scikit-learn"
    digest = hashlib.sha256()
    for part in (data.train, data.test):
        digest.update(part.images.tobytes() + part.labels.tobytes())
    assert data.info["sha256"] == digest.hexdigest()
    with pytest.raises(DataError, match="part of an installed package"):
        locate("digits")


def test_images_are_no_interactions() -> None:
    with pytest.raises(DataError, match=r"holds images; load it with load_images\('digits'\)"):
        load("digits")


def test_describe() -> None:
    about = describe_images(load_images("digits"), "digits")
    assert about["train_counts"][0] + about["test_counts"][0] == 178
    assert sum(about["train_counts"]) == about["train"]
    assert about["shape"] == [1, 8, 8]
    assert about["license"] == "CC-BY-4.0"
    assert "paper" not in describe_images(data_set(info=dict.fromkeys(load_images("digits").info, 1)), Path("x"))


@pytest.fixture
def small_fashion(server: Server, monkeypatch: pytest.MonkeyPatch, empty_machine: Path, tmp_path: Path) -> Server:  # noqa: F811
    """`fashion-mnist` of a few images, served from this machine with published MD5 sums."""
    folder = write_idx(tmp_path / "source", made(20, (1, 28, 28), 0), made(10, (1, 28, 28), 1))
    remotes, unpacked = [], []
    for file in FASHION.layouts[-1].files:
        content = (folder / Path(file).name).read_bytes()
        unpacked.append(hashlib.sha256(gzip.decompress(content)).hexdigest())
        server.files["/" + Path(file).name] = content
        remotes.append(Remote(f"{server.address}/{Path(file).name}", "md5:" + hashlib.md5(content).hexdigest()))
    assert FASHION.pictures is not None
    pictures = dataclasses.replace(FASHION.pictures, train=20, test=10)
    small = dataclasses.replace(
        FASHION,
        remote=remotes[0],
        further=tuple(remotes[1:]),
        pictures=pictures,
        layouts=tuple(dataclasses.replace(one, sha256=tuple(unpacked)) for one in FASHION.layouts),
    )
    monkeypatch.setitem(CARDS, "fashion-mnist", small)
    return server


def test_several_files_are_fetched_and_checked(small_fashion: Server, empty_machine: Path) -> None:
    data = load_images("fashion-mnist")
    assert np.array_equal(data.train.images, made(20, (1, 28, 28), 0)[0])
    assert (data.mean, data.std) == ((0.1307,), (0.3081,))
    assert data.classes[9] == "Ankle boot"
    folder = empty_machine / "fashion-mnist"
    assert fetch("fashion-mnist") == folder
    assert sorted(small_fashion.asked) == sorted(small_fashion.files)
    assert len(list(folder.glob("*.sha256"))) == 4

    # One lost file is fetched alone; a changed one is refused.
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    load_images("fashion-mnist")
    assert len(small_fashion.asked) == 5
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match="is not the fashion-mnist it claims to be"):
        load_images("fashion-mnist")


def test_a_wrong_file_is_refused(small_fashion: Server, empty_machine: Path) -> None:
    small_fashion.files["/t10k-images-idx3-ubyte.gz"] = gzip.compress(b"else")
    with pytest.raises(DataError, match=r"sum is not md5:.*with train-labels-idx1-ubyte.gz.* beside it"):
        load_images("fashion-mnist")
    assert not (empty_machine / "fashion-mnist" / "t10k-images-idx3-ubyte.gz").exists()


def test_a_part_of_a_named_set_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path) -> None:
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path))
    write_idx(tmp_path / "fashion-mnist", made(20, (1, 28, 28), 0), made(10, (1, 28, 28), 1), "")
    unpinned = tuple(dataclasses.replace(one, sha256=(None,) * 4, copies=()) for one in FASHION.layouts)
    monkeypatch.setitem(CARDS, "fashion-mnist", dataclasses.replace(FASHION, layouts=unpinned))
    with pytest.raises(DataError, match=r"20 \+ 10 images of \(1, 28, 28\) in 10 classes instead of 60000 \+ 10000"):
        load_images("fashion-mnist")


@pytest.mark.parametrize("packed", [False, True])
def test_cinic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path, packed: bool) -> None:
    """Class folders and archive under the name, with CIFAR-10's constants, one grey image among colour."""
    known = CARDS["cinic-10"]
    assert known.pictures is not None
    train, test = made(20, (3, 32, 32), 0), made(10, (3, 32, 32), 1)
    content = folder_content(train, test, known.pictures.classes)
    content["train/airplane/000.png"] = folder_content(*[made(1, (1, 32, 32), 2)] * 2, ("airplane",))[
        "train/airplane/000.png"
    ]
    small = dataclasses.replace(known, pictures=dataclasses.replace(known.pictures, train=20, test=10))
    monkeypatch.setitem(CARDS, "cinic-10", small)
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path))
    if packed:
        write_tar(tmp_path / "cinic-10" / "CINIC-10.tar.gz", content)
    else:
        write_files(tmp_path / "cinic-10", content)
    data = load_images("cinic-10")
    assert (data.shape, data.mean) == ((3, 32, 32), (0.4914, 0.4822, 0.4465))
    assert data.classes == known.pictures.classes
    assert np.array_equal(data.train.images[0], np.repeat(made(1, (1, 32, 32), 2)[0][0], 3, axis=0))
    assert np.array_equal(np.bincount(data.train.labels), np.bincount(train[1]))


def test_decoded_images_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path) -> None:
    monkeypatch.setattr(_decoded, "_WORTH", 10)
    train, test = made(20, (3, 4, 4), 0, classes=3), made(10, (3, 4, 4), 1, classes=3)
    parquet = write_parquet(tmp_path / "p", train, test)
    folders = write_files(tmp_path / "f", folder_content(train, test, ("a", "b", "c")))
    first = [load_images(parquet), load_images(folders)]
    kept = sorted((empty_machine / "decoded").iterdir())
    assert [file.suffix for file in kept] == [".npz"] * 2

    def fail(*args: object) -> None:
        pytest.fail("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("fedsiege.data._image_parquet.decode", fail)
        patch.setattr("fedsiege.data._image_folders.decode", fail)
        for before, path in zip(first, (parquet, folders)):
            again = load_images(path)
            assert np.array_equal(again.train.images, before.train.images)
            assert np.array_equal(again.test.labels, before.test.labels)
            assert (again.classes, again.info, again.mean) == (before.classes, before.info, before.mean)

    # A damaged file is made anew, changed data are decoded anew.
    for file in kept:
        file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(load_images(parquet).train.images, train[0])
    write_parquet(parquet, test, train)
    assert np.array_equal(load_images(parquet).train.images, test[0])
    assert not list((empty_machine / "decoded").glob(".decoded-*"))


def test_a_cache_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_machine: Path
) -> None:
    monkeypatch.setattr(_decoded, "_WORTH", 10)
    empty_machine.write_text("in the way")
    train = made(20, (3, 4, 4), 0)
    assert np.array_equal(load_images(write_parquet(tmp_path / "p", train, train)).train.images, train[0])


@pytest.mark.data
@pytest.mark.parametrize("name", ["fashion-mnist", "cifar-10"])
def test_the_real_ones(name: str) -> None:
    need(name)
    data = load_images(name)
    known = CARDS[name].pictures
    assert known is not None
    assert (len(data.train), len(data.test), data.shape) == (known.train, known.test, known.shape)
    for part in (data.train, data.test):
        assert np.bincount(part.labels).tolist() == [len(part) // 10] * 10
    # Means of the pixels: FashionMNIST's own (not the constants used), and CIFAR-10's constants themselves.
    expected = {"fashion-mnist": (0.2860,), "cifar-10": (0.4914, 0.4822, 0.4465)}[name]
    mean = [data.train.images[:, c].mean() / 255 for c in range(data.shape[0])]
    assert np.allclose(mean, expected, atol=2e-3)


@pytest.mark.data
@pytest.mark.parametrize("name", ["fashion-mnist", "cifar-10"])
def test_a_changed_byte_of_the_real_ones_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need(name)
    found = find(name)
    assert found is not None
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path))
    for file in found.files:
        # The others stay what they are: links to what is checked already.
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file.name).symlink_to(file)
    odd = tmp_path / name / found.files[-1].name
    content = bytearray(gzip.decompress(odd.read_bytes()) if odd.suffix == ".gz" else odd.read_bytes())
    content[-1000] ^= 1
    odd.unlink()
    odd.write_bytes(gzip.compress(content, 1) if odd.suffix == ".gz" else content)
    with pytest.raises(DataError, match=rf"is not the {name} it claims to be: .* remove it and download http") as error:
        locate(name)
    assert str(error.value).startswith(str(odd))
