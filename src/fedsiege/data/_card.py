"""What is known about a named data set: plain values, so that listing them imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["interactions", "images"]


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies in a folder.

    Parameters
    ----------
    files : tuple of str
        Paths below the data folder, of files or of folders; all must exist.
    format : str
        Loader's name: ``movielens``, ``recbole``, ``lightgcn`` or ``checkins`` for interactions; ``idx``,
        ``cifar-binary``, ``cifar-pickle``, ``parquet`` or ``folders`` for images.
    sha256 : tuple of str or None, as long as `files`
        Known sums; that of a ``.gz`` file (not of a ``.tar.gz``) is the sum of what it unpacks to, since the same
        content may be compressed in many ways. None is not checked.
    exact_last : bool
        Whether the last line of each user is the user's latest item although the file has no timestamps.
    exact : bool
        Whether loading must give exactly the counts of the card.
    copies : tuple of tuple of str or None, each as long as `files`
        Known sums of further copies. Files are held to one copy as a whole: the images of one and the labels of
        another would not belong together.
    """

    files: tuple[str, ...]
    format: str
    sha256: tuple[str | None, ...]
    exact_last: bool = False
    exact: bool = True
    copies: tuple[tuple[str | None, ...], ...] = ()


@dataclass(frozen=True)
class Remote:
    """Where a file of a data set is downloaded from.

    Parameters
    ----------
    url : str
        Official address.
    sum : str or None
        ``md5:...`` or ``sha256:...`` as published; None means trust on first use: the SHA-256 of the first
        download is written beside the file and checked from then on.
    members : tuple of str
        Files to take out of a zip archive, paths inside it; empty for a file that is used as it is.
    """

    url: str
    sum: str | None
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """What is known about the images of a data set.

    Parameters
    ----------
    train, test : int
        Numbers of images after loading, in the layouts that are `exact`.
    shape : tuple of int
        Channels, height and width.
    classes : tuple of str
        Names of the labels 0, 1, and so on.
    mean, std : tuple of float or None
        Per channel, of pixels in [0, 1], as the published code uses them; None means: computed from the
        training images.
    """

    train: int
    test: int
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class DatasetCard:
    """What is known about a named data set.

    Parameters
    ----------
    name, summary, paper, license : str
        For people.
    users, items, interactions : int
        Counts after loading, in the layouts that are `exact`; 0 for images.
    layouts : tuple of Layout
        Where to look, in this order, below a data folder. The last one is what a download makes.
    remote : Remote or None
        None for data that need no file.
    further : tuple of Remote
        Further files of the last layout, each used as it is and in the order of ``files[1:]``.
    kind : {"interactions", "images"}
        What the data set holds: `fedsiege.data.load` reads interactions, `load_images` images.
    pictures : Pictures or None
        Counts, classes and normalisation of images; None for interactions.
    """

    name: str
    summary: str
    paper: str
    license: str
    users: int = 0
    items: int = 0
    interactions: int = 0
    layouts: tuple[Layout, ...] = ()
    remote: Remote | None = None
    further: tuple[Remote, ...] = ()
    kind: Kind = "interactions"
    pictures: Pictures | None = None

    @property
    def size(self) -> str:
        """How much there is, in words."""
        if self.pictures is None:
            return f"{self.users:,} users, {self.items:,} items, {self.interactions:,} interactions"
        shape = "×".join(map(str, self.pictures.shape))
        return (
            f"{self.pictures.train:,} + {self.pictures.test:,} images of {shape}, {len(self.pictures.classes)} classes"
        )
