"""``fedsiege serve``: the report as a page that follows a running grid."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fedsiege.cli.arguments import option
from fedsiege.errors import ConfigError


@dataclass(frozen=True)
class Serve:
    """Show the report of a folder in the browser, and draw it anew as runs end.

    Listens on this machine alone unless --host names another address. Serves the page and the counts of runs, no files.
    Ctrl-C ends it.

    Parameters
    ----------
    folder
        Folder with the runs; it may still be empty.
    host
        Address to listen on; default: 127.0.0.1. With 0.0.0.0 everybody in the network can read the results.
    port
        Port to listen on; default: 8741; 0 takes a free one.
    title
        Title of the page.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    host: Annotated[str, option("ADDRESS")] = "127.0.0.1"
    port: Annotated[int, option("PORT")] = 8741
    title: Annotated[str | None, option("TEXT")] = None

    def __call__(self) -> int:
        """Serve until interrupted and return 0."""
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port} must be from 0 to 65535")
        from fedsiege.report.serve import Server, is_loopback, site

        with Server(site(self.folder, self.title), self.host, self.port) as server:
            # A flag cannot be lost, as an exception can that is raised while an object is being destroyed.
            stop = threading.Event()
            before = signal.signal(signal.SIGINT, lambda *_: stop.set())
            print(server.url, flush=True)
            if not is_loopback(self.host):
                print("note: others in the network can read this page; there is no password", file=sys.stderr)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
            thread.start()
            try:
                while thread.is_alive() and not stop.wait(0.2):
                    pass
            finally:
                signal.signal(signal.SIGINT, before)
                server.shutdown()
            print("\nstopped", file=sys.stderr)
        return 0
