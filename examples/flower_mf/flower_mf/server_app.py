"""The server's side: FedAvg behind a defense, UNION and Multi-Krum if nothing else is said."""

import json
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedsiege.flower.strategy import DefendedStrategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train the item table; the rest is on the nodes."""
    config = context.run_config
    out, nodes = Path(str(config["out-folder"])), Path(str(config["nodes-folder"]))
    num_items = int(json.loads((nodes / "catalog.json").read_text())["items"])
    table = np.random.default_rng(0).normal(0, 0.1, (num_items, int(config["dim"]))).astype(np.float32)
    strategy = DefendedStrategy(
        FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=2),
        str(config["defense"]),
        items="items",
        client_half=True,
        told=int(config["told"]),
        expel_after=int(config["expel-after"]) or None,
        folder=out,
    )
    result = strategy.start(grid, ArrayRecord({"items": Array(table)}), num_rounds=int(config["rounds"]))
    scores = {r: float(m["hr@10"]) for r, m in result.evaluate_metrics_clientapp.items()}
    told = {"hr@10": scores[max(scores)] if scores else None, "banned": strategy.banned}
    # Rounds of this process; those before a restart were scored by the one before.
    told["by round"] = {r: round(score, 4) for r, score in scores.items()}
    (out / "result.new").write_text(json.dumps(told))
    (out / "result.new").rename(out / "result.json")
