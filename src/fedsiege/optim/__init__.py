"""Optimizers that keep state for rows of large tables."""

from fedsiege.optim.lazy_adam import AdamTable

__all__ = ["AdamTable"]
