"""``fedsiege data`` and ``fedsiege list`` for images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedsiege.data import load_images
from fedsiege.data.partition import make
from fedsiege.rng import generator
from tests.data.pictures import made, write_idx


def test_info(fedsiege: Callable) -> None:
    said = fedsiege("data", "info", "digits")
    assert said.status == 0
    for words in ("1,442", "355", "1, 8, 8", "scikit-learn", "training pixels", "0.3052", "143, 146"):
        assert words in said.out
    found = json.loads(fedsiege("data", "info", "digits", "--json").out)
    assert found["classes"] == list("0123456789")
    assert (found["train"], found["shape"]) == (1442, [1, 8, 8])
    assert "partition" not in found


@pytest.mark.parametrize(
    ("words", "used"),
    [
        (["iid"], {}),
        (["dirichlet", "--beta", "0.1"], {"beta": 0.1, "minimum": 10, "balanced": True}),
        (["dirichlet", "--unbalanced", "--minimum", "3"], {"beta": 0.1, "minimum": 3, "balanced": False}),
        (["shards", "--per-client", "4"], {"per_client": 4}),
        (["shards", "--samples", "500"], {"per_client": 2, "samples": 500}),
    ],
)
def test_partition_as_numbers(fedsiege: Callable, tmp_path: Path, words: list[str], used: dict) -> None:
    said = fedsiege("data", "info", "digits", "--partition", *words, "--clients", 20, "--seed", 3, "--json")
    found = json.loads(said.out)["partition"]
    labels = load_images("digits").train.labels
    arguments = {key: value for key, value in used.items() if key in ("beta", "minimum", "balanced", "per_client")}
    rng = generator(3, "partition")
    if "samples" in used:
        labels = labels[np.sort(rng.permutation(labels.size)[: used["samples"]])]
    expected = make(words[0], labels, 20, rng, **arguments).counts(labels, 10)  # type: ignore[arg-type]
    assert found["counts"] == expected.tolist()
    assert {key: found[key] for key in used} == used
    assert (found["partition"], found["clients"], found["seed"]) == (words[0], 20, 3)
    assert (tmp_path / found["picture"]).read_bytes().startswith(b"\x89PNG")


def test_partition_as_a_table(fedsiege: Callable, tmp_path: Path) -> None:
    said = fedsiege("data", "info", "digits", "--partition", "shards", "--clients", 12, "--out", "who/p.svg")
    assert said.status == 0
    assert "partition shards, clients 12, per_client 2, seed 0" in said.out
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[-3][:1] == ["all"] or ["all", "143"] in [line[:2] for line in lines]
    assert sum(line[0] == str(client) for client in range(12) for line in lines if line) >= 12
    assert "picture: who/p.svg" in said.out
    assert (tmp_path / "who" / "p.svg").is_file()


def test_own_images(fedsiege: Callable, tmp_path: Path) -> None:
    write_idx(tmp_path / "mine", made(40, (1, 6, 6), 0), made(20, (1, 6, 6), 1))
    for more in ([], ["--format", "idx"]):
        found = json.loads(fedsiege("data", "info", "mine", *more, "--json").out)
        assert (found["name"], found["train"], found["format"]) == ("mine", 40, "idx")
    said = fedsiege("data", "info", "mine", "--partition", "iid", "--clients", 4)
    assert "picture: partition-mine.png" in said.out
    (tmp_path / "mine" / "train-labels-idx1-ubyte.gz").unlink()
    said = fedsiege("data", "info", "mine")
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert "has no train-labels-idx1-ubyte" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["synthetic", "--partition", "iid"], "--partition is for images, and in synthetic each user is a client"),
        (["digitz", "--partition", "iid"], "did you mean 'digits'"),
        (["digits", "--partition", "iid", "--out", "p.bmp"], "must end in .png"),
        (["digits", "--partition", "iid", "--clients", "2000"], "1 to 1442 clients"),
        (["digits", "--partition", "dirichlet", "--clients", "200"], "use at most 144 clients"),
        (["digits", "--format", "idx"], "has a format of its own"),
        (["digits", "--clients", "5"], "--clients is about who holds which images; add --partition, or leave it out"),
        (["synthetic", "--seed", "3"], "--seed is about who holds which images; leave it out, as these are none"),
        (["digits", "--samples", "50"], "--samples is about who holds which images"),
        (["digits", "--seed", "0"], "--seed is about who holds which images"),
        (["digits", "--out", "p.png"], "--out is about who holds which images"),
        (["synthetic", "--unbalanced"], "--unbalanced is about who holds which images"),
        (["digits", "--partition", "iid", "--beta", "0.1"], "--beta goes with --partition dirichlet, not with iid"),
        (["digits", "--partition", "shards", "--minimum", "10"], "--minimum goes with --partition dirichlet, not with"),
        (["digits", "--partition", "shards", "--unbalanced"], "--unbalanced goes with --partition dirichlet"),
        (["digits", "--partition", "dirichlet", "--per-client", "2"], "--per-client goes with --partition shards"),
        (["digits", "--partition", "shards", "--per-client", "0"], "--per-client is 0; it must be from 1 to 14"),
        (["digits", "--partition", "iid", "--samples", "9999"], "--samples is 9999; it must be a number of images"),
        (["digits", "--partition", "iid", "--samples", "50"], "50 samples can be parted among 1 to 50 clients"),
    ],
)
def test_refusals(fedsiege: Callable, tmp_path: Path, words: list[str], message: str) -> None:
    said = fedsiege("data", "info", *words)
    assert said.status == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


def test_fetch(fedsiege: Callable) -> None:
    assert "part of an installed package" in fedsiege("data", "fetch", "digits").out


def test_list(fedsiege: Callable) -> None:
    said = fedsiege("list", "datasets")
    assert "60,000 + 10,000 images of 1×28×28, 10 classes" in said.out
    assert "943 users, 1,682 items, 100,000 interactions" in said.out
    entries = {entry["name"]: entry for entry in json.loads(fedsiege("list", "datasets", "--json").out)["datasets"]}
    assert entries["cifar-10"]["kind"] == "images"
    assert (entries["cifar-10"]["train"], entries["cifar-10"]["shape"]) == (50_000, [3, 32, 32])
    assert (entries["ml-1m"]["kind"], entries["ml-1m"]["users"]) == ("interactions", 6040)
    assert "users" not in entries["digits"]
