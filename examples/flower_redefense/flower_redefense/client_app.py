"""The client's side: an ordinary PyTorch client."""

import os

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_redefense.task import digits, network
from flower_redefense.task import train as train_one

mods = []
if red := os.environ.get("FEDSIEGE_RED"):
    # Only a rehearsal sets this: "attack:partitions". Production never imports the red team.
    from fedsiege.redteam.mod import AttackMod

    attack, _, who = red.partition(":")
    mods.append(AttackMod(attack, {int(p) for p in who.split(",")}))

app = ClientApp(mods=mods)


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train on the client's share of the digits."""
    net = network()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    place, places = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    data = digits(place, places)
    round_ = int(msg.content["config"]["server-round"])
    loss = train_one(net, data, float(context.run_config["learning-rate"]), round_)
    metrics = MetricRecord({"num-examples": len(data[1]), "loss": loss})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=msg)
