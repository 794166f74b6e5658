"""Small made images in every format, written byte by byte so that the loaders are held to the formats alone."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

Split = tuple[np.ndarray, np.ndarray]


def made(count: int, shape: tuple[int, int, int], seed: int, classes: int = 10) -> Split:
    """Random images (n, C, H, W) and labels; every class of 0 to classes - 1 is there if there is room."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) * 7 % classes


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, train: Split, test: Split, end: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in (("train", train), ("t10k", test)):
        for name, array in ((f"{split}-images-idx3-ubyte", images[:, 0]), (f"{split}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            (folder / (name + end)).write_bytes(gzip.compress(content) if end == ".gz" else content)
    return folder


def cifar_batches(parts: list[Split], form: str, text_keys: bool = False) -> dict[str, bytes]:
    """Content of the six batches by name, the last part being the test batch."""
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    if form == "cifar-binary":
        return {
            name + ".bin": b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels.tolist()))
            for name, (images, labels) in zip(names, parts)
        }
    out = {}
    for name, (images, labels) in zip(names, parts):
        table = {"data": images.reshape(len(images), -1), "labels": labels.tolist(), "batch_label": name}
        keyed = table if text_keys else {key.encode(): value for key, value in table.items()}
        out[name] = pickle.dumps(keyed, protocol=2)
    return out


def write_tar(path: Path, content: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_files(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    pixels = image.transpose(1, 2, 0)
    Image.fromarray(pixels[:, :, 0] if len(image) == 1 else pixels).save(out, kind)
    return out.getvalue()


def write_parquet(folder: Path, train: Split, test: Split, struct_column: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in (("train", train), ("test", test)):
        data = [encoded(image) for image in images]
        column = [{"bytes": one, "path": None} for one in data] if struct_column else data
        frame = pl.DataFrame({"img": column, "label": labels.astype(np.int64)})
        frame.write_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def folder_content(train: Split, test: Split, classes: tuple[str, ...]) -> dict[str, bytes]:
    out = {"valid/none/0.png": b"never read"}
    for split, (images, labels) in (("test", test), ("train", train)):
        for i in reversed(range(len(images))):
            out[f"{split}/{classes[labels[i]]}/{i:03d}.png"] = encoded(images[i])
    return out
