"""FedSiege: the arena where poisoning attacks and defenses in federated learning meet."""

__version__ = "0.1.0"
