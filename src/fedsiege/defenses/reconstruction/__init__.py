"""How far training on distilled knowledge can reproduce an upload (Xie et al., ICML 2024, Algorithm 2).

`reconstruct` does it for one client; `reconstruct_all` for many, one after another, spread over worker processes, or
all at once on an accelerator. Nothing here knows of rounds, verdicts or networks.
"""

from fedsiege.defenses.reconstruction.batched import reconstruct_batched
from fedsiege.defenses.reconstruction.every import Mode, reconstruct_all
from fedsiege.defenses.reconstruction.single import Optimisation, Problem, Result, reconstruct

__all__ = ["Mode", "Optimisation", "Problem", "Result", "reconstruct", "reconstruct_all", "reconstruct_batched"]
