"""How many independent hypotheses there are among correlated ones."""

from __future__ import annotations

import numpy as np


def effective_number(residuals: np.ndarray, design: np.ndarray) -> float:
    """Estimate the number of independent columns among correlated columns of residuals.

    Products of the residuals of m independent columns with weights w add up to a Wishart matrix S
    in the space of dimension q that the design leaves. With A = sum w^2 / (sum w)^2, which is
    1 / m for equal weights, the expectations of tr S^2 and (tr S)^2 have the ratio
    (A (q^2 + q) + q) / (2 q A + q^2), which is solved for A.

    Parameters
    ----------
    residuals
        ``(n, P)`` standardized residuals of n observations.
    design
        ``(n, p)`` columns that were fitted.

    Returns
    -------
    A number from 1 to infinity; infinity if the residuals show no correlation, and for a space of
    dimension 1, which shows none.
    """
    n = len(design)
    left, size, _ = np.linalg.svd(design)
    rank = int((size > size.max(initial=0.0) * 1e-10).sum())
    q = n - rank
    if q < 2:
        return np.inf
    free = left[:, rank:].T @ residuals
    square = free @ free.T
    trace = float(np.trace(square))
    if trace == 0.0:
        return np.inf
    ratio = float((square**2).sum()) / trace**2
    share = (ratio * q**2 - q) / (q**2 + q - 2.0 * q * ratio)
    return float(np.clip(1.0 / share, 1.0, None)) if share > 0.0 else np.inf
