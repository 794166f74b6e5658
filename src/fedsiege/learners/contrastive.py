"""The contrastive task that UNION asks of its clients: InfoNCE between the items a client has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedsiege.checks import is_count, is_real, require
from fedsiege.errors import ConfigError
from fedsiege.kernels import contrastive as kernels


def check_contrast(prefix: str, alpha: object, negatives: object) -> None:
    """Check the settings of the contrastive task under the name of who has them (ConfigError)."""
    require(is_real(alpha) and float(alpha) >= 0, f"{prefix}.alpha", alpha, "a number of at least 0")  # type: ignore[arg-type]
    require(is_count(negatives) and negatives != 0, f"{prefix}.negatives", negatives, "a number of at least 1")


@dataclass(frozen=True)
class ContrastiveTask:
    """InfoNCE on item embeddings (Yu et al., AAAI 2023, Equation 4).

    For each item of the client one other item of the client is the positive and `negatives` items that the
    client has not touched are the negatives, drawn anew in every round; similarity is the inner product. The
    paper sums over anchors; the mean is taken here (as in the authors' code), as the BPR loss is a mean too.

    Parameters
    ----------
    alpha : float
        Weight of the task beside the recommendation loss, ≥ 0.
    negatives : int
        Negatives per anchor (P in the paper), ≥ 1.
    """

    alpha: float = 1.0
    negatives: int = 15

    def __post_init__(self) -> None:
        """Check ranges (ConfigError)."""
        check_contrast("contrastive", self.alpha, self.negatives)

    def draw(
        self, indptr: np.ndarray, items: np.ndarray, clients: np.ndarray, keys: np.ndarray, num_items: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return anchors, positives and negatives of `clients`; see `ItemTask.draw`.

        Raises
        ------
        ConfigError
            If a client has not left enough items untouched to draw its negatives from.
        """
        most = int((indptr[clients + 1] - indptr[clients]).max(initial=0))
        if num_items - most < self.negatives:
            # Only now it matters whether rows hold an item more than once.
            most = max(np.unique(items[indptr[client] : indptr[client + 1]]).size for client in clients)
        if num_items - most < self.negatives:
            raise ConfigError(
                f"the contrastive task draws {self.negatives} negatives, but a client has touched {most} of "
                f"{num_items} items; lower `negatives`"
            )
        return kernels.draw_contrasts(indptr, items, clients, keys, self.negatives, num_items)

    def accumulate(
        self,
        ptr: np.ndarray,
        slots: np.ndarray,
        table: np.ndarray,
        indptr: np.ndarray,
        rows: np.ndarray,
        values: np.ndarray,
    ) -> np.ndarray:
        """Add ``−alpha ×`` gradient to `values`; return the mean InfoNCE loss of each client."""
        return kernels.add_gradients(ptr, slots, table, indptr, rows, self.alpha, values)
