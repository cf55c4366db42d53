"""The concentrations of a fit in words, for the command and the report."""

from __future__ import annotations

from typing import Any

import numpy as np


def concentration_range(kappa: Any) -> str:
    """Write the one kappa, or the median and range of those of the junctions.

    Parameters
    ----------
    kappa
        ``uns["leafletfa"]["kappa"]``: a number, or ``(P,)`` numbers; infinity is the binomial.
    """
    if np.ndim(kappa) == 0:
        return "infinite (binomial)" if np.isinf(kappa) else f"{float(kappa):.3g}"
    # Those in between are not interpolated, as some may be infinite.
    low, middle, high = np.quantile(kappa, [0.05, 0.5, 0.95], method="nearest")
    return f"median {middle:.3g}, 90 % of junctions {low:.3g} to {high:.3g}"
