"""Mean activities of samples, or parts of samples, on a log-ratio scale, with their errors."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

Transform = Literal["clr", "logit"]

_PSEUDO_CELLS = 0.5
"""Number of cells with the mean activities of all units that is added to each unit."""


class UnitScores(NamedTuple):
    """Mean activities of U units and their values on the scale of a comparison.

    Attributes
    ----------
    activity
        ``(U, K)`` mean activities.
    value
        ``(U, K)`` transformed.
    variance
        ``(U, K)`` variances of ``value`` as an estimate of the sample: of few cells, whose
        activities are uncertain.
    """

    activity: np.ndarray
    value: np.ndarray
    variance: np.ndarray


def mean_activities(phi: np.ndarray, unit: np.ndarray, n_units: int) -> np.ndarray:
    """Average activities ``(C, K)`` over the cells of each unit, ``(U, K)``."""
    size = np.bincount(unit, minlength=n_units)
    means: np.ndarray = _membership(unit, n_units) @ phi / size[:, None]
    return means


def score_units(
    phi: np.ndarray, variance: np.ndarray | None, unit: np.ndarray, transform: Transform
) -> UnitScores:
    """Transform the mean activities of units, and estimate the error of each.

    To first order, the value of a unit is linear in the activities of its cells (delta method, at
    the mean of all units). Its error is the variance of this linear form over cells of a unit,
    plus that of the posterior of the cells' activities, divided by the number of cells.

    Errors decide how much a unit weighs, so that they must not depend on its own activities: units
    in which a program happens to be low would weigh less, as logarithms of small activities vary
    more. The variance over cells is therefore common to all units, and that of the posterior is
    common up to one factor for each unit, for its depth.

    Parameters
    ----------
    phi
        ``(C, K)`` activities of cells.
    variance
        ``(C, K)`` posterior variances; None for 0.
    unit
        ``(C,)`` codes of units, 0 to U - 1, each with a cell.
    transform
        ``"clr"``, logarithms centered over programs, or ``"logit"``.
    """
    n_units, n_programs = int(unit.max()) + 1, phi.shape[1]
    members = _membership(unit, n_units)
    size = np.bincount(unit).astype(np.float64)[:, None]
    activity = members @ phi / size
    middle = activity.mean(0)
    share = size / (size + _PSEUDO_CELLS)
    mixed = share * activity + (1.0 - share) * middle
    if transform == "clr":
        value, slope = np.log(mixed), 1.0 / middle
        value -= value.mean(1, keepdims=True)
    else:
        value, slope = np.log(mixed) - np.log1p(-mixed), 1.0 / (middle * (1.0 - middle))
    linear = (phi - activity[unit]) * slope
    if transform == "clr":
        linear -= linear.mean(1, keepdims=True)
    error = np.tile((linear**2).sum(0) / max(len(unit) - n_units, 1), (n_units, 1))
    if variance is not None:
        own = slope**2 * (members @ variance) / size
        if transform == "clr":  # programs taken as independent: only marginal variances are known
            own = (1.0 - 2.0 / n_programs) * own + own.sum(1, keepdims=True) / n_programs**2
        error += _common(own)
    return UnitScores(activity, value, share**2 * error / size)


def _common(variance: np.ndarray) -> np.ndarray:
    """Approximate variances ``(U, K)`` by a factor of the unit times one of the program."""
    mean = variance.mean(0)
    ratio = np.maximum(variance, 1e-12) / np.maximum(mean, 1e-12)
    factor = np.exp(np.log(ratio).mean(1))
    product: np.ndarray = np.outer(factor / factor.mean(), mean)
    return product


def _membership(unit: np.ndarray, n_units: int) -> sp.csr_matrix:
    """Indicator matrix ``(U, C)``."""
    n_cells = len(unit)
    ones = np.ones(n_cells)
    return sp.csr_matrix((ones, (unit, np.arange(n_cells))), shape=(n_units, n_cells))
