"""The named data sets, as plain values: listing them imports neither polars nor numba."""

from __future__ import annotations

from fedsiege.data._card import DatasetCard, Kind, Layout, Remote
from fedsiege.data._image_cards import IMAGE_CARDS
from fedsiege.errors import DataError, nearest

_GROUPLENS = "research use only, no redistribution (GroupLens terms in the archive's README)"
_HARPER = "F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015"

CARDS: dict[str, DatasetCard] = {
    card.name: card
    for card in (
        DatasetCard(
            name="ml-100k",
            summary="MovieLens 100K: film ratings with timestamps, each user at least 20",
            paper=_HARPER,
            users=943,
            items=1_682,
            interactions=100_000,
            license=_GROUPLENS,
            layouts=(
                Layout(
                    ("ml-100k/u.data",),
                    "movielens",
                    ("06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",),
                ),
            ),
            remote=Remote(
                "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                "md5:0e33842e24a9c977be4e0107933c0723",
                ("ml-100k/u.data", "ml-100k/README"),
            ),
        ),
        DatasetCard(
            name="ml-1m",
            summary="MovieLens 1M: film ratings with timestamps, each user at least 20",
            paper=_HARPER,
            users=6_040,
            items=3_706,
            interactions=1_000_209,
            license=_GROUPLENS,
            layouts=(
                Layout(
                    ("ml-1m/ml-1m.inter.gz",),
                    "recbole",
                    ("f0921bfb763809d97869cc8491950e12c8b1a322394a37deb0717c4994eaecad",),
                    exact_last=True,
                ),
                Layout(("ml-1m/ml-1m.inter",), "recbole", (None,)),
                Layout(("ml-1m/ratings.dat",), "movielens", (None,)),
            ),
            remote=Remote(
                "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
                "md5:c4d9eecfca2ab87c1945afe126590906",
                ("ml-1m/ratings.dat", "ml-1m/README"),
            ),
        ),
        DatasetCard(
            name="gowalla",
            summary="Gowalla check-ins, 10-core: places that users of a location network visited",
            paper=(
                "E. Cho, S. A. Myers and J. Leskovec, Friendship and Mobility, KDD 2011; 10-core and 80/20 "
                "split of X. Wang et al., Neural Graph Collaborative Filtering, SIGIR 2019"
            ),
            users=29_858,
            items=40_981,
            interactions=1_027_370,
            license="none stated (SNAP, Stanford)",
            layouts=(
                Layout(
                    ("gowalla/train.txt.gz", "gowalla/test.txt.gz"),
                    "lightgcn",
                    (
                        "4cbd7fd6bddb7598d81da99a8d01bae9c6d96802b1fa7397c9fcd5b0e9a42b9f",
                        "099a2a73924e4b754dc6efd730d764f492321b53c38eb93298850c83acf57be3",
                    ),
                ),
                Layout(("gowalla/train.txt", "gowalla/test.txt"), "lightgcn", (None, None)),
                # The raw file's own 10-core is near to, not promised to equal, the published one.
                Layout(("gowalla/loc-gowalla_totalCheckins.txt.gz",), "checkins", (None,), exact=False),
            ),
            remote=Remote("https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz", None),
        ),
        DatasetCard(
            name="synthetic",
            summary="generated in memory: the shape of ML-100K, learnable taste and order, no file needed",
            paper="fedsiege.data.synthetic",
            users=943,
            items=1_682,
            interactions=100_000,
            license="Apache-2.0",
        ),
        *IMAGE_CARDS,
    )
}


def names(kind: Kind = "interactions") -> list[str]:
    """Return the names of the data sets of one kind, ``interactions`` or ``images``."""
    return [card.name for card in CARDS.values() if card.kind == kind]


def card(name: str) -> DatasetCard:
    """Return the card of a named data set.

    Raises
    ------
    DataError
        If there is none of that name, with the nearest one.
    """
    if name not in CARDS:
        raise DataError(f"unknown data set {name!r}; {nearest(name, CARDS)} (or give the path of a file)")
    return CARDS[name]
