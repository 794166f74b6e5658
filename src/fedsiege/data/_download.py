"""One download with pooch: checked sum, progress bar, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

from fedsiege.data.cards import DatasetCard, Remote
from fedsiege.errors import DataError


class _Bar:
    """The progress interface that pooch expects, drawn by rich on standard error."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(name, total=None)
        self._total = 0

    @property
    def total(self) -> int:
        """Expected bytes; pooch sets it before the first update."""
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = int(value)
        self._progress.start()
        self._progress.update(self._task, total=self._total or None)

    def update(self, step: int) -> None:
        """Advance by `step` bytes."""
        self._progress.update(self._task, advance=step)

    def reset(self) -> None:
        """Return to 0 bytes; pooch does so at the end, to fill the bar in one step."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        self._progress.stop()


def retrieve(known: DatasetCard, remote: Remote, room: Path, remedy: str) -> Path:
    """Download a data set's file into the folder `room` and return its path.

    Raises
    ------
    DataError
        If the address cannot be reached or the file's sum differs.
    """
    import logging

    import pooch
    import requests

    bar = _Bar(known.name)
    over_http = pooch.HTTPDownloader(progressbar=bar, timeout=60)
    log = pooch.get_logger()
    level = log.level
    log.setLevel(logging.WARNING)  # Its notices on unknown sums are meant for programmers.
    try:
        name = remote.url.rsplit("/", 1)[-1]
        return Path(pooch.retrieve(remote.url, known_hash=remote.sum, fname=name, path=room, downloader=over_http))
    except requests.RequestException as error:
        raise DataError(f"{remote.url} could not be downloaded ({_brief(error)}); {remedy}") from error
    except ValueError as error:
        # pooch: the sum differs.
        raise DataError(
            f"{remote.url} gave a file whose sum is not {remote.sum}; try again later, as a proxy or a page "
            f"in place of the file is the usual cause, or {remedy}"
        ) from error
    finally:
        log.setLevel(level)
        bar.close()


def _brief(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) < 160 else text[:157] + "..."
