"""Parquet tables of encoded images and labels, the layout that is common on data hubs.

One column holds the images, either as bytes or as a structure with a field ``bytes``; one holds the labels as
integers from 0. The files of a split are read in the order of their names (``train-00000-of-00002.parquet``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedsiege.data._archive import folder_of
from fedsiege.data._encoded import decode
from fedsiege.data.image_set import ImageSet
from fedsiege.errors import DataError

if TYPE_CHECKING:
    import polars as pl


def files(path: Path, format: str = "parquet") -> tuple[Path, ...]:
    """Return the files of a folder (or beside a file): those of train, then those of test.

    Raises
    ------
    DataError
        If a split has none.
    """
    return tuple(file for split in ("train", "test") for file in _of(folder_of(path), split))


def _of(folder: Path, split: str) -> list[Path]:
    found = sorted(folder.glob(f"{split}*.parquet"))
    if not found:
        raise DataError(f"{folder} has no {split}*.parquet; both train and test are needed")
    return found


def load(path: Path, format: str = "parquet", channels: int | None = None) -> tuple[ImageSet, ImageSet, None]:
    """Return train and test images; the labels have no names.

    Raises
    ------
    DataError
        If a file is damaged, has other columns, or an image cannot be decoded.
    """
    folder = folder_of(path)
    train, test = (_split(_of(folder, split), channels) for split in ("train", "test"))
    return train, test, None


def _split(found: list[Path], channels: int | None) -> ImageSet:
    parts = [_table(file) for file in found]
    encoded = [data for images, _ in parts for data in images]
    owner = [(file.name, row) for file, (images, _) in zip(found, parts) for row in range(len(images))]

    def where(i: int) -> str:
        name, row = owner[i]
        return f"{found[0].parent / name}: image of row {row}"

    return ImageSet(decode(encoded, where, channels), np.concatenate([labels for _, labels in parts]))


def _table(file: Path) -> tuple[list[bytes], np.ndarray]:
    import polars as pl

    try:
        table = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        brief = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file} is not a Parquet file that can be read ({brief}); fetch it again") from error
    images, labels = _columns(table, file)
    for column in (images, labels):
        if column.null_count():
            raise DataError(f"{file}: column {column.name!r} has {column.null_count()} empty entries")
    return images.to_list(), labels.to_numpy().astype(np.int64)


def _columns(table: pl.DataFrame, file: Path) -> tuple[pl.Series, pl.Series]:
    """Return the bytes of the images and the labels, whatever the columns are called."""
    import polars as pl

    images = [
        column.struct.field("bytes").alias(column.name) if isinstance(column.dtype, pl.Struct) else column
        for column in table
        if column.dtype == pl.Binary
        or (
            isinstance(column.dtype, pl.Struct)
            and {f.name: f.dtype for f in column.dtype.fields}.get("bytes") == pl.Binary
        )
    ]
    labels = [column for column in table if column.dtype.is_integer()]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"{file} must have one column of encoded images (bytes) and one of integer labels; it has "
            + ", ".join(f"{name} ({kind})" for name, kind in table.schema.items())
        )
    return images[0], labels[0]
