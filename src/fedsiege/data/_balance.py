"""Tables of counts with given sums of rows and columns, near to random proportions."""

from __future__ import annotations

import numpy as np

_FLOOR = 1e-12
"""Least proportion. A draw of a small concentration underflows to 0, where Sinkhorn's iteration has no limit."""
_ROUNDS = 2000
_CLOSE = 1e-9


def balanced_counts(shares: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return whole counts that follow `shares` and have exactly the given sums.

    Parameters
    ----------
    shares : float array, shape (r, c)
        Proportions, not negative.
    rows, columns : integer arrays, shapes (r,) and (c,)
        Positive sums of rows and of columns, equal in total.

    Returns
    -------
    int64 array, shape (r, c)
        Each entry is the real one of the balanced table, rounded down or up.
    """
    real = feasible(sinkhorn(np.maximum(shares, _FLOOR), rows, columns), rows, columns)
    return rounded(real, rows, columns)


def sinkhorn(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Scale rows and columns of a positive table in turn until its sums are near to the given ones.

    Source: R. Sinkhorn, Diagonal Equivalence to Matrices with Prescribed Row and Column Sums, American
    Mathematical Monthly 74(4), 1967. Stops after 2,000 rounds at the latest: `feasible` mends what is left.
    """
    for _ in range(_ROUNDS):
        table = table * (columns / table.sum(axis=0))
        sums = table.sum(axis=1)
        if np.all(np.abs(sums - rows) <= _CLOSE * rows):
            break
        table = table * (rows / sums)[:, None]
    return table


def feasible(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the table with exactly the given sums (up to rounding of floats) near to one that nearly has them.

    Source: J. Altschuler, J. Weed and P. Rigollet, Near-linear time approximation algorithms for optimal
    transport via Sinkhorn iteration, NeurIPS 2017, algorithm 2: scale down what is too much, then spread what is
    missing as an outer product.
    """
    table = table * np.minimum(1, rows / table.sum(axis=1))[:, None]
    table = table * np.minimum(1, columns / table.sum(axis=0))
    lack = np.maximum(rows - table.sum(axis=1), 0)
    return table + np.outer(lack, np.maximum(columns - table.sum(axis=0), 0)) / max(lack.sum(), _FLOOR)


def rounded(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return whole numbers with the given sums, each entry rounded down or up, as near as can be in total.

    The entries to round up are a linear programme on a network, so that its best corner is whole
    (A. J. Hoffman and J. B. Kruskal, Integral Boundary Points of Convex Polyhedra, 1956).
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, identity, kron, vstack

    down = np.floor(table).astype(np.int64)
    up_rows, up_columns = rows - down.sum(axis=1), columns - down.sum(axis=0)
    if not up_rows.any():
        return down
    r, c = table.shape
    sums = vstack([kron(identity(r), np.ones((1, c))), kron(np.ones((1, r)), identity(c))])
    found = linprog(
        -(table - down).ravel(),
        A_eq=csr_array(sums),
        b_eq=np.concatenate([up_rows, up_columns]),
        bounds=(0, 1),
        method="highs-ds",
    )
    assert found.x is not None, found.message  # The fractions themselves fulfil every condition.
    return down + np.rint(found.x).astype(np.int64).reshape(r, c)
