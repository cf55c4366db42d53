"""Difference of two populations from values of their samples, for many junctions at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from leafletfa_scvi.stats._effective_number import effective_number
from leafletfa_scvi.stats._moderation import moderate_variances

_MIN_PAIRED = 2
_MIN_UNPAIRED = 3
_MAX_FITTED = 1000
_MAX_DF = 1e4
_START = (np.log(1e-2), np.log(1e-4))
"""First guess of the two components of the variance between samples."""


@dataclass(frozen=True)
class SampleValues:
    """Values of one group in S samples, for P junctions.

    Attributes
    ----------
    value
        ``(S, P)`` values, finite.
    variance
        ``(S, P)`` variances of their errors of measurement; infinity where there is no value.
    present
        ``(S,)`` whether the sample has cells of the group.
    """

    value: np.ndarray
    variance: np.ndarray
    present: np.ndarray


class PopulationDifference(NamedTuple):
    """Result of :func:`population_difference`, each ``(P,)``.

    Attributes
    ----------
    mean1, mean2
        Means of the populations; NaN where there are no values.
    difference
        Difference of the means, NaN where it cannot be estimated.
    variance
        Moderated variance of the difference.
    df
        Its degrees of freedom, those of the prior of the variance included.
    n_paired
        Number of samples whose difference between the groups was used.
    """

    mean1: np.ndarray
    mean2: np.ndarray
    difference: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    n_paired: np.ndarray


class _Contrast(NamedTuple):
    """Weighted means of groups of values, and the moderated variance of their difference."""

    means: list[np.ndarray]
    weights: list[np.ndarray]
    difference: np.ndarray
    variance: np.ndarray
    df: np.ndarray


def population_difference(
    first: SampleValues, second: SampleValues, components: np.ndarray
) -> PopulationDifference:
    """Estimate the difference of the means of two populations from samples of them.

    A value is the mean of its population, a deviation of the sample, and an error of measurement.
    The variance of deviations is expected to be a combination of ``components``, fitted by
    restricted maximum likelihood (REML) to all junctions together; values are weighted by the
    inverse of it and the variance of measurement. The residual variance of each junction relative
    to that is moderated as in limma, with no more degrees of freedom than residuals that are
    correlated between junctions support.

    Where at least two samples have values of both groups, their differences are used, and
    unpaired samples of both groups add a second estimate by inverse variance. Otherwise all
    samples are independent.

    Parameters
    ----------
    first, second
        Values of the two groups in the same S samples.
    components
        ``(2, P)`` non-negative shapes of the variance between samples.
    """
    both = first.present & second.present
    n_junctions = first.value.shape[1]
    if both.sum() < _MIN_PAIRED:
        one, two = _of(first, first.present), _of(second, second.present)
        contrast = _contrast([one, two], components)
        return PopulationDifference(
            contrast.means[0],
            contrast.means[1],
            contrast.difference,
            contrast.variance,
            contrast.df,
            np.zeros(n_junctions, dtype=np.int64),
        )
    one, two = _of(first, both), _of(second, both)
    pairs = one[0] - two[0], one[1] + two[1]
    paired = _contrast([pairs], components)
    n_paired = np.isfinite(pairs[1]).sum(0)
    # Means of both groups with the weights of the differences, so that they subtract to it.
    weight = paired.weights[0]
    with np.errstate(invalid="ignore"):
        mean1, mean2 = (np.einsum("sp,sp->p", weight, x[0]) / weight.sum(0) for x in (one, two))
    middle = (mean1 + mean2) / 2.0
    only1, only2 = first.present & ~both, second.present & ~both
    result = paired.difference, paired.variance, paired.df
    if only1.any() and only2.any() and only1.sum() + only2.sum() >= _MIN_UNPAIRED:
        unpaired = _contrast([_of(first, only1), _of(second, only2)], components)
        result = _combined(paired, unpaired)
    half = result[0] / 2.0
    return PopulationDifference(middle + half, middle - half, *result, n_paired)


def _of(values: SampleValues, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.value[samples], values.variance[samples]


def _combined(one: _Contrast, two: _Contrast) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Combine two independent estimates by inverse variance; Satterthwaite's df."""
    precision, total, df = (np.zeros(len(one.difference)) for _ in range(3))
    for part in (one, two):
        known = np.isfinite(part.difference)
        inverse = np.where(known, 1.0 / np.where(known, part.variance, 1.0), 0.0)
        precision += inverse
        total += inverse * np.where(known, part.difference, 0.0)
        df += np.where(known, inverse**2 / np.where(known, part.df, 1.0), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / precision, 1.0 / precision, precision**2 / df


def _contrast(groups: list[tuple[np.ndarray, np.ndarray]], components: np.ndarray) -> _Contrast:
    """Estimate the difference of the means of two groups, or the mean of one."""
    fitted = _fit_components(groups, components)
    between = np.exp(fitted) @ components
    parts = [_weighted_mean(*group, between) for group in groups]
    known: np.ndarray = np.all([part.n > 0 for part in parts], axis=0)
    squares = np.sum([(part.residual**2).sum(0) for part in parts], axis=0)
    df = np.sum([part.n - 1.0 for part in parts], axis=0)
    variance = np.sum([part.variance for part in parts], axis=0)
    scale, total_df = np.ones(len(known)), np.full(len(known), _MAX_DF)
    usable = known & (df > 0)
    if usable.any():
        residual = np.concatenate([part.residual[:, usable] for part in parts])
        design = np.zeros((len(residual), len(parts)))
        start = 0
        for i, part in enumerate(parts):
            design[start : start + len(part.residual), i] = 1.0
            start += len(part.residual)
        moderated = moderate_variances(
            np.where(usable, squares / np.maximum(df, 1.0), np.nan),
            np.where(usable, df, 0.0),
            n_independent=effective_number(residual, design),
        )
        scale, total_df = moderated.variance, moderated.df
    known = known & np.isfinite(scale) & (total_df > 0)
    means = [np.where(part.n > 0, part.mean, np.nan) for part in parts]
    difference = means[0] - means[1] if len(means) == 2 else means[0]
    return _Contrast(
        means,
        [part.weight for part in parts],
        np.where(known, difference, np.nan),
        np.where(known, scale * variance, np.nan),
        np.where(known, np.clip(total_df, 1e-3, _MAX_DF), np.nan),
    )


class _WeightedMean(NamedTuple):
    """Mean, its variance, standardized residuals (0 where missing), and number of values."""

    mean: np.ndarray
    variance: np.ndarray
    residual: np.ndarray
    n: np.ndarray
    weight: np.ndarray

    def loss(self) -> float:
        """Minus twice the restricted log-likelihood, up to a constant."""
        logs = np.log(np.where(self.weight > 0, self.weight, 1.0)).sum()
        rest = np.log(np.where(self.n > 0, self.variance, 1.0)).sum()
        return float((self.residual**2).sum() - logs - rest)


def _weighted_mean(value: np.ndarray, variance: np.ndarray, between: np.ndarray) -> _WeightedMean:
    """Weigh values by 1 / (between + variance)."""
    weight = 1.0 / (between + variance)
    n = np.count_nonzero(weight, axis=0)
    total = weight.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.einsum("sp,sp->p", weight, value) / total
        inverse = 1.0 / total
        residual = np.sqrt(weight)
        residual *= value - mean
    residual[:, n == 0] = 0.0
    return _WeightedMean(mean, inverse, residual, n, weight)


def _fit_components(
    groups: list[tuple[np.ndarray, np.ndarray]], components: np.ndarray
) -> np.ndarray:
    """Logarithms of the coefficients of the components, by REML over evenly spaced junctions."""
    measured = np.sum([np.isfinite(v).sum(0) for _, v in groups], axis=0) > len(groups)
    positions = np.flatnonzero(measured)
    if len(positions) == 0:
        return np.full(2, -np.inf)
    positions = positions[:: -(-len(positions) // _MAX_FITTED)]
    some = [(value[:, positions], variance[:, positions]) for value, variance in groups]
    shapes = components[:, positions]

    def loss(logs: np.ndarray) -> float:
        between = np.exp(logs) @ shapes
        return sum(_weighted_mean(*group, between).loss() for group in some) / len(positions)

    options: Any = {"xatol": 0.05, "fatol": 1e-5, "maxiter": 200}
    best = minimize(loss, np.array(_START), method="Nelder-Mead", options=options)
    return np.asarray(best.x)
