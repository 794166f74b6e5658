"""The node's side: train, add UNION's contrastive task, evaluate. User vectors stay here."""

import os
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from fedsiege.defenses.union import Union
from fedsiege.flower.mods import union_mod
from flower_mf.task import Node

TABLE = "items"


def node_of(context: Context) -> Node:
    """Return the node of this process, from its own disk."""
    place = f"node-{context.node_config['partition-id']}"
    folder = context.node_config.get("data-folder") or Path(str(context.run_config["nodes-folder"])) / place
    return Node(Path(str(folder)), int(context.run_config["dim"]))


def seen(context: Context) -> dict:
    """Return what each user of the node has seen, for UNION's task."""
    return node_of(context).seen()


contrast = union_mod(Union(), TABLE, seen, lr=0.01)


def union_half(msg: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Add UNION's task where the server's defense has UNION in it; an app that always has it needs `contrast` alone."""
    wanted = "union" in str(context.run_config["defense"])
    return contrast(msg, context, call_next) if wanted else call_next(msg, context)


mods = [union_half]
if red := os.environ.get("FEDSIEGE_RED"):
    # Only a rehearsal sets this: "attack:partitions". Production never imports the red team.
    from fedsiege.redteam.mod import AttackMod

    attack, _, who = red.partition(":")
    mods.insert(0, AttackMod(attack, {int(p) for p in who.split(",")}, items=TABLE))

app = ClientApp(mods=mods)


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train on the node's users and keep their vectors."""
    node = node_of(context)
    config = context.run_config
    table = msg.content["arrays"][TABLE].numpy()
    round_ = int(msg.content["config"]["server-round"])
    table, loss = node.train(table, int(config["local-epochs"]), float(config["learning-rate"]), round_)
    node.save()
    metrics = MetricRecord({"num-examples": int(node.items.size), "loss": loss})
    return Message(RecordDict({"arrays": ArrayRecord({TABLE: Array(table)}), "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Ask for the held-out items of the node's users."""
    ratio, users = node_of(context).hit_ratio(msg.content["arrays"][TABLE].numpy())
    metrics = MetricRecord({"num-examples": max(users, 1), "hr@10": ratio})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
