"""FedSiege's defenses as Flower strategies: `DefendedStrategy` around any strategy of Flower's Message API.

Needs Flower (the extra ``flower``). Nothing here imports an attack.
"""

import importlib.util

from fedsiege.errors import remedy

if importlib.util.find_spec("flwr") is None:
    raise ModuleNotFoundError(f"fedsiege.flower needs Flower; {remedy('flower')}", name="flwr")
