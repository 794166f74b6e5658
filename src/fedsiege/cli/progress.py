"""Progress on stderr: a bar for one run, a bar with the running cells for a grid, plain lines without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedsiege.cli.console import err

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, ProgressColumn, TaskID

    from fedsiege.arena.grid import Cell, Event
    from fedsiege.federation.record import RoundRecord

REFRESH = 0.1
"""Seconds between redraws; a round may take less than drawing does."""


def _columns(*middle: str) -> tuple[ProgressColumn, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *(TextColumn(text) for text in middle),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )


class RunProgress:
    """Rounds, rounds per second, loss, the metric of the last evaluation, and time left.

    Parameters
    ----------
    rounds : int
        Rounds of the run.
    metric : str
        The metric of the test split that is shown, such as ``"HR@5"``.
    """

    def __init__(self, rounds: int, metric: str) -> None:
        self.rounds, self.metric = rounds, metric
        self.console = err()
        self.first: int | None = None
        self.started = self.drawn = 0.0
        self.score = ""
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> RunProgress:
        """Start drawing, if stderr is a terminal."""
        if self.console.is_terminal:
            from rich.progress import Progress

            self.bar = Progress(
                *_columns("{task.fields[speed]}", "{task.fields[loss]}", "{task.fields[score]}"),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task("loading", total=self.rounds, speed="", loss="", score="", start=False)
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, record: RoundRecord, seconds: float) -> None:
        """Take note of a finished round."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.started = record.round, now
            if record.round > 1:
                self.console.print(f"resuming after round {record.round - 1} of {self.rounds}")
            if self.bar is not None and self.task is not None:
                self.bar.reset(self.task, description="round", completed=record.round - 1)
        if record.metrics:
            self.score = f"{self.metric} {record.metrics['test'].get(self.metric, float('nan')):.4f}"
        last = record.round == self.rounds
        # The first round compiles kernels and is left out.
        past = record.round - self.first
        speed = f"{past / (now - self.started):.0f} rounds/s" if past else ""
        if self.bar is not None and self.task is not None:
            if now - self.drawn >= REFRESH or last or record.metrics:
                self.drawn = now
                self.bar.update(
                    self.task, completed=record.round, speed=speed, loss=f"loss {record.loss:.4f}", score=self.score
                )
        elif record.metrics:
            self.console.print(
                f"round {record.round}/{self.rounds}  {speed}  loss {record.loss:.4f}  {self.score}", soft_wrap=True
            )


class GridProgress:
    """All cells as one bar in rounds, with a line for each running cell; without a terminal, a line per cell.

    Parameters
    ----------
    cells : sequence of Cell
        The grid, in the order in which events number it.
    metric : str
        What the events' metric is called.
    """

    def __init__(self, cells: Sequence[Cell], metric: str = "HR@5") -> None:
        self.cells, self.metric = cells, metric
        self.console = err()
        self.ended: set[int] = set()
        self.scores: dict[int, float] = {}
        self.bar: Progress | None = None
        self.total: TaskID | None = None
        self.tasks: dict[int, TaskID] = {}
        first = {cell.path: index for index, cell in reversed(list(enumerate(cells)))}
        # Cells that share a folder are run once, and only the first of them has events.
        self.rounds = {index: cells[index].config.federation.rounds for index in sorted(first.values())}
        self.done = dict.fromkeys(self.rounds, 0)
        self.lock = threading.Lock()

    def __enter__(self) -> GridProgress:
        """Start drawing, if stderr is a terminal."""
        if self.console.is_terminal:
            from rich.progress import Progress

            self.bar = Progress(*_columns("{task.fields[note]}"), console=self.console, transient=True)
            self.total = self.bar.add_task("all rounds", total=sum(self.rounds.values()), note="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, event: Event) -> None:
        """Take note of an event; events come from two threads, and a worker's last may come after its end."""
        with self.lock:
            index = event.cell_index
            if index in self.ended:
                return
            if event.metric is not None:
                self.scores[index] = event.metric
            over = event.kind in ("finished", "skipped", "failed")
            self.done[index] = self.rounds[index] if over else max(self.done[index], event.round)
            if over:
                self.ended.add(index)
            if self.bar is not None:
                self._draw(event, over)
            if event.kind == "failed" or (self.bar is None and event.kind == "finished"):
                self.console.print(self._line(event), markup=False, soft_wrap=True)

    def _line(self, event: Event) -> str:
        label = self.cells[event.cell_index].label
        score = self.scores.get(event.cell_index)
        tail = event.error if event.error else f"{self.metric} {score:.4f}" if score is not None else ""
        return f"[{len(self.ended)}/{len(self.rounds)}] {event.kind} {label}  {tail}".rstrip()

    def _draw(self, event: Event, over: bool) -> None:
        assert self.bar is not None
        assert self.total is not None
        index = event.cell_index
        if over:
            if index in self.tasks:
                self.bar.remove_task(self.tasks.pop(index))
        else:
            if index not in self.tasks:
                self.tasks[index] = self.bar.add_task(self.cells[index].label, total=self.rounds[index], note="")
            fields: dict[str, Any] = {"completed": event.round}
            if event.kind == "progress":
                score = self.scores.get(index)
                shown = f"  {self.metric} {score:.4f}" if score is not None else ""
                fields["note"] = f"loss {event.loss:.4f}{shown}"
            self.bar.update(self.tasks[index], **fields)
        note = f"{len(self.ended)}/{len(self.rounds)} cells"
        self.bar.update(self.total, completed=sum(self.done.values()), note=note)
