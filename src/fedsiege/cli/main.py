"""``fedsiege``: reads the command line, runs one command and turns errors into one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from fedsiege import __version__
from fedsiege.cli.arena import Arena
from fedsiege.cli.arguments import CONFIG
from fedsiege.cli.audit import Audit
from fedsiege.cli.data import Data
from fedsiege.cli.demo import Demo
from fedsiege.cli.export import Export
from fedsiege.cli.listing import List
from fedsiege.cli.reporting import Report
from fedsiege.cli.reproduce import Reproduce
from fedsiege.cli.run import Run
from fedsiege.cli.serve import Serve
from fedsiege.cli.store import StoreCommand
from fedsiege.errors import ConfigError, FedSiegeError

DESCRIPTION = (
    f"FedSiege {__version__}: poisoning attacks and defenses in federated learning, side by side. "
    "Start with `fedsiege demo`; `fedsiege COMMAND --help` explains a command. "
    "Errors end with status 2, an interrupt with 130; `fedsiege --version` prints the version."
)

_sub = tyro.conf.subcommand
COMMANDS: Any = (
    Annotated[Demo, _sub("demo")]
    | Annotated[Run, _sub("run")]
    | Annotated[List, _sub("list")]
    | Annotated[Arena, _sub("arena")]
    | Annotated[Data, _sub("data")]
    | Annotated[Reproduce, _sub("reproduce")]
    | Annotated[Report, _sub("report")]
    | Annotated[Serve, _sub("serve")]
    | Annotated[StoreCommand, _sub("store")]
    | Annotated[Export, _sub("export")]
    | Annotated[Audit, _sub("audit")]
)
"""Every command; a class is a command's arguments, and calling an instance runs it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; default: those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if some cells of a grid failed, 2 for an error that the user can mend, 130 after
        an interrupt.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        print(f"fedsiege {__version__}")
        return 0
    # Torch's threads spin while they wait; on a machine that is busy otherwise that makes a run ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        try:
            return _command(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (`fedsiege list | head`); the interpreter must not try to flush to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _once(arguments: list[str]) -> None:
    """Refuse an option that is given twice: the parser would take the last and say nothing of the others."""
    given = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    for option in given:
        if given.count(option) > 1:
            raise ConfigError(
                f"{option} is given {given.count(option)} times; write all its values behind one {option}"
            )


def _command(arguments: list[str]) -> int:
    command: Any = None
    try:
        _once(arguments)
        command = tyro.cli(
            COMMANDS, prog="fedsiege", description=DESCRIPTION, args=arguments or ["--help"], config=CONFIG
        )
        return command()
    except FedSiegeError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = command.resume() if hasattr(command, "resume") else None
        what = f"what is finished is kept; resume with: {again}" if again else "nothing was changed"
        print(f"\ninterrupted; {what}", file=sys.stderr)
        return 130
