"""Moderated variances: each is shrunken towards those of all hypotheses (empirical Bayes)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, polygamma

_NEWTON_STEPS = 50
_FLOOR = 1e-5
"""Smallest variance, as a multiple of the median, so that no logarithm is infinite."""


class ModeratedVariances(NamedTuple):
    """Result of :func:`moderate_variances`.

    Attributes
    ----------
    variance
        ``(n,)`` posterior variances.
    df
        ``(n,)`` degrees of freedom of the posterior variances, those of the prior included.
    prior_variance
        ``(n,)`` variances expected by the prior, equal without a covariate.
    prior_df
        Degrees of freedom of the prior, infinity if the variances do not differ by more than their
        sampling error.
    """

    variance: np.ndarray
    df: np.ndarray
    prior_variance: np.ndarray
    prior_df: float


def moderate_variances(
    variance: np.ndarray,
    df: np.ndarray | float,
    covariate: np.ndarray | None = None,
    *,
    n_independent: float | None = None,
) -> ModeratedVariances:
    """Shrink the sample variances of many hypotheses towards a common prior.

    If the true variances have a scaled inverse chi-squared distribution with d0 degrees of freedom
    and scale s0^2, sample variances are s0^2 F(d, d0). Mean and variance of log s^2 give s0^2 and
    d0, and the posterior variance is (d0 s0^2 + d s^2) / (d0 + d) with d0 + d degrees of freedom
    (Smyth, *Statistical Applications in Genetics and Molecular Biology* 3, 2004; ``squeezeVar``
    and ``fitFDist`` of limma).

    Parameters
    ----------
    variance
        ``(n,)`` sample variances. NaN, or one without degrees of freedom, takes the prior's.
    df
        Degrees of freedom of each, ``(n,)``, or common to all.
    covariate
        ``(n,)`` values, such as mean levels, on which the variance of the prior depends smoothly
        (a natural cubic spline of log s^2 with 2 to 4 coefficients). If None, it is constant.
    n_independent
        Number of independent variances among the n. The degrees of freedom of the prior never
        exceed those of that many variances, less one for each coefficient of the prior's mean. If
        None, n.

    Returns
    -------
    ModeratedVariances
        One variance alone is returned as it is, with ``prior_df`` 0.

    Raises
    ------
    ValueError
        If no variance has degrees of freedom, or one is negative.
    """
    variance = np.asarray(variance, np.float64)
    df = np.broadcast_to(np.asarray(df, np.float64), variance.shape)
    known = np.isfinite(variance) & np.isfinite(df) & (df > 0)
    if not known.any():
        raise ValueError(
            "Expected at least one variance with degrees of freedom above 0, found none."
        )
    if variance[known].min() < 0:
        raise ValueError(f"Expected variances from 0, found {variance[known].min()}.")
    own = np.where(known, df, 0.0)
    given = np.where(known, variance, 0.0)
    if known.sum() == 1:
        value = float(given[known][0])
        everywhere = np.full(variance.shape, value)
        return ModeratedVariances(everywhere, np.full(variance.shape, own.max()), everywhere, 0.0)
    level = None if covariate is None else np.asarray(covariate, np.float64)
    n_known = int(known.sum())
    basis = np.ones((len(own), 1)) if level is None else _spline_basis(level, known)
    prior, prior_df = _fit_prior(given, own, known, basis)
    # limma limits the sum to the degrees of freedom of all variances. Here those of the prior are
    # limited, so that the weights agree with them, less one variance for each of its coefficients.
    n = n_known if n_independent is None else min(n_independent, n_known)
    prior_df = min(prior_df, max(n - basis.shape[1], 0.0) * float(own[known].mean()))
    if prior_df == 0.0:
        return ModeratedVariances(np.where(known, given, np.nan), own, prior, 0.0)
    posterior = (prior_df * prior + own * given) / (prior_df + own)
    return ModeratedVariances(posterior, prior_df + own, prior, prior_df)


def _fit_prior(
    variance: np.ndarray, df: np.ndarray, known: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, float]:
    """Fit scale ``(n,)`` and degrees of freedom of the prior by moments of log variances."""
    d = df[known]
    middle = np.median(variance[known])
    s2 = np.maximum(variance[known], _FLOOR * middle if middle > 0 else np.finfo(float).tiny)
    excess = np.log(s2) - digamma(d / 2) + np.log(d / 2)
    coefficients, *_ = np.linalg.lstsq(basis[known], excess, rcond=None)
    mean = basis @ coefficients
    n_free = max(len(excess) - basis.shape[1], 1)
    spread = float(((excess - mean[known]) ** 2).sum() / n_free - polygamma(1, d / 2).mean())
    if spread > 0:
        prior_df = 2.0 * inverse_trigamma(spread)
        scale = np.exp(mean + digamma(prior_df / 2) - np.log(prior_df / 2))
        return scale, prior_df
    if basis.shape[1] == 1:
        return np.full(len(variance), (d * variance[known]).sum() / d.sum()), np.inf
    return np.exp(mean), np.inf


def _spline_basis(covariate: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Basis ``(n, q)`` of natural cubic splines with knots at quantiles.

    Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, equation 5.4; q as in
    limma. The line continues beyond the outer knots, also to values that were not fitted.
    """
    x = np.where(np.isfinite(covariate), covariate, np.median(covariate[known]))
    low, high = x[known].min(), x[known].max()
    n, n_distinct = int(known.sum()), len(np.unique(x[known]))
    q = min(1 + (n >= 3) + (n >= 6) + (n >= 30), n_distinct)
    if q == 1 or not high > low:
        return np.ones((len(x), 1))
    x = (x - low) / (high - low)
    knots = np.quantile(x[known], np.linspace(0, 1, q)) if q > 2 else np.array([0.0, 1.0])
    cubic = np.maximum(x[:, None] - knots, 0.0) ** 3
    slope = (cubic[:, :-1] - cubic[:, -1:]) / np.maximum(knots[-1] - knots[:-1], 1e-9)
    columns = [np.ones(len(x)), x, *(slope[:, i] - slope[:, -1] for i in range(q - 2))]
    return np.column_stack(columns)


def inverse_trigamma(value: float) -> float:
    """Solve trigamma(y) = value for y > 0 by Newton's method on 1 / trigamma, which is convex.

    Smyth (2004), appendix.
    """
    if value > 1e7:
        return float(value**-0.5)
    if value < 1e-6:
        return 1.0 / value
    y = 0.5 + 1.0 / value
    for _ in range(_NEWTON_STEPS):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1.0 - trigamma / value) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return y
