"""Beta-binomial regression of each junction, by Newton's method compiled with numba.

The log-likelihood of a count is ``R(kappa mu, y) + R(kappa (1 - mu), n - y) - R(kappa, n)`` with
``R(x, m) = log Gamma(x + m) - log Gamma(x)``; mu is the inverse logit of the linear predictor and
log kappa a further parameter of each junction.
"""

from __future__ import annotations

from math import lgamma
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.special import expit
from scipy.stats import chi2

if TYPE_CHECKING:
    from benchmarks.differential._pseudobulk import Pseudobulk

_LOG_KAPPA = np.log(0.01), np.log(1e6)
"""Range of log kappa; at its end the distribution is practically binomial."""
_FEW, _SERIES = 32, 10.0
_MAX_ETA, _STEPS, _TOLERANCE = 15.0, 200, 1e-6


def compare_cells(
    y: sp.csr_matrix, n: sp.csr_matrix, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Test groups by the likelihood ratio, with cells as replicates.

    Parameters
    ----------
    y, n
        ``(C, P)`` counts and totals.
    first
        ``(C,)`` bool: the cell belongs to group 1.

    Returns
    -------
    ``(P,)`` p values, NaN with fewer than two observed cells in a group, and ``(P,)`` differences
    of the two fitted PSI.
    """
    covered = n > 0
    enough = np.minimum(*(np.asarray(covered[of].sum(axis=0)).ravel() for of in (first, ~first)))
    design = np.array([[1.0, 0.0], [1.0, 1.0]])
    return _compare(y, n, first.astype(np.int64), design, np.ones((1, n.shape[1])), enough >= 2)


def compare_donors(bulk: Pseudobulk) -> tuple[np.ndarray, np.ndarray]:
    """Test groups by the likelihood ratio, with pseudobulk of donors as replicates.

    If groups are compared within donors, these are fixed effects of both hypotheses.

    Returns
    -------
    ``(P,)`` p values, NaN where not testable, and ``(P,)`` differences of fitted PSI, averaged
    over donors with reads in both groups if they are fixed effects.
    """
    y, n = (sp.csr_matrix(values) for values in (bulk.count, bulk.total))
    if bulk.paired:
        averaged = ~np.isnan(bulk.differences(bulk.psi))
    else:
        averaged = np.ones((1, n.shape[1]), dtype=bool)
    code = np.arange(len(bulk.donor))
    return _compare(y, n, code, bulk.design(), averaged, bulk.testable())


def _compare(
    y: sp.csr_matrix,
    n: sp.csr_matrix,
    code: np.ndarray,
    design: np.ndarray,
    averaged: np.ndarray,
    tested: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Test the last column of the design; ``code`` is the row of it that each row of y has.

    ``averaged``, ``(Q - 1, P)``, has the other columns at which fitted differences are averaged.
    """
    entries = _entries(y, n, code)
    start = _start(entries, design.shape[1] - 1)
    null, null_value = fit(*entries, design[:, :-1].copy(), start)
    start = np.insert(null, -1, 0.0, axis=1)
    full, value = fit(*entries, design, start)
    p = chi2.sf(2 * np.maximum(value - null_value, 0), 1)
    base, shift = full[:, :-2].T, full[:, -2]
    difference = expit(base + shift) - expit(base)
    effect = np.average(difference, axis=0, weights=np.where(tested, averaged, 1.0))
    return np.where(tested, p, np.nan), np.where(tested, effect, np.nan)


def _entries(y: sp.csr_matrix, n: sp.csr_matrix, code: np.ndarray) -> tuple[np.ndarray, ...]:
    """Observed entries by junction: indptr, code, y and n."""
    total = sp.csc_matrix(n, copy=True)
    total.eliminate_zeros()
    total.sort_indices()
    column = np.repeat(np.arange(total.shape[1]), np.diff(total.indptr))
    count = np.asarray(sp.csc_matrix(y)[total.indices, column], dtype=np.float64).ravel()
    return total.indptr, code[total.indices], count, total.data.astype(np.float64)


def _start(entries: tuple[np.ndarray, ...], n_columns: int) -> np.ndarray:
    """``(P, n_columns + 1)`` logit of pooled PSI for each column, and log kappa of 2.3."""
    indptr, _, count, total = entries
    sums = [np.concatenate([[0], np.cumsum(v)]) for v in (count, total)]
    k, m = (s[indptr[1:]] - s[indptr[:-1]] for s in sums)
    logit = np.log((k + 0.5) / (m - k + 0.5))
    return np.column_stack([*[logit] * n_columns, np.full(len(logit), np.log(10.0))])


@njit(cache=True)
def fit(indptr, code, count, total, design, start):
    """Maximize the likelihood of each junction over coefficients and log kappa.

    Newton's method with Levenberg's damping, which never lets the likelihood fall.

    Parameters
    ----------
    indptr, code, count, total
        ``(P + 1,)`` and ``(E,)``: entries by junction, each with its row of ``design``.
    design
        ``(R, Q)``; every coefficient is that of a column.
    start
        ``(P, Q + 1)`` coefficients and log kappa to begin with.

    Returns
    -------
    ``(P, Q + 1)`` estimates and ``(P,)`` log-likelihoods without binomial coefficients.
    """
    n_junctions, size = start.shape
    estimate, value = start.copy(), np.zeros(n_junctions)
    for j in range(n_junctions):
        of = slice(indptr[j], indptr[j + 1])
        rows, y, n = code[of], count[of], total[of]
        x = estimate[j].copy()
        best, gradient, hessian = _evaluate(rows, y, n, design, x)
        damping = 1e-3
        for _ in range(_STEPS):
            last = size - 1
            if (x[last] >= _LOG_KAPPA[1] and gradient[last] > 0) or (
                x[last] <= _LOG_KAPPA[0] and gradient[last] < 0
            ):  # held at the end of its range
                gradient[last] = 0.0
                hessian[last, :] = 0.0
                hessian[:, last] = 0.0
            if np.abs(gradient).max() < _TOLERANCE or damping > 1e12:
                break
            step = np.linalg.solve(damping * np.eye(size) - hessian, gradient)
            trial = x + step
            trial[last] = min(max(trial[last], _LOG_KAPPA[0]), _LOG_KAPPA[1])
            found, trial_gradient, trial_hessian = _evaluate(rows, y, n, design, trial)
            if found >= best:
                x, best, gradient, hessian = trial, found, trial_gradient, trial_hessian
                damping = max(damping / 10, 1e-9)
            else:
                damping *= 10
        estimate[j], value[j] = x, best
    return estimate, value


@njit(cache=True)
def _evaluate(rows, y, n, design, x):
    """Log-likelihood of a junction, its gradient and Hessian for coefficients and log kappa."""
    n_columns = design.shape[1]
    kappa = np.exp(x[n_columns])
    eta = design @ x[:n_columns]
    of_eta = np.zeros((3, len(eta)))  # derivatives for eta, eta twice, eta and log kappa
    value, of_kappa, of_kappa_twice = 0.0, 0.0, 0.0
    for i in range(len(y)):
        row = rows[i]
        mu = 1 / (1 + np.exp(-min(max(eta[row], -_MAX_ETA), _MAX_ETA)))
        slope = kappa * mu * (1 - mu)
        a, a1, a2 = log_rising(kappa * mu, y[i])
        b, b1, b2 = log_rising(kappa * (1 - mu), n[i] - y[i])
        k, k1, k2 = log_rising(kappa, n[i])
        value += a + b - k
        first = kappa * (mu * a1 + (1 - mu) * b1 - k1)
        of_kappa += first
        of_kappa_twice += first + kappa**2 * (mu**2 * a2 + (1 - mu) ** 2 * b2 - k2)
        if abs(eta[row]) < _MAX_ETA:
            gap = slope * (a1 - b1)
            of_eta[0, row] += gap
            of_eta[1, row] += slope**2 * (a2 + b2) + (1 - 2 * mu) * gap
            of_eta[2, row] += gap + slope * kappa * (mu * a2 - (1 - mu) * b2)
    gradient = np.zeros(n_columns + 1)
    hessian = np.zeros((n_columns + 1, n_columns + 1))
    for r in range(len(eta)):
        for p in range(n_columns):
            gradient[p] += design[r, p] * of_eta[0, r]
            hessian[p, n_columns] += design[r, p] * of_eta[2, r]
            for q in range(n_columns):
                hessian[p, q] += design[r, p] * design[r, q] * of_eta[1, r]
    hessian[n_columns, :n_columns] = hessian[:n_columns, n_columns]
    gradient[n_columns], hessian[n_columns, n_columns] = of_kappa, of_kappa_twice
    return value, gradient, hessian


@njit(cache=True)
def log_rising(x, m):
    """``log Gamma(x + m) - log Gamma(x)`` for whole m, and its first two derivatives for x."""
    if m <= _FEW:
        product, first, second = 1.0, 0.0, 0.0
        for i in range(int(m)):
            inverse = 1 / (x + i)
            product *= x + i
            first += inverse
            second -= inverse * inverse
        return np.log(product), first, second
    low, high = _polygammas(x), _polygammas(x + m)
    first, second = high[0] - low[0], high[1] - low[1]
    return lgamma(x + m) - lgamma(x), first, second


@njit(cache=True)
def _polygammas(x):
    """Digamma and trigamma by recurrence up to 10 and their asymptotic series."""
    digamma, trigamma = 0.0, 0.0
    while x < _SERIES:
        digamma -= 1 / x
        trigamma += 1 / (x * x)
        x += 1
    s = 1 / (x * x)
    digamma += np.log(x) - 0.5 / x - s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s / 240)))
    trigamma += (1 / x) * (1 + s * (1 / 6 - s * (1 / 30 - s * (1 / 42 - s / 30)))) + 0.5 * s
    return digamma, trigamma
