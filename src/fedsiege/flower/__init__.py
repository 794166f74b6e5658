"""FedSiege's defenses as Flower strategies: `DefendedStrategy` around any strategy of Flower's Message API.

Needs Flower (``pip install fedsiege[flower]``). Nothing here imports an attack.
"""
