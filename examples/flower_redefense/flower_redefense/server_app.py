"""The server's side: FedAvg behind FedREDefense, which is given the network as a function."""

import json
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedsiege.defenses.redefense import FedREDefense
from fedsiege.flower.strategy import DefendedStrategy
from fedsiege.flower.virtual import module_task
from flower_redefense.task import accuracy, digits, network

app = ServerApp()


def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Score the model on digits that no client has."""
    net = network()
    net.load_state_dict(arrays.to_torch_state_dict())
    return MetricRecord({"accuracy": accuracy(net, digits())})


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train the network."""
    config = context.run_config
    out, rate = Path(str(config["out-folder"])), float(config["learning-rate"])
    strategy = DefendedStrategy(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=2),
        # Its own rate: local steps × local rate × classes / inner steps of virtual training. The caps are the
        # defaults: with ten iterations, honest clients were expelled from round 12 on, when updates become smaller.
        FedREDefense(virtual_lr=8 * rate * 10 / 5, workers=1),
        virtual=module_task(network(), (1, 8, 8), 10),
        folder=out,
    )
    first = ArrayRecord(network().state_dict())
    result = strategy.start(grid, first, num_rounds=int(config["rounds"]), evaluate_fn=evaluate)
    told = {"accuracy": float(evaluate(0, result.arrays)["accuracy"]), "banned": strategy.banned}
    (out / "result.new").write_text(json.dumps(told))
    (out / "result.new").rename(out / "result.json")
