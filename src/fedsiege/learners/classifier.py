"""Image classifiers, trained federatedly: every parameter is shared, a client's upload is what local SGD changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from fedsiege.capabilities import Capability
from fedsiege.checks import check_choice, is_count, is_real, require
from fedsiege.data.federated import FederatedImages
from fedsiege.errors import ConfigError
from fedsiege.learners.base import (
    Goal,
    Job,
    Labelled,
    ModelView,
    Scores,
    State,
    Trained,
    VirtualTask,
)
from fedsiege.learners.fused import fused
from fedsiege.learners.local_sgd import Params, Shard, all_at_once, obstacle, one_by_one
from fedsiege.metrics.classification import accuracy, classify, success, vote
from fedsiege.rng import generator, key
from fedsiege.updates import BlockSpec, DenseBlock, ModelSpec, UpdateBatch

PROVIDES: frozenset[Capability] = frozenset({"labels", "root", "virtual", "vote"})
SCORED = 500
"""Test images that are scored at once."""


@dataclass(frozen=True)
class ClassifierConfig:
    """What all classifiers share: local SGD and where it runs.

    Reference: McMahan et al., AISTATS 2017 (FedAvg); defaults of Xie et al., ICML 2024, appendix A.5.

    Parameters
    ----------
    lr : float
        Learning rate of local SGD, > 0.
    epochs : int
        Local epochs, ≥ 1.
    batch : int
        Batch size, ≥ 1.
    device : str
        ``"auto"`` (a GPU if there is one), or a torch device.
    together : {"auto", "always", "never"}
        Whether clients train as one batched computation; auto does so on a GPU, and on a CPU for a network without
        convolutions, where it was measured to be faster (benchmarks/). The updates are equal up to rounding. Networks
        that draw random numbers (Dropout), whose samples act on each other in a batch (BatchNorm without running
        statistics), or that ``torch.func.vmap`` cannot take (branches that depend on data) train one by one; always
        refuses them.
    """

    name: ClassVar[str] = ""
    data: ClassVar[str] = "images"
    metric: ClassVar[str | None] = "TACC"
    provides: ClassVar[frozenset[Capability]] = PROVIDES
    federation: ClassVar[dict[str, Any]] = {
        "rounds": 500, "cohort": 1.0, "malicious": 0.28, "reserved": 0.0, "evaluate_every": 10, "project_every": 50,
    }  # fmt: skip
    server: ClassVar[dict[str, Any]] = {"optimizer": "sgd", "lr": 1.0}
    # 0.1 suits matrix factorisation; norms of classifiers depend on network and rate.
    defenses: ClassVar[Mapping[str, Mapping[str, Any]]] = {"normbound": {"bound": None}}
    lr: float = 1e-3
    epochs: int = 1
    batch: int = 32
    device: str = "auto"
    together: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        require(is_real(self.lr) and self.lr > 0, f"{self.name}.lr", self.lr, "a finite number above 0")
        for what in ("epochs", "batch"):
            value = getattr(self, what)
            require(is_count(value) and value >= 1, f"{self.name}.{what}", value, "an int of at least 1")
        check_choice(f"{self.name}.together", self.together, ("auto", "always", "never"))

    def network(self, shape: tuple[int, ...], classes: int) -> torch.nn.Module:
        """Return the untrained network for inputs of `shape`."""
        raise NotImplementedError

    def build(self, dataset: Any, protocol: str, seed: int) -> Classifier:
        """Return the learner for `dataset`; ConfigError if it does not hold images."""
        if not isinstance(dataset, FederatedImages):
            raise ConfigError(
                f"model {self.name!r} classifies images; this data set holds interactions: take mf or sasrec"
            )
        return Classifier(self, dataset, seed)


def place(device: str) -> torch.device:
    """Return the device of that name; ConfigError if there is none."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} is not available here: {str(error).splitlines()[0]}") from error
    return found


