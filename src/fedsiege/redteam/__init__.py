"""The red-team side of Flower apps: attacks as a client mod or a simulation grid, and the audit of an app.

Needs Flower (the extra ``flower``). `fedsiege.flower`, which production imports, never imports this.
"""

import importlib.util

from fedsiege.errors import remedy

if importlib.util.find_spec("flwr") is None:
    raise ModuleNotFoundError(f"fedsiege.redteam needs Flower; {remedy('flower')}", name="flwr")
