"""Text tables read strictly: every error names the file, the line, the value and the remedy."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedsiege.errors import DataError

if TYPE_CHECKING:
    import polars as pl

# A byte that no data file holds: polars then takes each line as one field and keeps blank lines in the count.
_NO_SEPARATOR = "\x1f"
_SHOWN = 80


def bad_record(path: Path, line: int, value: object, problem: str, remedy: str) -> DataError:
    """Return the error for the first bad record of a file; lines count from 1."""
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 3] + "..."
    return DataError(f"{path}, line {line}: {problem}: {shown}; {remedy}")


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked if its name ends in ``.gz``."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                return file.read()
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is not a complete gzip file ({error}); download it again, or drop the .gz from its name "
            "if it is plain text"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; check the path and its rights") from error


@dataclass(frozen=True)
class Lines:
    """The lines of a text file, without line ends and without blank lines at the end.

    Parameters
    ----------
    path : Path
        The file, for messages.
    text : polars string series, shape (n,)
        One entry per line.
    first : int
        Number of the first line, counted from 1.
    """

    path: Path
    text: pl.Series
    first: int = 1

    def __len__(self) -> int:
        return len(self.text)

    def after(self, skip: int) -> Lines:
        """Return the lines without the first `skip`."""
        return Lines(self.path, self.text[skip:], self.first + skip)

    def error(self, row: int, problem: str, remedy: str) -> DataError:
        """Return the error for the line at place `row` (from 0), showing the line."""
        return bad_record(self.path, self.first + row, self.text[row], problem, remedy)

    def split(self, separator: str, names: Sequence[str]) -> Columns:
        """Return the columns of a table whose lines all have exactly ``len(names)`` fields."""
        count = len(names)
        # One field more than wanted, so that a line with too many is noticed instead of merged.
        parts = self.text.str.splitn(separator, count + 1).struct.unnest()
        series = parts.get_columns()
        wrong = series[count].is_not_null() | series[count - 1].is_null()
        if wrong.any():
            row = int(wrong.arg_true()[0])
            have = len(self.text[row].split(separator))
            raise self.error(
                row,
                f"{have} field{'s' if have != 1 else ''} instead of {count}",
                f"each line must be {separator.join(names)!r}",
            )
        return Columns(self, {name: series[place] for place, name in enumerate(names)})


@dataclass(frozen=True)
class Columns:
    """Named columns of text, with strict casts that report the first bad line."""

    lines: Lines
    fields: dict[str, pl.Series]

    def _fail(self, name: str, row: int, problem: str, remedy: str) -> DataError:
        return bad_record(self.lines.path, self.lines.first + row, self.fields[name][row], f"{name} {problem}", remedy)

    def tokens(self, name: str) -> pl.Series:
        """Return a column as non-empty strings."""
        column = self.fields[name]
        empty = column.str.len_bytes() == 0
        if empty.any():
            raise self._fail(name, int(empty.arg_true()[0]), "is empty", "give every record an id")
        return column

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a column as int64."""
        import polars as pl

        cast = self.fields[name].cast(pl.Int64, strict=False)
        if cast.null_count():
            row = int(cast.is_null().arg_true()[0])
            raise self._fail(name, row, "is not an integer", "correct the line or use the format that fits")
        return cast.to_numpy()

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return a column as finite float64."""
        import polars as pl

        cast = self.fields[name].cast(pl.Float64, strict=False)
        wrong = cast.is_null() | ~cast.fill_null(0.0).is_finite()
        if wrong.any():
            row = int(wrong.arg_true()[0])
            raise self._fail(name, row, "is not a finite number", "correct the line")
        return cast.to_numpy()

    def instants(self, name: str, layout: str, example: str) -> NDArray[np.int64]:
        """Return a column of dates as int64 microseconds since 1970."""
        import polars as pl

        cast = self.fields[name].str.to_datetime(layout, time_unit="us", strict=False)
        if cast.null_count():
            row = int(cast.is_null().arg_true()[0])
            raise self._fail(name, row, "is not a date", f"write it as {example}")
        return cast.cast(pl.Int64).to_numpy()


def read_lines(path: Path) -> Lines:
    """Return the lines of a UTF-8 text file, plain or ``.gz``.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, is not UTF-8, or has a blank line before its end.
    """
    import polars as pl

    content = read_bytes(path)
    if not content.strip():
        raise DataError(f"{path} is empty; download it again or check the path")
    try:
        frame = pl.read_csv(
            io.BytesIO(content),
            has_header=False,
            separator=_NO_SEPARATOR,
            quote_char=None,
            infer_schema=False,
            new_columns=["line"],
        )
    except pl.exceptions.PolarsError as error:
        raise _not_text(path, content) from error
    text = frame.get_column("line").str.strip_chars_end("\r")
    blank = text.is_null() | (text.str.len_bytes() == 0)
    if blank.any():
        last = int((~blank).arg_true()[-1])
        inside = blank[:last].arg_true()
        if len(inside):
            raise bad_record(path, int(inside[0]) + 1, "", "a blank line", "remove it")
        text = text[: last + 1]
    return Lines(path, text)


def _not_text(path: Path, content: bytes) -> DataError:
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return bad_record(path, number, line[:_SHOWN], "not UTF-8 text", "save the file as UTF-8")
        if _NO_SEPARATOR.encode() in line:
            return bad_record(path, number, line[:_SHOWN], "a control character", "this is not a text table")
    return DataError(f"{path} is not a text table; check the path and the format")
