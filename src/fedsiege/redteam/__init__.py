"""The red-team side of Flower apps: attacks as a client mod or a simulation grid, and the audit of an app.

Needs Flower (``pip install fedsiege[flower]``). `fedsiege.flower`, which production imports, never imports this.
"""
