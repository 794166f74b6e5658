from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsiege.data._text import read_lines
from fedsiege.errors import DataError


def test_lines_are_kept_as_they_are(write: Callable[..., Path]) -> None:
    for name in ("a.txt", "a.txt.gz"):
        lines = read_lines(write(name, 'a\t"b\r\n c,d\n\n\n'))
        assert lines.text.to_list() == ['a\t"b', " c,d"]
        assert lines.after(1).first == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("a\n\nb\n", "line 2: a blank line"),
        ("\na\n", "line 1: a blank line"),
        (b"a\nb\xff\n", "line 2: not UTF-8"),
        (b"a\nb\x1fc\n", "line 2: a control character"),
        (b"a\x1fb\nc\n", "line 1: a control character"),
    ],
)
def test_bad_text_names_the_line(write: Callable[..., Path], content: str | bytes, message: str) -> None:
    path = write("bad.txt", content)
    with pytest.raises(DataError, match=message) as error:
        read_lines(path)
    assert str(path) in str(error.value)


def test_files_that_cannot_be_read(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_lines(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path)
    plain = tmp_path / "plain.gz"
    plain.write_text("not packed")
    with pytest.raises(DataError, match="not a complete gzip file"):
        read_lines(plain)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"abc\n" * 1000)[:-12])
    with pytest.raises(DataError, match="not a complete gzip file"):
        read_lines(cut)


def test_fields_are_counted(write: Callable[..., Path]) -> None:
    lines = read_lines(write("t", "1\t2\n3\n"))
    with pytest.raises(DataError, match="line 2: 1 field instead of 2: '3'"):
        lines.split("\t", ["a", "b"])
    lines = read_lines(write("t", "1\t2\n3\t4\n5\t6\t7\t8\n"))
    with pytest.raises(DataError, match="line 3: 4 fields instead of 2"):
        lines.split("\t", ["a", "b"])


def test_long_values_are_cut_in_messages(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError) as error:
        read_lines(write("t", "1\t2\n" + "x" * 5000)).split("\t", ["a", "b"])
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "-inf", "1e999"])
def test_floats_are_finite(write: Callable[..., Path], value: str) -> None:
    columns = read_lines(write("t", f"1\t2.5\n2\t{value}\n")).split("\t", ["a", "b"])
    with pytest.raises(DataError, match="line 2: b is not a finite number"):
        columns.floats("b")
