"""Interval of a share of pooled reads, from how much it varies between replicates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from scipy.stats import beta


class PooledShare(NamedTuple):
    """Share of reads and its interval, arrays of one shape."""

    share: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def pooled_share(
    reads: np.ndarray,
    total: np.ndarray,
    squares: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_replicates: np.ndarray,
    level: float,
) -> PooledShare:
    """Compute p = sum y / sum n over replicates with reads y of n, and an interval of p.

    The variance of p is that of a ratio of sums (Cochran 1977, *Sampling Techniques*, section
    6.3), u / (u - 1) sum (y - p n)^2 / (sum n)^2 for u replicates. The interval is Jeffreys' for
    p and the number of independent reads m that have this variance, p (1 - p) / variance, reduced
    by the square of the ratio of normal and t quantiles (Korn and Graubard 1998, *Survey
    Methodology* 24, 193). m is at least (sum n)^2 / sum n^2, which holds if all reads of a
    replicate are alike, and at most sum n; it is the former where p is 0 or 1.

    Parameters
    ----------
    reads, total
        Sums of y and of n.
    squares
        Sums of y^2, of y n and of n^2.
    n_replicates
        Number of replicates with n > 0.
    level
        Probability of the interval.

    Returns
    -------
    PooledShare
        All NaN without reads; the interval is NaN with fewer than two replicates.
    """
    yy, yn, nn = squares
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, reads / total, np.nan)
        residual = np.maximum(yy - 2.0 * share * yn + share**2 * nn, 0.0)
        variance = n_replicates / (n_replicates - 1.0) * residual / total**2
        least = total**2 / nn
        size = np.where(residual > 1e-9 * nn, share * (1.0 - share) / variance, least)
        size = np.clip(size, least, np.maximum(total, least))
        normal, t = (
            stdtrit(df, (1.0 + level) / 2.0) for df in (np.inf, np.maximum(n_replicates - 1.0, 1))
        )
        size *= np.where((share > 0) & (share < 1), (normal / t) ** 2, 1.0)
        a, b = share * size + 0.5, (1.0 - share) * size + 0.5
    tail = (1.0 - level) / 2.0
    lower = np.where(share == 0.0, 0.0, beta.ppf(tail, a, b))
    upper = np.where(share == 1.0, 1.0, beta.ppf(1.0 - tail, a, b))
    few = n_replicates < 2
    return PooledShare(share, np.where(few, np.nan, lower), np.where(few, np.nan, upper))