def full_precision(device: torch.device) -> None:
    """Make float32 mean float32 on a GPU, and convolutions the same from run to run.

    By default cuDNN rounds the factors of convolutions to 10 bits (TF32) and may pick algorithms whose sums depend on
    chance. Verdicts of FedREDefense shall be those of float64, and runs repeatable.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic = True


def trial(module: torch.nn.Module, shape: tuple[int, ...]) -> tuple[bool, bool]:
    """Return whether `module` draws random numbers in training, as Dropout does, and whether there is what to train.

    It is on the CPU and reads inputs of `shape`.
    """
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        output = module(torch.zeros((2, *shape)))
        return not torch.equal(before, torch.get_rng_state()), output.requires_grad


@dataclass
class Classifier:
    """The learner of a :class:`ClassifierConfig`.

    Each round a client draws its batches anew, and so does its network (Dropout), addressed by seed, round and client,
    so its upload has the same bits wherever it stands in the cohort (where clients train together: up to rounding).
    Sample counts are those of the clients' own data; what an attack adds to it does not count.
    """

    provides: ClassVar[frozenset[Capability]] = PROVIDES
    config: ClassifierConfig
    dataset: FederatedImages
    seed: int
    decay: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw the initial network and bring the training images to the device."""
        images, partition = self.dataset.dataset, self.dataset.partition
        self.device = place(self.config.device)
        full_precision(self.device)
        self.num_clients = partition.clients
        self.classes = len(images.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(self.seed, "init") % 2**63)
            module = self.config.network(images.shape, self.classes)
        if next(module.buffers(), None) is not None:
            raise ConfigError(f"model {self.config.name!r} has buffers (as BatchNorm has), which FedAvg cannot average")
        try:
            self.draws, trains = trial(module, images.shape)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"model {self.config.name!r} cannot read inputs of shape {images.shape}: {reason}"
            ) from error
        if not trains:
            raise ConfigError(
                f"model {self.config.name!r} has nothing to train: no parameter with requires_grad reaches its output"
            )
        self.together = self._may_train_together(module)
        self.module = module.to(self.device)
        self.initial = {name: p.detach().clone() for name, p in module.named_parameters()}
        self.spec = ModelSpec(tuple(BlockSpec(name, tuple(p.shape)) for name, p in self.initial.items()))
        if self.device.type == "cpu" and any(isinstance(m, torch.nn.MaxPool2d) for m in module.modules()):
            # On a CPU max pooling is vectorised over channels only; with average pooling the usual order is faster.
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The same parameters: what one of the two is given, the other has.
        self.quick = fused(self.module) if self.device.type == "cpu" else self.module
        self.pixels = torch.tensor(images.train.images, device=self.device)
        self.labels = torch.tensor(images.train.labels, device=self.device)

    def _may_train_together(self, module: torch.nn.Module) -> bool:
        """Return whether clients train as one batched computation; ConfigError if they shall and cannot.

        `module` is on the CPU.
        """
        name, wish = self.config.name, self.config.together
        convolves = any(isinstance(m, torch.nn.modules.conv._ConvNd) for m in module.modules())
        if wish == "never" or (wish == "auto" and self.device.type == "cpu" and convolves):
            return False
        if self.draws:
            why = "draws random numbers in training, as Dropout does, and clients cannot each have their own"
        else:
            train = self.dataset.dataset.train
            some = np.arange(3) % len(train)
            why = obstacle(module, self._normalise(torch.tensor(train.images[some])), torch.tensor(train.labels[some]))
        if why and wish == "always":
            raise ConfigError(
                f"clients cannot train together: model {name!r} {why}; take {name}.together = 'never' or 'auto'"
            )
        return not why

    def init(self) -> dict[str, torch.Tensor]:
        """Return the initial parameters."""
        return {name: p.clone() for name, p in self.initial.items()}

    def _params(self, model: ModelView) -> Params:
        return {name: model.param(name) for name in self.spec.names}

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        images = self.dataset.dataset
        mean = torch.tensor(images.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(images.std, device=pixels.device)[:, None, None]
        return (pixels.float() / 255 - mean) / std

    def _held(self, clients: np.ndarray) -> Labelled:
        """Return the training samples of `clients`."""
        partition = self.dataset.partition
        parts = [partition.index[partition.ptr[c] : partition.ptr[c + 1]] for c in clients]
        index = torch.from_numpy(np.concatenate([*parts, np.empty(0, np.int64)]))
        ptr = np.concatenate([[0], np.cumsum([p.size for p in parts], dtype=np.int64)])
        return Labelled(clients, ptr, self._normalise(self.pixels[index]), self.labels[index], self.classes)

    def _shards(self, held: Labelled, round_: int, purpose: str = "local") -> list[Shard]:
        shards = []
        for i, client in enumerate(held.clients):
            rows = slice(int(held.ptr[i]), int(held.ptr[i + 1]))
            rng = generator(self.seed, purpose, round_, int(client))
            size = rows.stop - rows.start
            order = np.stack([rng.permutation(size) for _ in range(self.config.epochs)])
            own = key(self.seed, f"{purpose}/network", round_, int(client)) % 2**63
            shards.append(Shard(held.x[rows], held.y[rows], order, own))
        return shards

    def _sgd(self, model: ModelView, shards: Sequence[Shard]) -> tuple[Params, np.ndarray]:
        train, module = (all_at_once, self.module) if self.together else (one_by_one, self.quick)
        return train(module, self._params(model), shards, self.config.lr, self.config.batch)

    def train(self, model: ModelView, job: Job) -> Trained:
        """Train the clients of the job; see `Learner.train`.

        Raises
        ------
        ConfigError
            For a job that starts from the clients' own updates or has an item task.
        """
        if job.start is not None or job.task is not None:
            raise ConfigError(
                "classifiers train in whole epochs: what needs a second local step or an item task cannot run on them; "
                "choose another attack or defense, or a recommender"
            )
        bad = np.zeros(job.clients.size, bool) if job.poison is None or job.poisoned is None else job.poisoned
        good = self._held(job.clients[~bad])
        shards: list[Shard] = [Shard(good.x[:0], good.y[:0], np.empty((0, 0), np.int64))] * job.clients.size
        for where, shard in zip(np.flatnonzero(~bad), self._shards(good, job.round), strict=True):
            shards[where] = shard
        if bad.any():
            assert job.poison is not None
            changed = job.poison(self._held(job.clients[bad]))
            assert isinstance(changed, Labelled)
            for where, shard in zip(np.flatnonzero(bad), self._shards(changed, job.round), strict=True):
                shards[where] = shard
        updates, loss = self._sgd(model, shards)
        counts = np.diff(self.dataset.partition.ptr)[job.clients].astype(np.float64)
        blocks = {name: DenseBlock(updates[name]) for name in self.spec.names}
        return Trained(UpdateBatch(job.clients, counts, blocks), loss)

    def task_update(self, model: ModelView, job: Job) -> UpdateBatch:
        """Raise ConfigError: there is no item table for an extra task."""
        raise ConfigError("classifiers have no item table, so no task on it")

    def root_update(self, model: ModelView, samples: int, round_: int) -> UpdateBatch:
        """Return the update of local training on the server's clean samples.

        They are drawn once from all training images, whether clients hold these or not.
        """
        total = self.labels.numel()
        chosen = torch.from_numpy(generator(self.seed, "root").permutation(total)[:samples])
        held = Labelled(
            np.array([-1]), np.array([0, chosen.numel()]), self._normalise(self.pixels[chosen]), self.labels[chosen],
            self.classes,
        )  # fmt: skip
        updates, _ = self._sgd(model, self._shards(held, round_, "root-batches"))
        blocks = {name: DenseBlock(updates[name]) for name in self.spec.names}
        return UpdateBatch(held.clients, np.array([float(samples)]), blocks)

    @cached_property
    def _virtual(self) -> VirtualTask:
        from fedsiege.learners.virtual import ModuleTask

        return ModuleTask(self.module, self.dataset.dataset.shape, self.classes, self.spec)

    def virtual(self) -> VirtualTask:
        """Return training on distilled images with soft labels."""
        return self._virtual

    def _predictor(self, model: ModelView) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what maps inputs to predicted classes under `model`, −1 for none."""
        own = dict(self.module.named_parameters())
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(model.param(name))

        def predict(x: torch.Tensor) -> torch.Tensor:
            training = [part for part in self.quick.modules() if part.training]
            self.quick.eval()
            with torch.no_grad():
                found = torch.cat([classify(self.quick(part)) for part in x.split(SCORED)])
            for part in training:
                part.training = True
            return found

        return predict

    @cached_property
    def _test(self) -> tuple[torch.Tensor, torch.Tensor]:
        test = self.dataset.dataset.test
        x = self._normalise(torch.tensor(test.images, device=self.device))
        return x, torch.tensor(test.labels, device=self.device)

    def evaluate(
        self, model: ModelView, clients: np.ndarray, ks: tuple[int, ...], round_: int, goal: Goal | None = None
    ) -> Scores:
        """Return ``TACC``, and ``ASR`` if there is a goal, on the official test images (in [0, 1])."""
        return self.vote([model], goal)

    def vote(self, models: Sequence[ModelView], goal: Goal | None = None) -> Scores:
        """Score the majority vote of `models`; see `evaluate`."""
        x, y = self._test
        triggered = x if goal is None or goal.trigger is None else goal.trigger(x)
        plain, hit = [], []
        for model in models:
            predict = self._predictor(model)
            plain.append(predict(x))
            hit.append(plain[-1] if triggered is x else predict(triggered))
        scores = {"TACC": accuracy(vote(plain, self.classes), y)}
        if goal is not None:
            scores["ASR"] = success(vote(hit, self.classes), y, goal.target, goal.source)
        return {"test": scores}

    def state(self) -> State:
        """Return an empty tree: nothing is personal."""
        return {}

    def load(self, state: State) -> None:
        """Take over a saved `state`: there is nothing to take."""
