"""RecBole's atomic ``.inter`` files.

Source: W. X. Zhao et al., RecBole: Towards a Unified, Comprehensive and Efficient Framework for
Recommendation Algorithms, CIKM 2021, and its documentation of atomic files.
"""

from __future__ import annotations

from pathlib import Path

from fedsiege.data._build import assemble
from fedsiege.data._text import bad_record, read_lines
from fedsiege.data.interactions import RawInteractions

_TYPES = ("token", "float", "token_seq", "float_seq")


def load_recbole(path: Path | str, *, exact_last: bool = False) -> RawInteractions:
    """Return the interactions of a ``.inter`` file; every line counts as positive.

    Parameters
    ----------
    path : Path
        A table parted by tabs with a typed header such as ``user_id:token  item_id:token  timestamp:float``.
        ``user_id`` and ``item_id`` are required, ``timestamp`` is used if present, other columns are ignored.
        Plain or ``.gz``.
    exact_last : bool
        For a file without timestamps: whether the last line of each user is known to be the user's latest.

    Returns
    -------
    RawInteractions
        Order "time" with a timestamp column, else "file". Labels are strings. A repeated pair is kept at its
        first time.

    Raises
    ------
    DataError
        With file, line number and value of the first bad record.
    """
    path = Path(path)
    lines = read_lines(path)
    header = lines.text[0].split("\t")
    names = []
    for cell in header:
        name, _, kind = cell.partition(":")
        if kind not in _TYPES or not name:
            raise bad_record(
                path,
                1,
                cell,
                "not a typed column",
                f"write the header as name:type, type of {', '.join(_TYPES)}",
            )
        if name in names:
            raise bad_record(path, 1, cell, "a column named twice", "rename one of them")
        names.append(name)
    for needed in ("user_id", "item_id"):
        if needed not in names:
            raise bad_record(path, 1, lines.text[0], f"no {needed} column", f"name it {needed}:token")
    if len(lines) < 2:
        raise bad_record(path, 1, lines.text[0], "a header and nothing below it", "download the file again")
    table = lines.after(1).split("\t", names)
    times = table.floats("timestamp") if "timestamp" in names else None
    return assemble(
        table.tokens("user_id"),
        table.tokens("item_id"),
        times,
        order="file" if times is None else "time",
        exact_last=exact_last,
    )
