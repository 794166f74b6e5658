"""``fedsiege arena``: a card's game for many attacks, defenses and seeds."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import err, out, print_json
from fedsiege.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from fedsiege.arena.grid import Cell, Executor, Outcome
    from fedsiege.arena.plan import Plan


@dataclass(frozen=True)
class Arena:
    """Let attacks meet defenses in the game of a threat-model card, under every seed.

    Finished runs are never run twice, a run that was stopped goes on where it was, and one that failed is recorded
    and tried again at the next start. Several of these commands may share a folder at the same time. `fedsiege arena`
    alone lists the cards.

    Parameters
    ----------
    grid
        A YAML file with a card and, where they are not the card's, attacks, defenses, seeds, degrees, override.
    card
        The card: a name, or a YAML file of your own. Without GRID.yaml this is needed; with it, it takes precedence.
    attacks, defenses
        Names, or mappings such as "{name: lie, z: 0.3}"; default: those of the card. A name that the card has stands
        for its entrant, hyper-parameters included.
    seeds
        Default: those of the card.
    degrees
        Non-IID degrees of the card; default: all.
    overrides
        Settings that are not as the card says, such as federation.rounds=100: the open division.
    plugins
        Python files with attacks or defenses of your own.
    noise
        Also play, against FedAvg, noise of the same norm in each attack's place, with which the board compares it.
    jobs
        Runs side by side; default: one a core, as far as memory allows. With --ray: as many as the cluster has room.
    threads
        Threads of each run, on which the last bits of classifiers depend; default: FEDSIEGE_THREADS, else those that
        the grid's runs in --out had, else its runs, or --jobs of them, share the cores. With --ray: 1.
    ray
        Run on a Ray cluster: its address, or "local" to start one on this machine.
    out
        Folder of the runs.
    publish
        Folder for the leaderboard as a page and as JSON, such as docs/boards; runs published there before stay on it,
        and an interrupted grid publishes what it has finished.
    missing
        Run only what the leaderboard in --publish does not hold yet, made here or elsewhere.
    dry_run
        List the runs with their folders, and run nothing.
    json
        Print JSON instead of tables.
    """

    grid: Annotated[Path | None, tyro.conf.Positional, option("GRID.yaml")] = None
    card: Annotated[str | None, option("ID|FILE")] = None
    attacks: Annotated[tuple[str, ...], option("ATTACK ...")] = ()
    defenses: Annotated[tuple[str, ...], option("DEFENSE ...")] = ()
    seeds: Annotated[tuple[int, ...], option("SEED ...")] = ()
    degrees: Annotated[tuple[str, ...], option("DEGREE ...")] = ()
    overrides: Annotated[tuple[str, ...], option("KEY=VALUE ...", "set")] = ()
    plugins: Annotated[tuple[Path, ...], option("FILE ...")] = ()
    noise: Annotated[bool, option()] = False
    jobs: Annotated[int | None, option("N")] = None
    threads: Annotated[int | None, option("N")] = None
    ray: Annotated[str | None, option("local|ADDRESS")] = None
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    publish: Annotated[Path | None, option("DIR")] = None
    missing: Annotated[bool, option()] = False
    dry_run: Annotated[bool, option()] = False
    json: Annotated[bool, option()] = False

    def resume(self) -> str:
        """Return the command that goes on with these runs."""
        words = ["fedsiege", "arena", *([str(self.grid)] if self.grid else [])]
        words += ["--card", self.card] if self.card else []
        for name, values in (
            ("attacks", self.attacks),
            ("defenses", self.defenses),
            ("seeds", self.seeds),
            ("degrees", self.degrees),
            ("set", self.overrides),
            ("plugins", self.plugins),
        ):
            words += [f"--{name}", *map(str, values)] if values else []
        words += ["--noise"] if self.noise else []
        words += ["--jobs", str(self.jobs)] if self.jobs else []
        words += ["--threads", str(self.threads)] if self.threads else []
        words += ["--ray", self.ray] if self.ray else []
        words += ["--out", str(self.out)] if self.out != Path("runs") else []
        words += ["--publish", str(self.publish)] if self.publish else []
        words += ["--missing"] if self.missing else []
        return shlex.join(words)

    def plan(self) -> Plan:
        """Return the grid that file and options mean together."""
        from fedsiege.arena import plan
        from fedsiege.cli.overrides import apply

        made = plan.read(self.grid) if self.grid else plan.parse({"card": self.card})
        if self.grid and self.card:
            other = plan.parse({"card": self.card})
            made = replace(made, card=other.card, source=other.source)
        given: dict[str, Any] = {
            "attacks": plan.entrants(self.attacks, "attacks"),
            "defenses": plan.entrants(self.defenses, "defenses"),
            "seeds": self.seeds,
            "degrees": self.degrees,
            "plugins": tuple(str(path.resolve()) for path in self.plugins),
            "noise": self.noise,
        }
        made = replace(made, **{name: value for name, value in given.items() if value})
        override = plan.located(apply(made.override, self.overrides), Path())
        return replace(made, override=override)

    def __call__(self) -> int:
        """Run the grid and print its board; 1 if some runs failed."""
        for name, value in (("jobs", self.jobs), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value} must be at least 1")
        if self.grid is None and self.card is None:
            return self._cards()
        plan = self.plan()
        cells = whole = plan.cells(self.out)
        if self.missing:
            cells = self._unpublished(plan.card.id, whole)
        for note in notes(cells):
            err().print(note, markup=False, soft_wrap=True)
        if self.dry_run:
            return self._list(cells)
        if not cells:
            if self.json:
                self._show(plan, [])
            return 0
        from fedsiege.arena.card_store import keep
        from fedsiege.arena.grid import run_cells
        from fedsiege.cli.board_progress import BoardProgress

        keep(plan.card, self.out)
        executor: dict[str, Any] = {"executor": self._executor()} if self.ray else {}
        try:
            with BoardProgress(cells, plan.card.metric) as progress:
                outcomes = run_cells(cells, self.jobs, progress, threads=self.threads, whole=whole, **executor)
        except KeyboardInterrupt:
            self._publish_finished(plan.card.id, cells)
            raise
        self._show(plan, outcomes, progress.tables())
        if self.publish:
            self._publish(plan.card.id, self.publish)
        return 1 if any(o.error is not None for o in outcomes) else 0

    def _unpublished(self, card: str, cells: list[Cell]) -> list[Cell]:
        """Return the cells that the leaderboard in --publish does not hold, and say how many it holds."""
        from fedsiege.arena import board_publish

        if self.publish is None:
            raise ConfigError("--missing means what a published leaderboard lacks; name its folder with --publish")
        place = board_publish.place(card, self.publish)
        known = {(run.card_hash, run.config_hash) for run in board_publish.read(place)[0]}
        left = [c for c in cells if (c.config.card and c.config.card.hash, c.config.hash) not in known]
        told = f"{len(cells) - len(left)} of {len(cells)} runs are published in {place}; {len(left)} are missing"
        err().print(told, markup=False, soft_wrap=True)
        return left

    def _publish_finished(self, card: str, cells: list[Cell]) -> None:
        """Publish what an interrupted grid has finished, if anything and if it was to be published."""
        from fedsiege.arena.grid import finished

        if self.publish and any(finished(cell) is not None for cell in cells):
            self._publish(card, self.publish)

    def _publish(self, card: str, folder: Path) -> None:
        from fedsiege.arena.board_publish import publish

        for path in publish(card, self.out, folder):
            (err() if self.json else out()).print(str(path), markup=False, soft_wrap=True)

    def _executor(self) -> Executor:
        from fedsiege.arena.ray import RayCluster

        assert self.ray is not None
        return RayCluster(None if self.ray == "local" else self.ray, self.jobs, self.threads or 1)

    def _cards(self) -> int:
        from fedsiege.arena.card_file import outlines
        from fedsiege.cli.console import show_table, table

        found = outlines()
        if self.json:
            print_json(found)
        else:
            rows = [[card["id"], card["title"]] for card in found]
            show_table(table("fedsiege arena --card ID", ["card", "game"], rows))
        return 0

    def _list(self, cells: list[Cell]) -> int:
        from fedsiege.arena.grid import finished

        states = [(cell, "finished" if finished(cell) is not None else "to run") for cell in cells]
        if self.json:
            print_json([self._state(cell, state == "finished") for cell, state in states])
        else:
            for cell, state in states:
                print(f"{state:<8}  {cell.label}  {cell.path}")
        return 0

    @staticmethod
    def _state(cell: Cell, finished: bool) -> dict[str, Any]:
        ref = cell.config.card
        card = {"card": ref.id, **{k: v for k, v in ref.to_dict().items() if k != "id"}} if ref else {}
        return {"cell": cell.label, "folder": str(cell.path), "finished": finished, **card}

    def _show(self, plan: Plan, outcomes: list[Outcome], tables: Iterable[Table] = ()) -> None:
        """Print the board, drawn as `tables`, and what failed."""
        failed = [o for o in outcomes if o.error is not None]
        if self.json:
            runs = [
                {
                    "cell": o.cell.label,
                    "folder": str(o.cell.path),
                    "scores": o.result["last"]["metrics"]["test"] if o.result else None,
                    "error": o.error,
                }
                for o in outcomes
            ]
            changes = sorted({c for o in outcomes if o.cell.config.card for c in o.cell.config.card.changes})
            division = "open" if changes else "closed"
            print_json(
                {"card": plan.card.id, "hash": plan.card.hash, "division": division, "changes": changes, "runs": runs}
            )
        else:
            for board in tables:
                out().print(board)
            out().print(f"runs: {self.out}", markup=False, soft_wrap=True)
        for outcome in failed:
            err().print(f"failed: {outcome.cell.label}: {outcome.error}", markup=False, soft_wrap=True)


def notes(cells: list[Cell]) -> list[str]:
    """Return what to know of pairs of attack and defense that do not do what their names say, each once."""
    from fedsiege.arena.pairs import doubt

    found: dict[str, None] = {}
    for cell in cells:
        attack, defense = cell.config.attack, cell.config.defense
        if reason := doubt(attack, defense):
            found[f"note: {attack.name} against {defense.name}: {reason}"] = None
    return list(found)
