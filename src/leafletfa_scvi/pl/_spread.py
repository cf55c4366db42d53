"""Positions of labels that would collide."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import isotonic_regression


def spread(places: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move labels apart, in their order and by as little as possible (least squares).

    Parameters
    ----------
    places
        Wanted positions, increasing.
    gap
        Smallest distance between neighbors.
    low, high
        Bounds of the positions. If the labels do not fit between them, they are at even distances
        below ``gap``.
    """
    n = len(places)
    gap = min(gap, (high - low) / max(n - 1, 1))
    steps = gap * np.arange(n)
    moved = isotonic_regression(places - steps, y_min=low, y_max=max(low, high - steps[-1]))
    result: np.ndarray = moved + steps
    return result
