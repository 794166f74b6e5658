"""DBA: a backdoor whose trigger is spread over the malicious clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.scaling import Scaling
from fedsiege.attacks.trigger import Trigger
from fedsiege.checks import is_count, require


@dataclass(frozen=True)
class DBA(Scaling):
    """DBA: Scaling in which each malicious client trains one part of the trigger, and the whole is used in the end.

    The pixels are dealt into parts in their order, as evenly as they go. Parts go round the coalition in the order of
    its ids, present in a round or not, so that each part has its share of the coalition whichever clients are
    malicious. A client sets its part in the copies of its samples.

    Reference: Xie et al., DBA: Distributed Backdoor Attacks against Federated Learning, ICLR 2020, section 3 (as in
    Xie et al., FedREDefense, ICML 2024, appendix A.2).

    Parameters
    ----------
    target : int
        Class that triggered inputs are to get.
    scale : float
        Factor of the uploads, above 0.
    pixels : tuple of (int, int)
        The trigger's pixels; see `Trigger`.
    channel : int
        Its channel.
    value : float
        Its value, in the (normalised) numbers that the model reads.
    pieces : int or None
        Number of parts, at most that of the pixels; None: 4, or one a pixel where there are fewer.
    """

    name: ClassVar[str] = "dba"
    pieces: int | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        ok = is_count(self.count) and 1 <= self.count <= len(self.pixels)
        require(ok, "dba.pieces", self.pieces, f"an int from 1 to the number of pixels, {len(self.pixels)}, or null")

    @property
    def count(self) -> int:
        """Number of parts."""
        return min(4, len(self.pixels)) if self.pieces is None else self.pieces

    def part(self, k: int) -> Trigger:
        """Return the trigger of part `k`, in [0, `count`)."""
        mine = np.array_split(np.arange(len(self.pixels)), self.count)[k]
        return Trigger(tuple(self.pixels[i] for i in mine), self.channel, self.value)

    def mark(self, x: torch.Tensor, clients: np.ndarray, coalition: np.ndarray) -> torch.Tensor:
        """Return inputs with the part of the trigger that is each owner's."""
        out = x.clone()
        dealt = np.searchsorted(coalition, clients) % self.count
        for k in range(self.count):
            mine = torch.from_numpy(np.flatnonzero(dealt == k)).to(x.device)
            out[mine] = self.part(k).apply(x[mine])
        return out
