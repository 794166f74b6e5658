"""``fedsiege run``: one configuration, from start or from where it stopped, to its result."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from fedsiege.cli.arguments import option
from fedsiege.cli.console import err, number, out, print_json, show_table, table
from fedsiege.errors import ConfigError

if TYPE_CHECKING:
    from fedsiege.arena.config import RunConfig


@dataclass(frozen=True)
class Run:
    """Run a configuration, or go on with a run that was stopped.

    Ctrl-C ends the round, writes a checkpoint and leaves a run that the same command resumes; the result is the
    same, byte for byte, as without the interruption. A finished run is not run again.

    Parameters
    ----------
    target
        A YAML configuration, or the folder of a run.
    out
        The run folder; default: runs/NAME-HASH, after the configuration's file and content.
    threads
        Threads to use; default: all cores (or FEDSIEGE_THREADS).
    overrides
        Values that replace those of the configuration, such as attack=lie attack.z=0.3 federation.rounds=100.
    json
        Print the result as JSON.
    """

    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG|RUN_FOLDER")]
    out: Annotated[Path | None, option("DIR")] = None
    threads: Annotated[int | None, option("N")] = None
    overrides: Annotated[tuple[str, ...], option("KEY=VALUE ...", "set")] = ()
    json: Annotated[bool, option()] = False

    def resume(self) -> str:
        """Return the command that goes on with this run; what repeats it is stored with it, and says another folder."""
        words = ["fedsiege", "run", str(self.target)]
        words += ["--out", str(self.out)] if self.out else []
        words += ["--threads", str(self.threads)] if self.threads else []
        words += ["--set", *self.overrides] if self.overrides else []
        return shlex.join(words)

    def _open(self) -> tuple[RunConfig, Path]:
        """Return the configuration and the run folder that the arguments mean."""
        from fedsiege.arena.config import parse, read
        from fedsiege.arena.folder import RunFolder

        if self.target.is_dir():
            if self.out is not None or self.overrides:
                raise ConfigError(
                    f"{self.target} is a run folder, which keeps its configuration and its place; "
                    f"leave out --out and --set, or give a configuration file"
                )
            return parse(RunFolder(self.target).read_config()), self.target
        config = _read_with(self.target, self.overrides) if self.overrides else read(self.target)
        return config, self.out or Path("runs") / f"{self.target.stem}-{config.hash}"

    def __call__(self) -> int:
        """Run, print the result and return 0."""
        from fedsiege.arena.folder import RunFolder
        from fedsiege.arena.pairs import doubt, unheeded
        from fedsiege.arena.runs import execute
        from fedsiege.cli.progress import RunProgress

        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads {self.threads} must be at least 1")
        config, path = self._open()
        notes = unheeded(config)
        if reason := doubt(config.attack, config.defense):
            notes.append(f"{config.attack.name} against {config.defense.name}: {reason}")
        for note in notes:
            err().print(f"note: {note}", markup=False, soft_wrap=True)
        finished = RunFolder(path).finished
        with RunProgress(config.federation.rounds, config.metric) as progress:
            result = execute(config, path, threads=self.threads, progress=progress)
        if finished:  # Said only now: the folder may have been refused.
            err().print(f"{path} is finished; nothing to run", markup=False, soft_wrap=True)
        if self.json:
            print_json({**result, "folder": str(path)})
        else:
            _show(result, path)
        return 0


def _read_with(path: Path, assignments: tuple[str, ...]) -> RunConfig:
    """Read a configuration with some of its values replaced."""
    from fedsiege.arena.card_claim import judged
    from fedsiege.arena.config import parse
    from fedsiege.cli.overrides import apply
    from fedsiege.files import read_yaml

    values = read_yaml(path, "configuration")
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a mapping of sections")
    config = parse(apply(values, assignments), path.parent)
    held = judged(config, path, altered=True)
    if config.card and not held.card:
        err().print(
            f"note: card {config.card.id} is not at hand, so that nobody can tell what --set changes of it; "
            f"the run is stored without a card",
            markup=False,
            soft_wrap=True,
        )
    return held


def _show(result: dict[str, Any], path: Path) -> None:
    """Print the scores of a result for people."""
    best, last = result["best"], result["last"]
    names = list(last["metrics"]["test"])
    title = f"{result['model']} on {result['dataset']}, {result['attack']} against {result['defense']}"
    columns = ["test", f"best round ({best['round']})", f"last round ({last['round']})"]
    rows = [[n, number(best["metrics"]["test"][n]), number(last["metrics"]["test"][n])] for n in names]
    console = out()
    show_table(table(title, columns, rows, right=columns[1:]))
    told = result["threat_model"]["told_byzantine"]
    lines = [
        f"best round by {result['selected_by']}; the attacker knows: {result['threat_model']['knowledge']}",
        f"the defense was told, or has in its settings, how many attack: {told}" if told is not None else "",
    ]
    if result["rejects"]:
        found = "  ".join(f"{k} {number(result['detection'][k])}" for k in ("DACC", "FPR", "FNR", "AAR"))
        lines.append(f"detection: {found}")
    if result["attack"] != "none" and result["detection"].get("FNR_pooled", 0.0) is None:
        there = result["malicious_clients"]
        why = (
            f"none of {there} malicious clients was ever drawn"
            if there
            else "their share of the clients rounds to none"
        )
        lines.append(f"nobody attacked: {why}; raise federation.malicious")
    if not result["finite"]:
        lines.append("the training loss was not finite in some rounds")
    lines.append(f"run folder: {path}")
    console.print("\n".join(line for line in lines if line), markup=False, soft_wrap=True)
