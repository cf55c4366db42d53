"""Adjustment of p values."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control


def adjust_pvalues(pvalue: np.ndarray) -> np.ndarray:
    """Adjust p values after Benjamini and Hochberg; NaN, of what was not tested, stay NaN."""
    adjusted = np.full(np.shape(pvalue), np.nan)
    tested = np.isfinite(pvalue)
    if tested.any():
        adjusted[tested] = false_discovery_control(pvalue[tested])
    return adjusted
