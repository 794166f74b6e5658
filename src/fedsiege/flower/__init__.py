"""FedSiege's defenses as Flower strategies: `DefendedStrategy` around any strategy of Flower's Message API.

Needs Flower (``pip install fedsiege[flower]``). Nothing here imports an attack.
"""

import importlib.util

if importlib.util.find_spec("flwr") is None:
    raise ModuleNotFoundError("fedsiege.flower needs Flower: pip install 'fedsiege[flower]'", name="flwr")
