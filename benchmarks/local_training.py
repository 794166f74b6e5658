"""Local training of many clients: side by side or one after another: ``python benchmarks/local_training.py``.

For each network one round of local SGD of all clients, as one batched computation and one by one, on pictures of noise
(the time does not depend on them), in the same run: median seconds, their ratio, the largest difference between the
updates relative to the largest update, and what the automatic mode chooses. ``--device cuda`` measures a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

from fedsiege.data.federated import FederatedImages
from fedsiege.data.images import ImageDataset, ImageSet
from fedsiege.data.partition import Partition
from fedsiege.federation.server import ServerConfig, ServerModel
from fedsiege.learners.base import Job
from fedsiege.learners.classifier import Classifier, ClassifierConfig
from fedsiege.learners.cnn import CNNConfig
from fedsiege.learners.convnet import ConvNetConfig
from fedsiege.learners.mlp import MLPConfig

NETWORKS: dict[str, type[ClassifierConfig]] = {"mlp": MLPConfig, "cnn": CNNConfig, "convnet": ConvNetConfig}


def noise(clients: int, samples: int, shape: tuple[int, int, int]) -> FederatedImages:
    """Return pictures of noise, `samples` for each client."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> ImageSet:
        return ImageSet(rng.integers(0, 256, (n, *shape)).astype(np.uint8), rng.integers(0, 10, n))

    total = clients * samples
    channels = (0.5,) * shape[0]
    dataset = ImageDataset("noise", draw(total), draw(10), tuple("0123456789"), channels, channels, {})
    return FederatedImages(dataset, Partition(np.arange(clients + 1) * samples, np.arange(total)))


def measure(data: FederatedImages, config: ClassifierConfig, repeats: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the median seconds of a round of all clients, and its updates."""
    learner = config.build(data, "fair", 0)
    model = ServerModel(learner.spec, learner.init(), ServerConfig("sgd", 1.0))
    job = Job(np.arange(learner.num_clients), 1)
    taken, updates = [], learner.train(model, job).updates
    for _ in range(repeats):
        started = time.perf_counter()
        updates = learner.train(model, job).updates
        if learner.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken), {name: block.dense() for name, block in updates.blocks.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    data = noise(asked.clients, asked.samples, (1, 28, 28))
    print(f"{asked.clients} clients of {asked.samples} pictures, {torch.get_num_threads()} threads, {asked.device}")
    for name in asked.networks:
        options: dict[str, Any] = {"device": asked.device}
        alone, one = measure(data, NETWORKS[name](together="never", **options), asked.repeats)
        joint, many = measure(data, NETWORKS[name](together="always", **options), asked.repeats)
        largest = max(float(update.abs().max()) for update in one.values())
        apart = max(float((many[k] - one[k]).abs().max()) for k in one) / largest
        chosen = Classifier(NETWORKS[name](**options), data, 0).together
        print(
            f"{name:<8} one by one {alone:7.2f} s   together {joint:7.2f} s   ratio {alone / joint:5.2f}   "
            f"difference {apart:.0e}   auto: {'together' if chosen else 'one by one'}"
        )


if __name__ == "__main__":
    main()
