"""DBA: a backdoor whose trigger is spread over the malicious clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from fedsiege.attacks.scaling import Scaling


@dataclass(frozen=True)
class DBA(Scaling):
    """DBA: Scaling in which each malicious client trains one part of the trigger, and the whole is used in the end.

    A part is one pixel. Client i sets part i modulo the number of parts in the copies of its samples.

    Reference: Xie et al., DBA: Distributed Backdoor Attacks against Federated Learning, ICLR 2020, section 3 (as in
    Xie et al., FedREDefense, ICML 2024, appendix A.2).

    Parameters
    ----------
    target : int
        Class that triggered inputs are to get.
    scale : float
        Factor of the uploads, above 0.
    pixels : tuple of (int, int)
        The trigger's pixels, which are its parts; see `Trigger`.
    channel : int
        Its channel.
    value : float
        Its value, in the (normalised) numbers that the model reads.
    """

    name: ClassVar[str] = "dba"

    def mark(self, x: torch.Tensor, clients: np.ndarray) -> torch.Tensor:
        """Return inputs with the part of the trigger that is each owner's."""
        out = x.clone()
        for k in range(len(self.pixels)):
            mine = torch.from_numpy(np.flatnonzero(clients % len(self.pixels) == k)).to(x.device)
            out[mine] = self.trigger.part(k).apply(x[mine])
        return out
