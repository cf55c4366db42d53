"""Mean log-likelihood of beta-binomial counts under their own distribution."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.special import expit

from leafletfa_scvi.ops import MISASSIGNMENT_RATE
from leafletfa_scvi.tl._scores import beta_binomial_log_likelihood

_FIRST_LOGIT, _LOGIT_STEP = -14.0, 0.5
_FIRST_LOG_KAPPA, _LOG_KAPPA_STEP, _N_KAPPA = -4.5, 0.75, 26
_EXACT, _RATIO, _MAX_TOTAL = 8, 1.3, 4096
_BEYOND = 6
"""Number of totals of the grid above the largest that is needed: the spline is flat at its end,
which would make the values of a cell depend on the totals of others."""
_BLOCK = 1 << 20


class ExpectedLogLikelihood:
    """Mean of log P(Y) for Y ~ beta-binomial(n, p, kappa), by interpolation.

    It is summed over y = 0, ..., n on a grid of n, logit p and log kappa, and interpolated by
    cubic splines. It needs no draws, so that values of a cell do not depend on other cells.

    Parameters
    ----------
    max_total
        Largest n that is needed. Above 4,096, where log P(Y) falls with log n, n is extrapolated.
    """

    def __init__(self, max_total: int) -> None:
        totals = list(range(1, _EXACT + 1))
        beyond = 0
        while beyond < _BEYOND and totals[-1] < _MAX_TOTAL:
            beyond += totals[-1] >= max_total
            totals.append(int(np.ceil(totals[-1] * _RATIO)))
        self._totals = np.array(totals)
        self._spline = _spline(tuple(totals))

    def mean(self, total: np.ndarray, p: np.ndarray, kappa: np.ndarray) -> np.ndarray:
        """Return the mean of each entry, ``(n,)`` float64.

        Parameters
        ----------
        total
            ``(n,)`` ATSE totals, above 0.
        p
            ``(n,)`` expected PSI, in (0, 1).
        kappa
            ``(n,)`` concentrations; infinity is the binomial.
        """
        p = np.clip(p, MISASSIGNMENT_RATE, 1.0 - MISASSIGNMENT_RATE)
        p = np.minimum(p, 1.0 - p)  # symmetric
        log_n = np.log(total)
        levels = np.log(self._totals)
        beyond = np.maximum(log_n - levels[-1], 0.0)
        at = np.stack(
            [
                np.interp(log_n, levels, np.arange(len(levels))),
                (np.log(p) - np.log1p(-p) - _FIRST_LOGIT) / _LOGIT_STEP,
                np.clip((np.log(kappa) - _FIRST_LOG_KAPPA) / _LOG_KAPPA_STEP, 0, _N_KAPPA - 1),
            ]
        )
        mean: np.ndarray = map_coordinates(
            self._spline, at, order=3, prefilter=False, mode="nearest"
        )
        # Beta-binomial counts spread with n, those of a binomial with its root.
        mean -= beyond * np.where(kappa < total, 1.0, 0.5)
        return mean


@lru_cache(maxsize=4)
def _spline(totals: tuple[int, ...]) -> np.ndarray:
    """Return the coefficients of the spline, (totals, logits of p, kappas)."""
    logit = np.arange(_FIRST_LOGIT, 1.01, _LOGIT_STEP)
    kappa = np.exp(_FIRST_LOG_KAPPA + _LOG_KAPPA_STEP * np.arange(_N_KAPPA))
    p, k = (x.ravel() for x in np.meshgrid(expit(logit), kappa, indexing="ij"))
    mean = np.stack([_exact_mean(total, p, k) for total in totals])
    grid = mean.reshape(len(totals), len(logit), len(kappa))
    coefficients: np.ndarray = spline_filter(grid, order=3, mode="nearest")
    return coefficients


def _exact_mean(total: int, p: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Sum over all counts, ``(m,)``."""
    y = np.arange(total + 1.0)
    out = np.empty(len(p))
    step = max(_BLOCK // len(y), 1)
    for start in range(0, len(p), step):
        block = slice(start, start + step)
        size = len(p[block])
        value = beta_binomial_log_likelihood(
            np.tile(y, size),
            np.full(size * len(y), float(total)),
            np.repeat(p[block], len(y)),
            np.repeat(kappa[block], len(y)),
        ).reshape(size, -1)
        out[block] = (np.exp(value) * value).sum(1)
    return out
