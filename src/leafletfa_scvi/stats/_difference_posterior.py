"""Posterior of many differences, most of which may be zero (adaptive shrinkage)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, stdtr

_HALF_WIDTHS = 0.0125 * 2.0 ** np.arange(7)
"""Half-widths of the uniform components of the prior, in multiples of the scale."""
_NULL_PSEUDOCOUNT = 10.0
_STEPS, _TOLERANCE = 200, 1e-5
_MAX_FITTED = 20_000
_TINY = 1e-300


class DifferencePosterior(NamedTuple):
    """Result of :func:`difference_posterior`, each ``(n,)``.

    Attributes
    ----------
    above
        Probability that the absolute difference exceeds the threshold.
    positive
        Probability that the difference is above 0; zero counts half.
    """

    above: np.ndarray
    positive: np.ndarray


def difference_posterior(
    estimate: np.ndarray,
    se: np.ndarray,
    df: np.ndarray,
    delta: float,
    scale: np.ndarray | float = 1.0,
) -> DifferencePosterior:
    """Probability that differences exceed a threshold, given all estimates together.

    The prior of a difference is a mixture of zero and of uniform distributions around zero. Its
    weights maximize the likelihood of all estimates, with a penalty of 10 additional zeros; the
    likelihood of an estimate is Student's t around the difference (Stephens, *Biostatistics* 18,
    2017).

    Parameters
    ----------
    estimate, se, df
        ``(n,)`` estimates, their standard errors (above 0), and degrees of freedom (above 0).
    delta
        Threshold, from 0.
    scale
        ``(n,)`` size that differences can have; widths of the prior are multiples of it.
    """
    estimate, se, df, scale = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (estimate, se, df, scale))
    )
    size, above, inside = np.abs(estimate) / se, np.abs(estimate) + delta, np.abs(estimate) - delta
    likelihood = np.empty((len(size), len(_HALF_WIDTHS) + 1))
    likelihood[:, 0] = _t_density(size, df) / se
    within = np.empty((len(size), len(_HALF_WIDTHS)))
    positive = np.empty_like(within)
    # By symmetry all are computed for positive estimates, where the tails keep their digits.
    at_zero = stdtr(df, -size)
    at_delta = stdtr(df, -inside / se), stdtr(df, -above / se)
    for k, width in enumerate(_HALF_WIDTHS):
        half = width * scale
        upper = stdtr(df, -(np.abs(estimate) - half) / se)
        lower = stdtr(df, -(np.abs(estimate) + half) / se)
        mass = np.maximum(upper - lower, _TINY)
        likelihood[:, k + 1] = mass / (2.0 * half)
        within[:, k] = np.where(half <= delta, 1.0, (at_delta[0] - at_delta[1]) / mass)
        positive[:, k] = (upper - at_zero) / mass
    weights = _fit_weights(likelihood)
    share = likelihood * weights
    share /= share.sum(1, keepdims=True)
    inside_probability = share[:, 0] + (share[:, 1:] * np.clip(within, 0.0, 1.0)).sum(1)
    same_sign = 0.5 * share[:, 0] + (share[:, 1:] * np.clip(positive, 0.0, 1.0)).sum(1)
    return DifferencePosterior(
        np.clip(1.0 - inside_probability, 0.0, 1.0),
        np.where(estimate >= 0, same_sign, 1.0 - same_sign),
    )


def _fit_weights(likelihood: np.ndarray) -> np.ndarray:
    """Weights of the components by EM, from evenly spaced rows if there are many."""
    step = -(-len(likelihood) // _MAX_FITTED)
    fitted = likelihood[::step] if step > 1 else likelihood
    weights = np.full(likelihood.shape[1], 1.0 / likelihood.shape[1])
    for _ in range(_STEPS):
        share = fitted * weights
        share /= share.sum(1, keepdims=True)
        total = share.sum(0)
        total[0] += _NULL_PSEUDOCOUNT
        new = total / total.sum()
        change = np.abs(new - weights).max()
        weights = new
        if change < _TOLERANCE:
            break
    return weights


def _t_density(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Density of Student's t."""
    log = gammaln((df + 1.0) / 2.0) - gammaln(df / 2.0) - 0.5 * np.log(df * np.pi)
    density: np.ndarray = np.exp(log - (df + 1.0) / 2.0 * np.log1p(t * t / df))
    return density
