"""Linear models of logit PSI with variances moderated across junctions, as in limma.

Smyth (2004), Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments, Statistical Applications in Genetics and Molecular Biology 3(1):3; the
details are those of ``fitFDist``, ``squeezeVar`` and ``eBayes`` of limma 3.54 without a trend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from leafletfa_scvi.stats._moderation import inverse_trigamma

if TYPE_CHECKING:
    from benchmarks.differential._pseudobulk import Pseudobulk

_SMALLEST = 1e-5
"""Least variance, as a share of the median."""


def moderated_t(bulk: Pseudobulk) -> tuple[np.ndarray, np.ndarray]:
    """Test group 1 against group 2 in a linear model, with donors as blocks if paired.

    Returns
    -------
    ``(P,)`` two-sided p values, NaN where not testable, and ``(P,)`` differences: the coefficient
    of the same model of PSI instead of its logit.
    """
    design = bulk.design()
    testable = bulk.testable()
    values = np.where(testable, bulk.logit, np.nan)
    p, effect = p_values(values, design), fit_linear(bulk.psi, design)[0]
    return p, np.where(np.isnan(p), np.nan, effect)


def p_values(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    """``(P,)`` two-sided p values of the last column of the design, NaN where it has none.

    ``values`` and ``design`` are those of :func:`fit_linear`.
    """
    coefficient, unscaled, variance, df = fit_linear(values, design)
    tested = ~np.isnan(coefficient) & (df > 0)
    p = np.full(len(tested), np.nan)
    if tested.any():
        coefficient, unscaled, variance, df = (
            x[tested] for x in (coefficient, unscaled, variance, df)
        )
        scale, df_prior = fit_prior(variance, df)
        t = coefficient / np.sqrt(squeeze(variance, df, scale, df_prior) * unscaled)
        p[tested] = 2 * student.sf(np.abs(t), np.minimum(df + df_prior, df.sum()))
    return p


def fit_linear(
    values: np.ndarray, design: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit each column by least squares, without its missing values.

    Parameters
    ----------
    values
        ``(S, P)``, NaN where missing.
    design
        ``(S, Q)``; the coefficient of the last column is asked for.

    Returns
    -------
    ``(P,)`` each: the coefficient (NaN where it is not estimable), its variance for a residual
    variance of 1, the residual variance, and the residual degrees of freedom.
    """
    present = ~np.isnan(values)
    patterns, pattern = np.unique(present, axis=1, return_inverse=True)
    coefficient, unscaled, variance = (np.full(values.shape[1], np.nan) for _ in range(3))
    df = np.zeros(values.shape[1])
    for i in np.flatnonzero(patterns.any(axis=0)):
        rows, columns = patterns[:, i], np.flatnonzero(pattern.ravel() == i)
        x, y = design[rows], values[np.ix_(rows, columns)]
        inverse = np.linalg.pinv(x)
        df[columns] = len(x) - np.linalg.matrix_rank(x)
        unit = np.eye(design.shape[1])[-1]
        if not np.allclose((inverse @ x)[-1], unit, atol=1e-8):
            continue
        coefficient[columns] = inverse[-1] @ y
        unscaled[columns] = inverse[-1] @ inverse[-1]
        residual = y - x @ (inverse @ y)
        variance[columns] = (residual**2).sum(axis=0) / np.maximum(df[columns], 1)
    return coefficient, unscaled, variance, df


def fit_prior(variance: np.ndarray, df: np.ndarray) -> tuple[float, float]:
    """Estimate scale and degrees of freedom of the scaled inverse chi-squared prior.

    Mean and variance of ``log(variance)`` are matched to those of a scaled F distribution with
    ``df`` and the unknown degrees of freedom (``fitFDist``).
    """
    median = np.median(variance)
    raised = np.maximum(variance, _SMALLEST * (median if median > 0 else 1.0))
    e = np.log(raised) + _log_minus_digamma(df / 2)
    excess = e.var(ddof=1) - polygamma(1, df / 2).mean()
    if not excess > 0:
        return float(raised.mean()), np.inf
    df_prior = 2 * inverse_trigamma(excess)
    return float(np.exp(e.mean() - _log_minus_digamma(df_prior / 2))), df_prior


def squeeze(variance: np.ndarray, df: np.ndarray, scale: float, df_prior: float) -> np.ndarray:
    """Mean of the posterior of each variance (``squeezeVar``)."""
    if np.isinf(df_prior):
        return np.full_like(variance, scale)
    return (df * variance + df_prior * scale) / (df + df_prior)


def _log_minus_digamma(x: np.ndarray | float) -> np.ndarray:
    return np.log(x) - digamma(x)
