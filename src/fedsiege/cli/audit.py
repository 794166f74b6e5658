"""``fedsiege audit``: a Flower app, unchanged, under a battery of attacks, and what would have stopped them."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import err, out
from fedsiege.errors import ConfigError, remedy

if TYPE_CHECKING:
    from fedsiege.redteam.audit.plan import Job


@dataclass(frozen=True)
class Audit:
    """Put a Flower app to a battery of attacks and print a score card.

    The app runs as it is, each run in a process of its own: without an attack and under each attack, with its own
    strategy and with defenses before it. Stopped, it goes on where it was. Each run works in a copy of the app's
    folder, which is left as it is. Needs Flower (the extra "flower").

    Parameters
    ----------
    app
        Folder of the app, with its pyproject.toml.
    attacks
        Attacks instead of the default battery (nan shape overcount signflip lie minmax). Others: extra uncounted noise
        gaussian fang fang-krum minsum mpaf.
    defenses
        Defenses instead of multikrum and trimmedmean.
    nodes
        Nodes of the federation; default: what the app says, else 10.
    malicious
        Share of the nodes that are malicious.
    run_config
        Changes to the app's run configuration, as flwr run takes them: "num-server-rounds=5".
    metric
        Which of the app's metrics to judge by; default: the first accuracy-like one.
    better
        Whether that metric is better when lower or higher; default: what its name says, as the score card tells.
    items
        Name of the array that is a table of item embeddings, for attacks and defenses of recommenders.
    engine
        local: all in one process; simulation: Flower's Simulation Engine (slower).
    out
        Folder for the runs and the score card; default: audit-APP.
    link
        Files or folders of the app that it only reads, such as a large data set: linked instead of copied for each run.
    jobs
        Runs side by side; default: one a core.
    timeout
        Seconds after which one run is stopped.
    seed
        Seed of the app's randomness, of attacks and defenses.
    """

    app: Annotated[Path, tyro.conf.Positional]
    attacks: Annotated[tuple[str, ...] | None, option("NAME")] = None
    defenses: Annotated[tuple[str, ...] | None, option("NAME")] = None
    nodes: Annotated[int | None, option("N")] = None
    malicious: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.2
    run_config: Annotated[str, option("KEY=VALUE")] = ""
    metric: Annotated[str | None, option("NAME")] = None
    better: Annotated[Literal["lower", "higher"] | None, option("{lower,higher}")] = None
    items: Annotated[str | None, option("NAME")] = None
    engine: Literal["local", "simulation"] = "local"
    out: Annotated[Path | None, option("DIR")] = None
    link: Annotated[tuple[str, ...], option("PATH")] = ()
    jobs: Annotated[int | None, option("N")] = None
    timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 300.0
    seed: int = 0

    @property
    def folder(self) -> Path:
        """Where the runs and the score card go."""
        return self.out or Path(f"audit-{self.app.resolve().name}")

    def resume(self) -> str:
        """Return the command that goes on with the audit."""
        words = ["fedsiege", "audit", str(self.app), "--out", str(self.folder)]
        for name in ("attacks", "defenses", "link"):
            given = getattr(self, name)
            words += [f"--{name}", *given] if given else []
        for name in ("nodes", "run_config", "metric", "better", "items", "jobs"):
            given = getattr(self, name)
            words += [f"--{name.replace('_', '-')}", str(given)] if given else []
        words += ["--malicious", str(self.malicious), "--engine", self.engine]
        return shlex.join([*words, "--timeout", f"{self.timeout:g}", "--seed", str(self.seed)])

    def __call__(self) -> int:
        """Run the audit, print the score card and write the page; 1 if runs timed out."""
        try:
            from fedsiege.redteam.audit.app import read_app
        except ModuleNotFoundError as error:
            if error.name != "flwr":
                raise
            raise ConfigError(f"fedsiege audit needs Flower; {remedy('flower')}") from error
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"--jobs {self.jobs} must be at least 1")
        if not 0 < self.timeout < math.inf:
            raise ConfigError(f"--timeout {self.timeout} must be a number of seconds above 0")
        app = read_app(self.app, self.run_config, self.folder)
        started = time.monotonic()
        console = err()
        console.print("loading …")
        jobs = self._jobs(app)
        results = self._run(jobs)
        from fedsiege.redteam.audit.page import write_page
        from fedsiege.redteam.audit.score import make_card
        from fedsiege.redteam.audit.terminal import score_card

        card = make_card(jobs, results, self.metric, self.better)
        for part in score_card(card):
            out().print(part)
        path = write_page(self.folder / "scorecard.html", card, app.name)
        console.print(f"score card: {path}", markup=False, soft_wrap=True)
        console.print(f"{time.monotonic() - started:.0f} s")
        return int(any(result["status"] == "timeout" for result in results.values()))

    def _jobs(self, app: Any) -> list[Job]:
        """Return the audit's jobs; ConfigError for a name that is unknown or cannot be used."""
        from fedsiege.flower.needs import as_defense
        from fedsiege.redteam.audit.plan import ATTACKS, DEFENSES, plan
        from fedsiege.redteam.choose import attack_of, check_suited
        from fedsiege.redteam.hostile import HOSTILE

        attacks = tuple(dict.fromkeys(self.attacks or ATTACKS))
        for name in attacks:
            if name not in HOSTILE:
                check_suited(attack_of(name), self.items)
        defenses = tuple(dict.fromkeys(DEFENSES if self.defenses is None else self.defenses))
        for name in defenses:
            as_defense(name)
        return plan(
            app,
            attacks,
            defenses,
            nodes=self.nodes,
            malicious=self.malicious,
            seed=self.seed,
            engine=self.engine,
            items=self.items,
        )

    def _run(self, jobs: list[Job]) -> dict[str, dict[str, Any]]:
        """Run the jobs under a progress bar."""
        import os

        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from fedsiege.redteam.audit.runner import run_jobs

        console = err()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("runs", total=len(jobs))

            def on_done(job: Job, result: dict[str, Any]) -> None:
                progress.advance(task)
                words = f"{job.attack} against {job.defense}: {result['status']}"
                console.print(f"{words} {result['error'] or ''}".rstrip(), markup=False, soft_wrap=True)

            return run_jobs(
                jobs,
                self.folder.resolve(),
                parallel=self.jobs or os.cpu_count() or 1,
                timeout=self.timeout,
                links=self.link,
                on_done=on_done,
            )
