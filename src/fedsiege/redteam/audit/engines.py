"""Ways to run an app: all in one process, or in Flower's Simulation Engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedsiege.redteam.audit.plan import Job
from fedsiege.redteam.grid import RedGrid, RedProxy, Rewriter


def run_local(job: Job, server: ServerApp, client: ClientApp, red: Rewriter | None, nodes: list[int]) -> None:
    """Run an app in this process; `nodes` is filled with the node ids in the order of client ids."""
    grid = RedGrid(client, job.nodes, red=red, run_config=job.run_config, seed=job.seed)
    nodes += grid.nodes
    server(grid, Context(1, 1, {}, RecordDict(), dict(job.run_config)))


def run_simulated(job: Job, server: ServerApp, client: ClientApp, red: Rewriter | None, nodes: list[int]) -> None:
    """Run an app in Flower's Simulation Engine, one CPU for each client at a time."""
    from flwr.simulation import run_simulation

    failed: list[Exception] = []
    outer = ServerApp()

    @outer.main()
    def main(grid: Grid, context: Context) -> None:
        nodes.extend(sorted(grid.get_node_ids()))
        context.run_config = dict(job.run_config)
        try:
            server(grid if red is None else RedProxy(grid, red), context)
        except Exception as error:
            failed.append(error)

    run_simulation(
        outer,
        Carried(job.client, os.getcwd(), dict(job.run_config)),  # The run's own copy of the app.
        job.nodes,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 1}},
    )
    if failed:
        raise failed[0]


class Carried(ClientApp):
    """A ClientApp that travels as its reference, and gives the app its run configuration.

    Flower's engine hands an app that was started from Python an empty one.
    """

    def __init__(self, reference: str, folder: str, run_config: dict[str, Any]) -> None:
        super().__init__()
        self.reference, self.folder, self.run_config = reference, folder, run_config

    def __call__(self, message: Any, context: Context) -> Any:
        """Answer a message with the app's own ClientApp."""
        from flwr.supercore.object_ref import load_app

        given = context.run_config
        context.run_config = dict(self.run_config)
        try:
            return load_app(self.reference, RuntimeError, self.folder)(message, context)
        finally:
            # The engine refuses a context whose run configuration is not what it was.
            context.run_config = given


ENGINES: dict[str, Callable[[Job, Any, Any, Rewriter | None, list[int]], None]] = {
    "local": run_local,
    "simulation": run_simulated,
}
"""Engines by name."""
