"""One line in a ClientApp that makes chosen clients of an existing Flower app malicious, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flwr.app import ConfigRecord, Context, Message

from fedsiege.attacks.base import Attack
from fedsiege.redteam.choose import attack_of, check_alone
from fedsiege.redteam.crew import Crew
from fedsiege.redteam.hostile import HOSTILE, Hostile
from fedsiege.redteam.records import COUNT, arrays_key, is_training

Next = Callable[[Message, Context], Message]
"""The rest of the client: the mods behind this one and the app itself."""

ROUNDS = "fedsiege-attack"
"""Record of the client's context in which the number of rounds is kept."""


class AttackMod:
    """A client mod: clients that `who` names train honestly, then upload what the attack makes of it.

    ``ClientApp(mods=[AttackMod("signflip", who={0})])``. The attacker sees its own data and the model that it is
    sent, and acts alone; what an attack remembers of earlier rounds lasts as long as the process does.

    Parameters
    ----------
    attack : Attack or str
        An attack, its name (defaults), or the name of a hostile upload of `fedsiege.redteam.hostile`.
    who : collection of int, or callable
        Partitions (``partition-id`` of the node configuration) that are malicious, or a function of the `Context`.
    seed : int
        Address of the attacker's randomness.
    items : str, optional
        Name of the array that is a table of item embeddings.
    count_key : str
        Metric that declares sample counts, the strategy's ``weighted_by_key``.

    Raises
    ------
    ConfigError
        If the attack needs colluders, the benign uploads or anything else that one client does not have.
    """

    def __init__(
        self,
        attack: Attack | str,
        who: Collection[int] | Callable[[Context], bool],
        *,
        seed: int = 0,
        items: str | None = None,
        count_key: str = COUNT,
    ) -> None:
        self.hostile: Hostile | None = HOSTILE.get(attack) if isinstance(attack, str) else None
        self.seed, self.items, self.who, self.count_key = seed, items, who, count_key
        if self.hostile is None:
            self.attack = attack_of(attack)
            check_alone(self.attack, items)
        self._crews: dict[int, Crew] = {}

    def is_malicious(self, context: Context) -> bool:
        """Tell whether the client of a context is malicious."""
        if callable(self.who):
            return bool(self.who(context))
        return int(context.node_config.get("partition-id", -1)) in self.who

    def __call__(self, message: Message, context: Context, call_next: Next) -> Message:
        """Answer a message."""
        reply = call_next(message, context)
        if not (is_training(message) and self.is_malicious(context)) or arrays_key(reply) is None:
            return reply
        if self.hostile is not None:
            return self.hostile.spoil(reply, self.count_key)
        node = message.metadata.dst_node_id
        if node not in self._crews:
            seed = self.seed + int(context.node_config.get("partition-id", 0))
            crew = Crew(self.attack, [node], [node], seed=seed, items=self.items, count_key=self.count_key)
            self._crews[node] = crew
        crew = self._crews[node]
        # A deployed client is a new process for each message: the count of rounds must not start over.
        kept = context.state.config_records.get(ROUNDS)
        crew.rounds = 0 if kept is None else int(str(kept["rounds"]))
        (made,) = crew.rewrite([message], [reply])
        context.state[ROUNDS] = ConfigRecord({"rounds": crew.rounds})
        return made
