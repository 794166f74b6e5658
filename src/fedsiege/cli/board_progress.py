"""A grid on the terminal: runs done, running and failed, time left, and the board as it fills in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedsiege.cli.console import err, number, table

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from fedsiege.arena.grid import Cell, Event

Place = tuple[str, str, str]
"""Degree, attack and defense of a cell."""
OVER = ("finished", "skipped", "failed")
SHOWN = 8
"""So many running cells are named at once."""


def duration(seconds: float) -> str:
    """Return seconds in words: ``1 h 05 min``, ``12 min``, ``40 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class BoardProgress:
    """Takes the events of a grid; on a terminal it draws the board, elsewhere it prints a line per run.

    Parameters
    ----------
    cells : sequence of Cell
        The grid, in the order in which events number it.
    metric : str
        The test score that is shown.
    """

    def __init__(self, cells: Sequence[Cell], metric: str) -> None:
        self.cells, self.metric = cells, metric
        self.console = err()
        self.rounds = dict.fromkeys(range(len(cells)), 0)
        self.ended: dict[int, str] = {}
        self.running: dict[int, None] = {}
        self.scores: dict[int, float] = {}
        self.computed = 0.0
        self.started = time.monotonic()
        self.live: Live | None = None
        self.lock = threading.Lock()
        # Known by place, so that drawing looks at each cell once, however many places there are.
        self.members: dict[Place, list[int]] = {}
        for index, cell in enumerate(cells):
            self.members.setdefault(self._place(cell), []).append(index)

    @staticmethod
    def _place(cell: Cell) -> Place:
        """Return degree, attack and defense of a cell."""
        from fedsiege.arena.names import label

        values = cell.config.to_dict()
        degree = cell.config.card.degree if cell.config.card else ""
        return degree, label("attacks", values["attack"]), label("defenses", values["defense"])

    def __enter__(self) -> BoardProgress:
        """Start drawing, if stderr is a terminal."""
        if self.console.is_terminal:
            from rich.live import Live

            self.live = Live(console=self.console, transient=True, refresh_per_second=4, get_renderable=self.picture)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self.live is not None:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self.lock:
            index, rounds = event.cell_index, self.cells[event.cell_index].config.federation.rounds
            if index in self.ended:
                return
            before = self.rounds[index]
            if event.kind == "progress":
                # A resumed run starts in its middle, which is no work of this sitting.
                self.computed += max(0, event.round - before) if before else 0
                self.rounds[index] = max(before, event.round)
            if event.kind in OVER:
                self.computed += rounds - before if event.kind == "finished" and before else 0
                self.rounds[index] = rounds
                self.ended[index] = event.kind
                if event.scores and self.metric in event.scores:
                    self.scores[index] = event.scores[self.metric]
            if event.kind in ("started", "progress"):
                self.running[index] = None
            else:
                self.running.pop(index, None)
            told = event.kind in ("failed", "lost") or (self.live is None and event.kind == "finished")
            line = self._line(event) if told else ""
        # Outside the lock: printing waits for the drawing thread, which may be waiting for the lock.
        if line:
            self.console.print(line, markup=False, soft_wrap=True)

    def _line(self, event: Event) -> str:
        index = event.cell_index
        score = f"{self.metric} {self.scores[index]:.4f}" if index in self.scores else ""
        what = "its worker died, it is run again:" if event.kind == "lost" else event.kind
        return (
            f"[{len(self.ended)}/{len(self.cells)}] {what} {self.cells[index].label}  {event.error or score}".rstrip()
        )

    def seconds_left(self) -> float | None:
        """Return the expected seconds to the end, by the rounds computed up to now; None before there are any."""
        left = sum(c.config.federation.rounds - self.rounds[i] for i, c in enumerate(self.cells))
        if not self.computed:
            return None if left else 0.0
        return left * (time.monotonic() - self.started) / self.computed

    def headline(self) -> str:
        """Return the state of the grid in one line."""
        failed = sum(kind == "failed" for kind in self.ended.values())
        left = self.seconds_left()
        parts = [f"{len(self.ended) - failed} of {len(self.cells)} runs done", f"{len(self.running)} running"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"about {duration(left)} left"] if left is not None else []
        return "  ·  ".join(parts)

    def picture(self) -> Group:
        """Return what is drawn: the headline, the cells under way, and the board."""
        from rich.console import Group
        from rich.text import Text

        with self.lock:
            under_way = list(self.running)[:SHOWN]
            lines = [
                f"  {self.rounds[i]:>6} / {self.cells[i].config.federation.rounds}  {self.cells[i].label}"
                for i in under_way
            ]
            return Group(Text(self.headline()), Text("\n".join(lines)), *self.tables())

    def tables(self) -> Iterator[Table]:
        """Yield a board for each degree: the mean over the seeds that are done, and how many these are if not all."""
        for degree in dict.fromkeys(place[0] for place in self.members):
            mine = [place for place in self.members if place[0] == degree]
            attacks = list(dict.fromkeys(place[1] for place in mine))
            rows = [[d, *(self._mean((degree, a, d)) for a in attacks)] for d in dict.fromkeys(p[2] for p in mine)]
            title = f"{self.metric} (test, last round){', ' + degree if degree else ''}"
            yield table(title, ["defense", *attacks], rows, right=attacks)

    def _mean(self, place: Place) -> str:
        members = self.members.get(place, [])
        values = [self.scores[i] for i in members if i in self.scores]
        failed = sum(self.ended.get(i) == "failed" for i in members)
        notes = [f"{len(values)}/{len(members)}"] if 0 < len(values) < len(members) else []
        notes += [f"{failed} failed"] if failed else []
        return " ".join([number(sum(values) / len(values) if values else None), *notes])
