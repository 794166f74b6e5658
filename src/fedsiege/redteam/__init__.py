"""The red-team side of Flower apps: attacks as a client mod or a simulation grid, and the audit of an app.

Needs Flower (``pip install fedsiege[flower]``). `fedsiege.flower`, which production imports, never imports this.
"""

import importlib.util

if importlib.util.find_spec("flwr") is None:
    raise ModuleNotFoundError("fedsiege.redteam needs Flower: pip install 'fedsiege[flower]'", name="flwr")
