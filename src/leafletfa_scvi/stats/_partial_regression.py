"""Regression of many responses on one column beside others, for observations within samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from leafletfa_scvi.stats._moderation import moderate_variances

_MANY = 500
"""Degrees of freedom above which variances are not moderated, which would change nothing."""
_MIN_SHARE = 1e-6
"""Smallest share of the variance of a column that others may leave of it."""


class PartialRegression(NamedTuple):
    """Coefficients of one column in the regressions of G responses, ``(G,)`` each.

    Attributes
    ----------
    coefficient, variance
        Estimates and their moderated variances.
    pvalue
        P values of the two-sided test of a coefficient of 0.
    correlation
        Correlations of the column with each response, both without what the other columns
        explain of them.
    """

    coefficient: np.ndarray
    variance: np.ndarray
    pvalue: np.ndarray
    correlation: np.ndarray


class PartialRegressions:
    """Regressions of G responses whose observations are samples, or parts of samples.

    Responses of one sample may be correlated, equally for all its parts. What the other columns
    leave of the data is therefore split in two independent parts: differences between samples,
    with the variance between them, and differences within samples. The coefficient is estimated
    by least squares in each, and the two estimates are averaged with weights common to all
    responses, from the median of their variances. So no ratio of variances is estimated for a
    single response, which would make tests too liberal if there are few samples.

    Variances of each part are moderated over responses, as in limma: see
    :func:`moderate_variances`. The statistic is compared with the t distributions of the two
    parts, and the p value is their mean by the share of each part in the variance (Cochran and
    Cox, *Experimental Designs*, 1957), which is never below the exact one by much, and above it
    with few samples. If each sample is one observation, there is one part, and the test is that
    of limma.

    Parameters
    ----------
    response
        ``(U, G)`` responses.
    others
        ``(U, p)`` columns beside the one that is tested, the constant included; they may depend
        on each other.
    sample
        ``(U,)`` codes of samples, 0 to S - 1, each with an observation.

    Raises
    ------
    ValueError
        The columns leave no degrees of freedom between samples.
    """

    def __init__(self, response: np.ndarray, others: np.ndarray, sample: np.ndarray) -> None:
        basis = column_basis(others)
        n, n_samples = len(sample), int(sample.max()) + 1
        self._outside = basis
        left = response - basis @ (basis.T @ response)
        size, rest = np.linalg.norm(response, axis=0), np.linalg.norm(left, axis=0)
        # What rounding leaves of a response that the other columns explain is no variation.
        self.is_constant = rest <= 1e-7 * np.maximum(size, 1e-300)
        self._left = left
        self._level = response.mean(0)
        if n == n_samples:
            self._parts = [_Part(None, left, n - basis.shape[1])]
        else:
            members = (sample[:, None] == np.arange(n_samples)).astype(np.float64)
            between = column_basis(members - basis @ (basis.T @ members))
            within = left - between @ (between.T @ left)
            n_within = n - basis.shape[1] - between.shape[1]
            self._parts = [
                _Part(between, between.T @ left, between.shape[1]),
                _Part(None, within, n_within, between),
            ]
        if self._parts[0].n_free < 2:
            raise ValueError(
                f"Expected at least 3 samples, and more than columns of the regression that are "
                f"constant within samples, found {n_samples} samples."
            )

    def test(self, column: np.ndarray) -> PartialRegression:
        """Regress all responses on a column ``(U,)``; NaN where nothing can be tested."""
        own = column - self._outside @ (self._outside.T @ column)
        spread = float(((column - column.mean()) ** 2).sum())
        found = [part.fit(own, spread, self._level, self.is_constant) for part in self._parts]
        estimates = [estimate for estimate in found if estimate is not None]
        n_responses = self._left.shape[1]
        if not estimates or self.is_constant.all():
            none = np.full(n_responses, np.nan)
            return PartialRegression(none, none, none, none)
        weight = np.array([1.0 / np.median(e.variance[~self.is_constant]) for e in estimates])
        weight /= weight.sum()
        shares = [w**2 * e.variance for w, e in zip(weight, estimates, strict=True)]
        coefficient, variance = (np.zeros(n_responses) for _ in range(2))
        for w, estimate, share in zip(weight, estimates, shares, strict=True):
            coefficient += w * estimate.coefficient
            variance += share
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(coefficient) / np.sqrt(variance)
            pvalue = sum(
                2.0 * stats.t.sf(t, e.df) * s / variance
                for s, e in zip(shares, estimates, strict=True)
            )
            correlation = (own @ self._left) / (
                np.linalg.norm(own) * np.linalg.norm(self._left, axis=0)
            )
        for values in (coefficient, variance, pvalue, correlation):
            values[self.is_constant] = np.nan
        return PartialRegression(coefficient, variance, pvalue, correlation)


class _Estimate(NamedTuple):
    """Coefficients ``(G,)`` from one part of the data, their variances and degrees of freedom."""

    coefficient: np.ndarray
    variance: np.ndarray
    df: np.ndarray


class _Part:
    """Responses in one of two orthogonal parts of the space of the data.

    Parameters
    ----------
    basis
        Basis of the part; None for all that ``without`` leaves.
    response
        Responses in it.
    n_free
        Its dimension.
    without
        Basis of the other part.
    """

    def __init__(
        self,
        basis: np.ndarray | None,
        response: np.ndarray,
        n_free: int,
        without: np.ndarray | None = None,
    ) -> None:
        self.basis, self.response, self.n_free, self.without = basis, response, n_free, without

    def fit(
        self, column: np.ndarray, spread: float, level: np.ndarray, is_constant: np.ndarray
    ) -> _Estimate | None:
        """Fit all responses; None if the column does not vary here, or nothing is left of it."""
        own = column if self.basis is None else self.basis.T @ column
        if self.without is not None:
            own = own - self.without @ (self.without.T @ own)
        square, df = float(own @ own), self.n_free - 1
        if df < 1 or square <= _MIN_SHARE * max(spread, np.finfo(float).tiny):
            return None
        coefficient = own @ self.response / square
        residual = self.response - np.outer(own, coefficient)
        variance = (residual**2).sum(0) / df / square
        kept = ~is_constant
        dfs = np.full(len(variance), np.nan)
        if df > _MANY:
            dfs[kept] = df
        elif kept.any():
            moderated = moderate_variances(
                variance[kept], df, level[kept], n_independent=n_independent(residual[:, kept])
            )
            variance[kept], dfs[kept] = moderated.variance, moderated.df
        return _Estimate(coefficient, variance, dfs)


def n_independent(residual: np.ndarray) -> float:
    """Effective number of responses, G^2 / sum of squared correlations of residuals ``(U, G)``."""
    length = np.linalg.norm(residual, axis=0)
    unit = residual[:, length > 0] / length[length > 0]
    total = float(((unit @ unit.T) ** 2).sum())
    return unit.shape[1] ** 2 / total if total > 0 else 1.0


def column_basis(columns: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis ``(U, r)`` of columns that may depend on each other."""
    scale = np.linalg.norm(columns, axis=0)
    kept = scale > 1e-9 * max(scale.max(initial=0.0), 1e-300)
    left, value, _ = np.linalg.svd(columns[:, kept] / scale[kept], full_matrices=False)
    basis: np.ndarray = left[:, value > 1e-9 * max(value.max(initial=0.0), 1e-300)]
    return basis
