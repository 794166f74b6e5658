"""Classifiers: local SGD against a loop over plain modules, together and one by one, scores, and what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsiege.attacks.label_flip import LabelFlip
from fedsiege.errors import ConfigError
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.learners.base import Goal, Job, Labelled
from fedsiege.learners.classifier import Classifier, ClassifierConfig, full_precision
from fedsiege.learners.cnn import CNNConfig
from fedsiege.learners.convnet import ConvNetConfig
from fedsiege.learners.local_sgd import Shard, all_at_once, one_by_one
from fedsiege.learners.mlp import MLPConfig
from fedsiege.learners.networks import conv_net, table_cnn
from fedsiege.learners.torch_module import TorchModuleConfig
from fedsiege.rng import generator
from tests.pictures import pictures

EVERYONE = np.arange(5)


def learner(config: ClassifierConfig | None = None, **sizes: object) -> Classifier:
    config = config or MLPConfig(together="never", batch=8)
    made = config.build(pictures(**sizes), "fair", 0)  # type: ignore[arg-type]
    assert isinstance(made, Classifier)
    return made


def view(made: Classifier) -> ServerModel:
    return ServerModel(made.spec, made.init(), ServerConfig("sgd", 1.0))


def naive(made: Classifier, client: int, round_: int) -> tuple[dict[str, torch.Tensor], float]:
    """Local SGD with torch's own optimizer on a copy of the module, batches drawn at the documented address."""
    data, partition, config = made.dataset.dataset, made.dataset.partition, made.config
    index = partition.index[partition.ptr[client] : partition.ptr[client + 1]]
    x = torch.from_numpy(data.normalised("train")[index])
    y = torch.from_numpy(data.train.labels[index])
    module = copy.deepcopy(made.module)
    module.load_state_dict(made.init())
    sgd = torch.optim.SGD(module.parameters(), lr=config.lr)
    rng, losses = generator(made.seed, "local", round_, client), []
    orders = [rng.permutation(index.size) for _ in range(config.epochs)]
    for order in orders:
        for start in range(0, index.size, config.batch):
            rows = order[start : start + config.batch]
            sgd.zero_grad()
            loss = torch.nn.CrossEntropyLoss()(module(x[rows]), y[rows])
            loss.backward()
            sgd.step()
            losses.append(loss.item())
    before = made.init()
    return {k: (p.detach() - before[k]) for k, p in module.named_parameters()}, float(np.mean(losses or np.nan))


@pytest.mark.parametrize("config", [MLPConfig(together="never", batch=8, epochs=2), CNNConfig(lr=0.05, batch=10)])
def test_an_upload_is_what_plain_local_sgd_changes(config: ClassifierConfig) -> None:
    made = learner(config, side=12)
    trained = made.train(view(made), Job(EVERYONE, 3))
    assert trained.updates.counts.tolist() == [20, 7, 0, 33, 12]
    for client in EVERYONE:
        expected, loss = naive(made, client, 3)
        for name, block in trained.updates.blocks.items():
            torch.testing.assert_close(block.dense()[client], expected[name], rtol=1e-4, atol=1e-6)
        assert trained.loss[client] == pytest.approx(loss, rel=1e-5, nan_ok=True)
    assert not any(block.dense()[2].any() for block in trained.updates.blocks.values())


def test_an_upload_has_the_same_bits_wherever_the_client_stands() -> None:
    made = learner()
    model = view(made)
    alone = made.train(model, Job(np.array([3]), 1)).updates
    together = made.train(model, Job(np.array([0, 3, 4]), 1)).updates
    for name, block in alone.blocks.items():
        assert torch.equal(block.dense()[0], together.blocks[name].dense()[1])
    later = made.train(model, Job(np.array([3]), 2)).updates
    assert not torch.equal(later.blocks["1.weight"].dense()[0], alone.blocks["1.weight"].dense()[0])


