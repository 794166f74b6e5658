"""A small world for tests of plug-ins: a model of two blocks and clients with honest updates fixed by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedsiege.attacks import Attack, AttackView, Knowledge, Rehearsal
from fedsiege.defenses import DefenseView
from fedsiege.learners.base import ItemTask, Labelled, LocalData, ModelView, Pairs
from fedsiege.rng import generator
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, RowBlock, UpdateBatch


class StaticModel:
    """A model that never changes, with plain SGD look-ahead."""

    def __init__(self, params: dict[str, torch.Tensor], lr: float = 1.0) -> None:
        self.params, self.lr = params, lr

    def table(self, name: str, rows: np.ndarray | None = None) -> torch.Tensor:
        return self.params[name]

    def param(self, name: str) -> torch.Tensor:
        return self.params[name]

    def look_ahead(self, name: str, rows: np.ndarray, update: np.ndarray | None) -> np.ndarray:
        if update is None:
            return np.zeros((rows.size, self.params[name].shape[1]))
        return self.lr * update.astype(np.float64)


class TableTask:
    """Training of a `World`'s model on distilled knowledge: inputs look up rows, the head labels what they find."""

    def knowledge(self, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        inputs = torch.from_numpy(rng.standard_normal((count, 8), np.float32))
        return {"inputs": inputs, "labels": torch.zeros(count, 3)}

    def problem(self, model: ModelView, upload: UpdateBatch) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        target = {name: block.dense()[0] for name, block in upload.blocks.items()}
        rows = target["items"].any(1).nonzero()[:, 0]
        params = {name: model.param(name) for name in target}
        return {**params, "items": params["items"][rows]}, {**target, "items": target["items"][rows]}

    def loss(self, params: Mapping[str, torch.Tensor], knowledge: Mapping[str, torch.Tensor]) -> torch.Tensor:
        inputs, items = knowledge["inputs"], params["items"]
        found = inputs + (inputs @ items.T).softmax(-1) @ items
        output = found @ params["head"] if "head" in params else found[:, :3]
        return -(knowledge["labels"].softmax(-1) * output.log_softmax(-1)).mean()


@dataclass
class World:
    """A table of `items` × `dim` and, if `head`, a dense block; `scale` is the size of honest updates."""

    dtype: torch.dtype = torch.float32
    items: int = 60
    dim: int = 8
    head: bool = True
    scale: float = 1e-2
    seed: int = 5

    def __post_init__(self) -> None:
        blocks = [BlockSpec("items", (self.items, self.dim), "items")]
        if self.head:
            blocks.append(BlockSpec("head", (self.dim, 3)))
        self.spec = ModelSpec(tuple(blocks))
        rng = generator(self.seed, "world-model")
        self.model = StaticModel({b.name: torch.from_numpy(rng.normal(size=b.shape)).to(self.dtype) for b in blocks})

    def honest(self, clients: np.ndarray, round_: int = 1) -> UpdateBatch:
        """Uploads of `clients`: a common part, so that they agree a little, and one of their own."""
        clients = np.asarray(clients, np.int64)
        common = generator(self.seed, "common").normal(size=(self.items, self.dim))
        rows, values, heads, counts = [], [], [], []
        for client in clients:
            rng = generator(self.seed, "honest", round_, int(client))
            mine = np.sort(rng.choice(self.items, int(rng.integers(2, self.items // 2)), replace=False))
            rows.append(mine)
            values.append(self.scale * (common[mine] + rng.normal(size=(mine.size, self.dim))))
            heads.append(self.scale * (1 + rng.normal(size=(self.dim, 3))))
            counts.append(float(rng.integers(5, 60)))
        indptr = np.concatenate([[0], np.cumsum([r.size for r in rows])]).astype(np.int64)
        flat = np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64)
        table = np.concatenate([*values, np.empty((0, self.dim))])
        blocks: dict[str, RowBlock | DenseBlock] = {
            "items": RowBlock(
                torch.from_numpy(indptr),
                torch.from_numpy(flat),
                torch.from_numpy(table).to(self.dtype),
                self.items,
            )
        }
        if self.head:
            stack = np.stack(heads) if heads else np.empty((0, self.dim, 3))
            blocks["head"] = DenseBlock(torch.from_numpy(stack).to(self.dtype))
        return UpdateBatch(clients, np.array(counts, np.float64), blocks)

    def attack_view(
        self,
        attack: Attack,
        present: np.ndarray,
        coalition: np.ndarray,
        cohort: int = 20,
        round_: int = 1,
        grants: Knowledge | None = None,
        seed: int = 11,
    ) -> AttackView:
        """What the simulator would show; `grants` other than the attack's own test its refusal."""
        benign = np.setdiff1d(np.arange(1000, 1000 + cohort), coalition)[: max(cohort - present.size, 0)]

        def task(clients: np.ndarray, task: ItemTask) -> UpdateBatch:
            asked = getattr(task, "alpha", 1.0) * getattr(task, "negatives", 1)
            return self.honest(clients, 7000 + round_).scale(np.full(clients.size, asked))

        def rehearse(uploads: UpdateBatch) -> Rehearsal:
            whole = self.honest(np.concatenate([benign, uploads.clients]), round_)
            places = np.arange(benign.size, whole.n)
            whole = whole.replace(places, uploads)
            accepted = whole.norms < 60 * self.scale
            weights = accepted / max(accepted.sum(), 1)
            return Rehearsal(accepted[places], whole.weighted_sum(weights) if accepted.any() else None)

        return AttackView(
            attack.knowledge if grants is None else grants,
            self.spec,
            seed,
            round_,
            cohort,
            np.sort(coalition),
            np.asarray(present, np.int64),
            self.model,
            lambda clients: self.honest(clients, round_),
            task,
            lambda: self.honest(benign, round_),
            lambda uploads: uploads.norms < 60 * self.scale,
            rehearse,
        )

    def defense_view(self, round_: int = 1, told: int | None = None, seed: int = 11) -> DefenseView:
        """What the server sees beside the uploads."""
        root = lambda samples: self.honest(np.array([9_999]))  # noqa: E731
        return DefenseView(self.spec, self.model, seed, round_, self.model.lr, told, root, TableTask())

    def local_data(self, clients: np.ndarray) -> LocalData:
        """Training pairs of `clients` and their vectors."""
        rng = generator(self.seed, "pairs", *map(int, clients))
        lengths = rng.integers(0, 9, clients.size)
        lengths[0] = 0
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        positive = rng.integers(0, self.items, ptr[-1])
        pairs = np.stack([positive, (positive + 1 + rng.integers(0, self.items - 1, ptr[-1])) % self.items], 1)
        users = torch.from_numpy(rng.normal(size=(clients.size, self.dim))).to(self.dtype)
        return LocalData(Pairs(clients, ptr, pairs.astype(np.int32)), users, self.model, self.items)

    def labelled(self, clients: np.ndarray, shape: tuple[int, ...] = (1, 8, 8), classes: int = 4) -> Labelled:
        """Labelled images of `clients`; the first client has none, every class occurs."""
        rng = generator(self.seed, "images", *map(int, clients))
        lengths = rng.integers(classes, 9, len(clients))
        lengths[0] = 0
        ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        x = torch.from_numpy(rng.normal(size=(ptr[-1], *shape))).to(self.dtype)
        y = torch.from_numpy(rng.permutation(np.arange(ptr[-1]) % classes))
        return Labelled(np.asarray(clients, np.int64), ptr, x, y, classes)


@dataclass
class Diverging(World):
    """A world in which the honest updates of the clients `lost` are `value` times what they were."""

    lost: tuple[int, ...] = ()
    value: float = np.nan

    def honest(self, clients: np.ndarray, round_: int = 1) -> UpdateBatch:
        updates = super().honest(clients, round_)
        return updates.scale(np.where(np.isin(updates.clients, self.lost), self.value, 1.0))


def made_dense(updates: UpdateBatch) -> UpdateBatch:
    """Return the same uploads with every block dense."""
    return UpdateBatch(updates.clients, updates.counts, {k: DenseBlock(b.dense()) for k, b in updates.blocks.items()})
