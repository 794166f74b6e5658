"""Matrix factorisation's training on distilled users, as functions, and FedREDefense on top of it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsiege.arena.runs import assemble
from fedsiege.defenses.reconstruction import Optimisation, Problem, reconstruct, reconstruct_batched
from fedsiege.defenses.redefense import FedREDefense
from fedsiege.errors import ConfigError
from fedsiege.federation import checkpoint
from fedsiege.federation.loop import Federation
from fedsiege.learners.base import AligningTask, Job
from fedsiege.learners.virtual_mf import MF_RATES, UserTask
from fedsiege.rng import generator
from fedsiege.updates import DenseBlock, RowBlock, UpdateBatch
from tests.learners.test_mf import build
from tests.small import small
from tests.trees import fingerprint
from tests.worlds import StaticModel, made_dense

DIM, ITEMS = 6, 20


def upload(rows: list[int], seed: int = 0) -> UpdateBatch:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(rows), DIM))).float()
    block = RowBlock(torch.tensor([0, len(rows)]), torch.tensor(rows), values, ITEMS)
    return UpdateBatch(np.array([3]), np.array([5.0]), {"items": block})


def drawn(count: int = 2) -> dict[str, torch.Tensor]:
    return UserTask(DIM).knowledge(count, generator(0, "users"))


def fit(defense: FedREDefense) -> Optimisation:
    rates = {"inputs": defense.input_lr, "labels": defense.label_lr, "rate": defense.rate_lr}
    return Optimisation(rates, defense.inner, defense.momentum)


def test_the_loss_is_a_cross_entropy_of_preferences_and_scores() -> None:
    rng = np.random.default_rng(1)
    users, labels, table = rng.normal(size=(3, DIM)), rng.normal(size=(3, 7)), rng.normal(size=(7, DIM))
    expected = 0.0
    for user, mine in zip(users, labels):
        for label, item in zip(mine, table):
            like = 1 / (1 + np.exp(-np.sqrt(7) * label))
            score = 1 / (1 + np.exp(-sum(a * b for a, b in zip(user, item))))
            expected -= 0.4 / np.sqrt(7) * (like * np.log(score) + (1 - like) * np.log(1 - score))
    known = {"inputs": users, "labels": labels, "scale": np.array(0.4)}
    loss = UserTask(DIM).loss(
        {"items": torch.from_numpy(table)}, {name: torch.from_numpy(value) for name, value in known.items()}
    )
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_the_loss_is_differentiable_twice_in_all_arguments() -> None:
    rng = np.random.default_rng(2)
    users, labels, table = (
        torch.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in ((2, DIM), (2, 4), (4, DIM))
    )

    def loss(u: torch.Tensor, y: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return UserTask(DIM).loss({"items": v}, {"inputs": u, "labels": y, "scale": torch.tensor(0.7).double()})

    assert torch.autograd.gradcheck(loss, (users, labels, table))
    assert torch.autograd.gradgradcheck(loss, (users, labels, table))


def test_the_clients_own_knowledge_reproduces_its_upload() -> None:
    learner, model = build(l2=0.0)
    task, client, length = learner.virtual(), 2, 0.5
    user = learner.users.weight[client].double().clone()
    one = learner.train(model, Job(np.array([client]), 1, commit=False)).updates
    assert isinstance(task, AligningTask)
    params, target = task.problem(model, one)
    known = task.align(task.knowledge(1, generator(0, "x")), one)
    rows, rate = known["rows"].numel(), 64.0
    # The upload is one coefficient a row times the user's vector; a short virtual user in its direction is labelled
    # so that preference minus score gives that coefficient.
    coefficients = target["items"].double() @ user / user.square().sum()
    virtual = length * user / user.norm()
    step = rate * known["scale"].double() / rows**0.5 * length / user.norm()
    like = (params["items"].double() @ virtual).sigmoid() + coefficients / step
    assert ((like > 0) & (like < 1)).all()
    known |= {"inputs": virtual[None], "labels": like.logit()[None] / rows**0.5, "rate": torch.tensor(rate)}
    result = reconstruct(task.loss, Problem(params, target, known, 0), Optimisation({}, inner=1), torch.float64)
    assert result.error < 1e-6
    assert list(result.knowledge) == list(known)
    assert torch.equal(result.knowledge["rows"], one.blocks["items"].rows)  # type: ignore[attr-defined]


def test_one_user_fits_honest_training_and_no_update_of_high_rank() -> None:
    learner, model = build(dropout=0.2, dim=32)
    task, how = learner.virtual(), fit(FedREDefense(**MF_RATES))
    assert isinstance(task, AligningTask)
    one = learner.train(model, Job(np.array([4]), 1, commit=False)).updates
    block = one.blocks["items"]
    assert isinstance(block, RowBlock)
    noise = torch.randn(block.values.shape, generator=torch.Generator().manual_seed(0)) * block.values.std()
    wild = UpdateBatch(one.clients, one.counts, {"items": replace(block, values=noise)})
    first = {**task.knowledge(1, generator(0, "x")), "rate": torch.tensor(64.0)}
    errors = []
    for each in (one, wild):
        problem = Problem(*task.problem(model, each), task.align(first, each), 400)
        errors.append(reconstruct(task.loss, problem, how).error)
    assert errors[0] < 0.45
    assert errors[1] > 0.8


def test_labels_follow_their_rows() -> None:
    task = UserTask(DIM)
    first = task.align(drawn(), upload([2, 5, 9]))
    assert not first["labels"].any()
    first["labels"] += torch.arange(1.0, 4.0)
    after = task.align(first, upload([0, 5, 9, 12]))
    assert after["labels"].tolist() == [[0, 2, 3, 0]] * 2
    assert after["rows"].tolist() == [0, 5, 9, 12]
    assert torch.equal(after["inputs"], first["inputs"])
    assert first["rows"].tolist() == [2, 5, 9]
    assert task.align(after, upload([15]))["labels"].tolist() == [[0], [0]]
    assert float(after["scale"]) == pytest.approx(upload([0, 5, 9, 12]).norms[0])


def test_dense_uploads_are_read_by_the_rows_they_change() -> None:
    task, sparse = UserTask(DIM), upload([1, 4, 17])
    model = StaticModel({"items": torch.randn(ITEMS, DIM, generator=torch.Generator().manual_seed(0))})
    dense = made_dense(sparse)
    assert isinstance(dense.blocks["items"], DenseBlock)
    assert fingerprint(task.problem(model, dense)) == fingerprint(task.problem(model, sparse))
    assert fingerprint(task.align(drawn(), dense)) == fingerprint(task.align(drawn(), sparse))
    params, target = task.problem(model, sparse)
    assert torch.equal(params["items"], model.params["items"][[1, 4, 17]])
    assert torch.equal(target["items"], sparse.blocks["items"].values)  # type: ignore[attr-defined]


def test_batches_agree_and_mix_uploads_of_any_size() -> None:
    task = pickle.loads(pickle.dumps(UserTask(DIM)))
    model = StaticModel({"items": torch.randn(ITEMS, DIM, generator=torch.Generator().manual_seed(0))})
    problems = []
    for seed, rows in enumerate(([1, 4, 17], [2, 3], [0, 4, 9])):
        each = upload(rows, seed)
        known = {**task.align(drawn(), each), "rate": torch.tensor(64.0)}
        problems.append(Problem(*task.problem(model, each), known, 20))
    how = fit(FedREDefense(**MF_RATES))
    alone = [reconstruct(task.loss, problem, how) for problem in problems]
    together = reconstruct_batched(task.loss, problems, how)
    for a, b in zip(alone, together):
        assert b.error == pytest.approx(a.error, rel=1e-4)
        assert set(a.knowledge) == set(b.knowledge)
        assert torch.equal(a.knowledge["rows"], b.knowledge["rows"])
        assert a.knowledge["rows"].dtype == b.knowledge["rows"].dtype == torch.int64


def federation(defense: str = "redefense") -> Federation:
    fields = {**MF_RATES, "gamma": 0.7, "first": 120, "later": 20, "workers": 1}
    plugin = {"name": defense, "redefense": fields} if "+" in defense else {"name": defense, **fields}
    options = {"rounds": 4, "malicious": 0.4, "reserved": 0.4, "evaluate_every": 4}
    return assemble(small(model={"name": "mf", "dim": 32}, defense=plugin, federation=options))[0]


@pytest.mark.parametrize("defense", ["redefense", "union+redefense"])
def test_a_federated_recommender_runs_and_resumes_to_the_same_bits(defense: str, tmp_path: Path) -> None:
    whole, cut = federation(defense), federation(defense)
    records = [whole.step() for _ in range(4)]
    for _ in range(2):
        cut.step()
    checkpoint.save(tmp_path / "state", cut.state())
    again = federation(defense)
    again.load(checkpoint.load(tmp_path / "state"))
    rest = [again.step() for _ in range(2)]
    assert [r.to_json() for r in rest] == [r.to_json() for r in records[2:]]
    assert fingerprint(again.state()) == fingerprint(whole.state())
    if defense == "redefense":
        first = records[0]
        assert 0 < first.malicious.sum() < first.malicious.size
        np.testing.assert_array_equal(first.verdicts.accepted, ~first.malicious)
        assert whole.expelled[whole.coalition].any()


def test_sasrec_is_refused_with_a_reason() -> None:
    words = "needs training on distilled knowledge, which model 'sasrec' does not offer"
    with pytest.raises(ConfigError, match=words):
        small(model={"name": "sasrec", "dim": 8}, defense="redefense")