@pytest.mark.parametrize(
    ("network", "side"), [(lambda: table_cnn((1, 12, 12), 3), 12), (lambda: conv_net((1, 8, 8), 3, 4), 8)]
)
@pytest.mark.parametrize("chunk", [1, 2**30])
def test_training_together_equals_training_one_by_one(network: object, side: int, chunk: int, monkeypatch) -> None:
    monkeypatch.setattr("fedsiege.learners.local_sgd.CHUNK", chunk)
    torch.manual_seed(0)
    module = network()  # type: ignore[operator]
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    rng = np.random.default_rng(0)
    shards = []
    for size in (20, 7, 0, 33):
        order = np.stack([rng.permutation(size) for _ in range(2)])
        x = torch.from_numpy(rng.normal(size=(size, 1, side, side)).astype(np.float32))
        shards.append(Shard(x, torch.from_numpy(rng.integers(0, 3, size)), order))
    one, loss = one_by_one(module, params, shards, 0.05, 8)
    many, loss_many = all_at_once(module, params, shards, 0.05, 8)
    for name in params:
        torch.testing.assert_close(many[name], one[name], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(loss_many, loss, rtol=1e-4)


def test_no_client_gives_no_update() -> None:
    for together in ("always", "never"):
        made = learner(MLPConfig(together=together))  # type: ignore[arg-type]
        trained = made.train(view(made), Job(np.empty(0, np.int64), 1))
        assert trained.updates.n == trained.loss.size == 0
        trained.updates.check(made.spec)


def test_clients_train_together_where_that_was_measured_to_be_faster() -> None:
    assert learner(MLPConfig()).together
    assert not learner(CNNConfig(), side=12).together
    assert learner(CNNConfig(together="always"), side=12).together


def test_poisoned_clients_train_on_what_the_attack_returns() -> None:
    made, bad = learner(), np.array([False, True, False, True])
    clients = np.array([0, 1, 3, 4])
    seen: list[Labelled] = []

    def flip(data: object) -> Labelled:
        assert isinstance(data, Labelled)
        seen.append(data)
        flipped = LabelFlip().poison(data, np.random.default_rng(0))
        assert isinstance(flipped, Labelled)
        return flipped

    model = view(made)
    honest = made.train(model, Job(clients, 1)).updates
    mixed = made.train(model, Job(clients, 1, poison=flip, poisoned=bad)).updates
    assert seen[0].clients.tolist() == [1, 4]
    assert seen[0].ptr.tolist() == [0, 7, 19]
    assert seen[0].num_classes == 3
    partition = made.dataset.partition
    np.testing.assert_array_equal(
        seen[0].y[:7].numpy(), made.dataset.dataset.train.labels[partition.index[partition.ptr[1] : partition.ptr[2]]]
    )
    same = [torch.equal(mixed.blocks["1.weight"].dense()[i], honest.blocks["1.weight"].dense()[i]) for i in range(4)]
    assert same == [True, False, True, False]


def test_the_root_update_is_that_of_as_many_clean_samples_and_the_same_data_each_round() -> None:
    made = learner(MLPConfig(together="never", batch=1000))
    model = view(made)
    first, second = made.root_update(model, 30, 1), made.root_update(model, 30, 2)
    first.check(made.spec)
    assert first.counts.tolist() == [30]
    # One batch of all samples: its order does not matter, so equal updates mean equal samples.
    for name, block in first.blocks.items():
        torch.testing.assert_close(block.dense(), second.blocks[name].dense(), rtol=1e-4, atol=1e-7)


def test_the_root_update_is_one_step_on_the_samples_that_the_seed_draws() -> None:
    made = learner(MLPConfig(together="never", batch=1000, lr=0.1))
    model = view(made)
    train = made.dataset.dataset.train
    chosen = generator(made.seed, "root").permutation(train.labels.size)[:30]
    x = torch.from_numpy(made.dataset.dataset.normalised("train"))[chosen].double()
    y = torch.from_numpy(np.asarray(train.labels)[chosen]).long()
    start = {name: model.param(name).double().clone().requires_grad_() for name in made.spec.names}
    loss = torch.nn.functional.cross_entropy(torch.func.functional_call(made.module.double(), start, (x,)), y)
    gradient = torch.autograd.grad(loss, list(start.values()))
    made.module.float()
    update = made.root_update(model, 30, 1)
    for name, slope in zip(start, gradient):
        torch.testing.assert_close(update.blocks[name].dense()[0].double(), -0.1 * slope, rtol=1e-3, atol=1e-6)


def test_training_learns_and_scores_are_those_of_the_test_pictures() -> None:
    made = learner(MLPConfig(together="never", lr=0.1, batch=8), sizes=(150, 150))
    model = view(made)
    before = made.evaluate(model, EVERYONE, (5,), 0)["test"]["TACC"]
    for round_ in range(1, 6):
        updates = made.train(model, Job(np.arange(2), round_)).updates
        model.apply(updates.weighted_sum(np.array([0.5, 0.5])))
    scores = made.evaluate(model, EVERYONE, (5,), 5, Goal(1, None, torch.zeros_like))["test"]
    assert scores["TACC"] > max(before, 0.9)
    x, y = torch.from_numpy(made.dataset.dataset.normalised("test")), made.dataset.dataset.test.labels
    made.module.load_state_dict({name: model.param(name) for name in made.spec.names})
    assert scores["TACC"] == pytest.approx(float((made.module(x).argmax(1).numpy() == y).mean()))
    blank = int(made.module(torch.zeros_like(x[:1])).argmax())
    assert scores["ASR"] == (1.0 if blank == 1 else 0.0)
    # With a trigger that turns every picture blank all go where the blank one goes; without it few do.
    for target in range(made.classes):
        hit, plain = (made.evaluate(model, EVERYONE, (5,), 5, Goal(target, None, t)) for t in (torch.zeros_like, None))
        assert hit["test"]["ASR"] == (target == blank)
        assert plain["test"]["ASR"] == pytest.approx(
            float((made.module(x[y != target]).argmax(1) == target).float().mean())
        )


def test_a_model_of_nan_predicts_nothing() -> None:
    made = learner()
    sound, broken = view(made), view(made)
    for name in made.spec.names:
        broken.param(name).fill_(torch.nan)
    goal = Goal(0)
    assert made.evaluate(broken, EVERYONE, (), 1, goal)["test"] == {"TACC": 0.0, "ASR": 0.0}
    alone = made.evaluate(sound, EVERYONE, (), 1, goal)
    assert made.vote([broken, sound, broken], goal) == alone


def test_the_network_is_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = learner().init()
    torch.manual_seed(6)
    state = torch.random.get_rng_state()
    second = learner().init()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = MLPConfig().build(pictures(), "fair", 1).init()
    assert not torch.equal(first["1.weight"], other["1.weight"])


def with_buffers(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten())


def plain(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), classes))


