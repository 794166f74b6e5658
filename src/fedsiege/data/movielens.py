"""MovieLens ratings: ``u.data`` of ML-100K (tabs) and ``ratings.dat`` of ML-1M and ML-10M (``::``).

Source: F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015, and
the README files of the archives at https://files.grouplens.org/datasets/movielens.
"""

from __future__ import annotations

from pathlib import Path

from fedsiege.data._build import assemble
from fedsiege.data._text import read_lines
from fedsiege.data.interactions import RawInteractions


def load_movielens(path: Path | str) -> RawInteractions:
    """Return the ratings of a MovieLens file as interactions; every rating counts as positive.

    Parameters
    ----------
    path : Path
        ``u.data`` (user, item, rating, timestamp, parted by tabs) or ``ratings.dat`` (the same, parted by
        ``::``); the first line tells which. Plain or ``.gz``.

    Returns
    -------
    RawInteractions
        Order "time"; equal timestamps keep the file's order; a repeated pair is kept at its first time.

    Raises
    ------
    DataError
        With file, line number and value of the first bad record.
    """
    lines = read_lines(Path(path))
    separator = "::" if "::" in lines.text[0] else "\t"
    table = lines.split(separator, ["user", "item", "rating", "timestamp"])
    table.floats("rating")  # Not used, but a file with a broken column is a damaged file.
    return assemble(table.integers("user"), table.integers("item"), table.integers("timestamp"), order="time")
