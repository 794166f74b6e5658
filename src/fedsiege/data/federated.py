"""A data set of images, divided among clients."""

from __future__ import annotations

from dataclasses import dataclass

from fedsiege.data.images import ImageDataset
from fedsiege.data.partition import Partition


@dataclass(frozen=True)
class FederatedImages:
    """Who holds which training images.

    Parameters
    ----------
    dataset : ImageDataset
        All images.
    partition : Partition
        The training images of each client.
    """

    dataset: ImageDataset
    partition: Partition

    @property
    def info(self) -> dict[str, str | int]:
        """Where the data came from."""
        return self.dataset.info