def test_a_module_of_ones_own_trains(monkeypatch) -> None:
    made = learner(TorchModuleConfig(make="tests.learners.test_classifier:plain"))
    assert made.spec.names == ("1.weight", "1.bias")
    assert made.train(view(made), Job(EVERYONE, 1)).updates.n == 5


def with_dropout(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    size = int(np.prod(shape))
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(size, classes))


class Thins(torch.nn.Linear):
    """A layer whose draws no look at its type would tell."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(x.flatten(1), training=self.training))


def thins(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return Thins(int(np.prod(shape)), classes)


class Partly(torch.nn.Module):
    """A frozen layer, one that is trained, and one that nobody reads."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.spare, self.frozen = torch.nn.Linear(3, 2), torch.nn.Linear(size, 6)
        self.frozen.requires_grad_(False)
        self.last = torch.nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.frozen(x.flatten(1))))


def partly(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return Partly(int(np.prod(shape)), classes)


def all_frozen(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return plain(shape, classes).requires_grad_(False)


def normed(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    size = int(np.prod(shape))
    norm = torch.nn.BatchNorm1d(5, track_running_stats=False)
    last = torch.nn.Linear(5, classes)
    torch.nn.init.zeros_(last.weight)  # What the batch does is not seen in the first output.
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, 5), norm, torch.nn.ReLU(), last)


class Branches(torch.nn.Linear):
    """A layer whose way depends on its data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x.flatten(1))
        return out if out.sum() > 0 else 2 * out


def branches(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return Branches(int(np.prod(shape)), classes)


def own(make: str, **changes: object) -> Classifier:
    return learner(TorchModuleConfig(make=f"tests.learners.test_classifier:{make}", lr=0.1, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("together", ["never", "always"])
def test_what_is_frozen_or_never_read_gets_a_zero_update(together: str) -> None:
    made = own("partly", together=together, batch=8)
    model = view(made)
    trained = made.train(model, Job(EVERYONE, 3)).updates.blocks
    root = made.root_update(model, 30, 1).blocks
    assert list(trained) == ["spare.weight", "spare.bias", "frozen.weight", "frozen.bias", "last.weight", "last.bias"]
    for name, block in trained.items():
        moves = name.startswith("last")
        assert bool(block.dense()[0].any()) == bool(root[name].dense().any()) == moves
        assert block.dense().shape == (5, *model.param(name).shape)
    for client in EVERYONE:
        expected, _ = naive(made, client, 3)
        for name, block in trained.items():
            torch.testing.assert_close(block.dense()[client], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", ["normed", "branches"])
def test_networks_that_cannot_train_together_train_one_by_one(make: str) -> None:
    made = own(make, batch=10)
    assert not made.together
    assert own("plain").together
    trained = made.train(view(made), Job(EVERYONE, 3)).updates.blocks
    for client in EVERYONE:
        expected, _ = naive(made, client, 3)
        for name, block in trained.items():
            torch.testing.assert_close(block.dense()[client], expected[name], rtol=1e-4, atol=1e-6)


def test_the_trial_of_training_together_leaves_no_trace() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    made = learner(MLPConfig(together="always"))
    assert torch.equal(torch.get_rng_state(), before)
    for name, p in made.module.named_parameters():
        assert torch.equal(p, made.init()[name])
        assert p.grad is None


def no_module(shape: tuple[int, ...], classes: int) -> list[int]:
    return [*shape, classes]


def too_narrow(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    return torch.nn.Linear(3, classes)


@pytest.mark.parametrize("make", ["with_dropout", "thins"])
def test_what_a_network_draws_belongs_to_seed_round_and_client(make: str) -> None:
    made = learner(TorchModuleConfig(make=f"tests.learners.test_classifier:{make}"))
    assert made.draws
    assert not made.together
    before = torch.get_rng_state()

    def flat(clients: list[int], round_: int = 1) -> torch.Tensor:
        return made.train(view(made), Job(np.array(clients), round_)).updates.flat()

    first = flat([0, 1, 3])
    torch.manual_seed(9)
    torch.testing.assert_close(flat([3, 0]), first[[2, 0]], rtol=0, atol=0)
    assert not torch.equal(flat([0], 2)[0], first[0])
    torch.set_rng_state(before)
    flat([0])
    assert torch.equal(torch.get_rng_state(), before)
    # The update is not that of a network that drops nothing.
    made.module.eval()
    assert not torch.equal(flat([0])[0], first[0])


def test_scores_are_those_of_evaluation_mode() -> None:
    made = learner(TorchModuleConfig(make="tests.learners.test_classifier:with_dropout"))
    model = view(made)
    test = made.dataset.dataset.test
    linear = copy.deepcopy(made.module[2])
    with torch.no_grad():
        for name, p in linear.named_parameters():
            p.copy_(model.param(f"2.{name}"))
        x = torch.from_numpy(made.dataset.dataset.normalised("test")).flatten(1)
        right = (linear(x).argmax(1).numpy() == test.labels).mean()
    for _ in range(2):
        assert made.evaluate(model, EVERYONE, (), 1)["test"]["TACC"] == pytest.approx(right)
    assert made.module[1].training


def test_samples_that_an_attack_adds_do_not_count() -> None:
    made = learner()

    def doubled(held: Labelled) -> Labelled:
        ptr = held.ptr * 2
        index = np.concatenate([np.tile(np.arange(a, b), 2) for a, b in zip(held.ptr, held.ptr[1:])])
        return replace(held, ptr=ptr, x=held.x[index], y=held.y[index])

    job = Job(EVERYONE, 1, poison=doubled, poisoned=np.array([False, True, False, True, False]))
    assert made.train(view(made), job).updates.counts.tolist() == [20, 7, 0, 33, 12]


def test_a_gpu_computes_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ((torch.backends.cudnn, "allow_tf32"), (torch.backends.cudnn, "deterministic"))
    flags += ((torch.backends.cuda.matmul, "allow_tf32"),)
    before = [getattr(*flag) for flag in flags]
    try:
        full_precision(torch.device("cpu"))
        assert [getattr(*flag) for flag in flags] == before
        full_precision(torch.device("cuda"))
        assert [getattr(*flag) for flag in flags] == [False, True, False]
    finally:
        for flag, value in zip(flags, before, strict=True):
            setattr(*flag, value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TorchModuleConfig(make="tests.learners.test_classifier:with_buffers"), "buffers"),
        (TorchModuleConfig(make="tests.learners.test_classifier:with_dropout", together="always"), "random numbers"),
        (TorchModuleConfig(make="tests.learners.test_classifier:too_narrow"), r"inputs of shape \(1, 8, 8\)"),
        (TorchModuleConfig(make="tests.learners.test_classifier:nothing"), "AttributeError"),
        (TorchModuleConfig(make="tests.learners.test_classifier:no_module"), "list, which is not a torch.nn.Module"),
        (TorchModuleConfig(make="builtins:max"), "failed: TypeError"),
        (TorchModuleConfig(make="tests.learners.test_classifier:all_frozen"), "nothing to train"),
        (
            TorchModuleConfig(make="tests.learners.test_classifier:normed", together="always"),
            "samples of a batch act on each other.*together = 'never'",
        ),
        (
            TorchModuleConfig(make="tests.learners.test_classifier:branches", together="always"),
            "vmap.*together = 'never'",
        ),
        (CNNConfig(), "at least 10 × 10"),
        (replace(MLPConfig(), device="cuda:99"), "not available|device"),
    ],
)
def test_what_cannot_train_is_refused_with_the_reason(config: ClassifierConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        learner(config)


def test_fields_out_of_range_are_refused() -> None:
    for wrong in ({"lr": 0.0}, {"epochs": 0}, {"batch": 2.5}, {"hidden": (0,)}, {"together": "allways"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            MLPConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="width"):
        ConvNetConfig(width=0)
    with pytest.raises(ConfigError, match="holds interactions"):
        MLPConfig().build(object(), "fair", 0)


def test_the_published_networks_have_the_published_sizes() -> None:
    def size(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert size(conv_net((1, 28, 28), 10)) == 317_706
    assert size(conv_net((3, 32, 32), 10)) == 320_010
    assert table_cnn((1, 28, 28), 10)[7].in_features == 50 * 5 * 5
    assert table_cnn((3, 32, 32), 10)[7].out_features == 512


def test_jobs_that_classifiers_cannot_do_are_refused() -> None:
    made = learner()
    updates = made.train(view(made), Job(EVERYONE, 1)).updates
    with pytest.raises(ConfigError, match="second local step"):
        made.train(view(made), Job(EVERYONE, 1, start=updates))
    with pytest.raises(ConfigError, match="item table"):
        made.task_update(view(made), Job(EVERYONE, 1))
