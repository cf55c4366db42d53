"""Difference in PSI between two groups, estimated from expected PSI and reads of their cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from leafletfa_scvi.stats import SampleValues, population_difference

if TYPE_CHECKING:
    from leafletfa_scvi.model._groups import Comparison
    from leafletfa_scvi.model._sample_sums import SampleSums

_MANY = 1e4
"""Degrees of freedom where variances are known."""
_MIN_VARIANCE, _MIN_SCALE = 1e-10, 0.02


@dataclass(frozen=True)
class Programs:
    """Programs of P junctions, and how much they and the expectation can be relied on.

    Attributes
    ----------
    mean, variance
        ``(P, K)`` posterior means and variances of psi.
    kappa
        ``(P,)`` concentrations, finite.
    """

    mean: np.ndarray
    variance: np.ndarray
    kappa: np.ndarray


class GroupDifference(NamedTuple):
    """Difference in PSI between two groups.

    Attributes
    ----------
    psi1, psi2
        ``(P,)`` PSI of the groups.
    difference, se, df
        ``(P,)`` PSI of group 1 minus group 2, standard error and degrees of freedom; NaN where a
        group has no reads.
    scale
        ``(P,)`` size that differences can have, 2 sqrt(p (1 - p)) at the mean expected PSI.
    n_samples1, n_samples2, n_paired
        ``(P,)`` samples with reads, and those with reads of both groups, if their differences were
        used.
    """

    psi1: np.ndarray
    psi2: np.ndarray
    difference: np.ndarray
    se: np.ndarray
    df: np.ndarray
    scale: np.ndarray
    n_samples1: np.ndarray
    n_samples2: np.ndarray
    n_paired: np.ndarray


class _Side(NamedTuple):
    """One side of a comparison: its samples, and what all of its cells have in common."""

    values: SampleValues
    activity: np.ndarray
    spread: np.ndarray
    trust: np.ndarray
    misfit: np.ndarray


def group_difference(
    sums: SampleSums, comparison: Comparison, programs: Programs, *, replicates: bool
) -> GroupDifference:
    """Estimate the difference in PSI between two groups of cells.

    The PSI of a group in a sample is estimated by the mean of y / n over the cells with reads,
    each entry weighted by its effective number of reads, w = n (kappa + 1) / (kappa + n). Two
    terms take the other cells into account:

    - the difference in mean expected PSI, phi psi, between all cells and those with reads, times
      V / (V + U): V is the variance of this difference if a random subset of cells had reads, U
      that from the uncertainty of psi. So what programs say of cells without reads counts
      as far as the programs are known;
    - the mean expected PSI of all cells as a prior with the concentration of the model: all of
      the above has the weight W / (W + kappa), where W is the sum of w over the group. So
      the reads decide where there are many, and the expectation where there are few.

    The variance of a sample's value has a part for the number of its cells, from the variance of
    activities, and one for its reads, p (1 - p) / W times the dispersion of the junction.

    Parameters
    ----------
    sums
        Sums over cells.
    comparison
        The groups.
    programs
        Programs.
    replicates
        Whether samples are the replicates. If not, all cells are of one sample.
    """
    one = _side(sums, comparison.codes1, programs)
    two = _side(sums, comparison.codes2, programs)
    mean_activity = (one.activity + two.activity) / 2.0
    shape = np.diag(mean_activity) - np.outer(mean_activity, mean_activity)
    spread = (one.spread + two.spread) / 2.0
    if replicates:
        components = np.stack([_quadratic(programs.mean, shape), spread])
        found = population_difference(one.values, two.values, components)
        psi1, psi2, difference, variance, df, n_paired = found
    else:
        psi1, psi2 = one.values.value[0], two.values.value[0]
        difference = psi1 - psi2
        variance = one.values.variance[0] + two.values.variance[0]
        df, n_paired = np.full(len(difference), _MANY), np.zeros(len(difference), np.int64)
    left = 1.0 - (one.trust + two.trust) / 2.0
    contrast = (one.activity - two.activity) ** 2
    variance = variance + one.misfit + two.misfit + left**2 * (programs.variance @ contrast)
    n1, n2 = (np.isfinite(side.values.variance).sum(0) for side in (one, two))
    known = (n1 > 0) & (n2 > 0) & np.isfinite(difference) & np.isfinite(variance)
    se = np.sqrt(np.maximum(np.where(known, variance, 1.0), _MIN_VARIANCE))
    difference, se, df = (np.where(known, x, np.nan) for x in (difference, se, df))
    psi1, psi2 = (np.clip(x, 0.0, 1.0) for x in (psi1, psi2))
    scale = np.maximum(2.0 * np.sqrt(spread), _MIN_SCALE)
    return GroupDifference(psi1, psi2, difference, se, df, scale, n1, n2, n_paired)


def _side(sums: SampleSums, codes: tuple[int, ...], programs: Programs) -> _Side:
    """Values of a group, which may be made of several, in each sample."""
    chosen = list(codes)
    n_cells = sums.n_cells[:, chosen].sum(1)
    activity = sums.activity[:, chosen].sum(1)
    weight, of_reads, deviation = (
        _summed(values, codes) for values in (sums.weight, sums.expected, sums.deviation)
    )
    present = n_cells > 0
    size = np.maximum(n_cells, 1)[:, None]
    mean = activity / size
    overall = activity.sum(0) / n_cells.sum()
    psi = programs.mean @ overall
    spread = np.maximum(psi * (1.0 - psi), _MIN_VARIANCE)
    pooled = weight.sum(0)
    trust = pooled / (pooled + programs.kappa)

    # Covariance of the activities of the cells of a sample, and of their estimates.
    square = sums.square[:, chosen].sum((0, 1)) - (activity / size).T @ activity
    n_free = n_cells.sum() - present.sum()
    covariance = sums.uncertainty[:, chosen].sum((0, 1)) / n_cells.sum()
    if n_free > 0:
        covariance = covariance + square / n_free
    of_cells = _quadratic(programs.mean, covariance)

    # What the expectation says of the cells without reads, against chance. Cells with few reads
    # count in part.
    squares = sums.weight_square[chosen].sum(0)
    n_observed = np.where(pooled > 0, pooled**2 / np.where(pooled > 0, squares, 1.0), 1.0)
    observed = _summed(sums.observed_activity[None], codes)[0]
    observed /= np.where(pooled > 0, pooled, 1.0)[:, None]
    of_programs = ((overall - observed) ** 2 * programs.variance).sum(1)
    of_chance = of_cells * np.maximum(1.0 / n_observed - 1.0 / n_cells.sum(), 0.0)
    known = of_chance / np.maximum(of_chance + of_programs, _MIN_VARIANCE)

    # Arrays (S, P) are large: changed in place.
    has_reads = weight > 0
    safe = np.where(has_reads, weight, 1.0)
    expected = mean @ programs.mean.T
    shift = of_reads / safe
    shift -= expected
    shift *= 1.0 - known
    shift += deviation / safe
    shift *= trust
    value = np.add(expected, shift, out=expected)
    in_sample = np.clip(weight * (n_observed / np.where(pooled > 0, pooled, 1.0)), 1e-3, size)
    variance = (1.0 - known) ** 2 * of_cells * (1.0 / in_sample - 1.0 / size)
    variance += sums.dispersion * spread / safe
    variance *= trust**2
    variance += of_cells / size
    variance[~(has_reads & present[:, None])] = np.inf
    misfit = (1.0 - trust) ** 2 * spread / (programs.kappa + 1.0)
    misfit += (trust * known) ** 2 * of_programs
    return _Side(SampleValues(value, variance, present), overall, spread, trust, misfit)


def _summed(values: np.ndarray, codes: tuple[int, ...]) -> np.ndarray:
    """Sum over some groups, the second axis, in float64, without a copy of their values."""
    total = values[:, codes[0]].astype(np.float64)
    for code in codes[1:]:
        total += values[:, code]
    return total


def _quadratic(psi: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Compute psi' M psi of each row, ``(P,)``, not below 0."""
    form: np.ndarray = np.maximum(((psi @ matrix) * psi).sum(1), 0.0)
    return form
