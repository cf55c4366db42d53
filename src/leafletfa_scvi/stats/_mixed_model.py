"""Linear models of many responses whose observations are samples, or parts of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

_MIN_WITHIN = 3
"""Fewest degrees of freedom within samples that the variance of an observation is taken from."""
_BOUND = 0.99
"""Smallest ratio of variances, as a part of that at which covariances become singular."""
_MAX_RATIO = 1e3


@dataclass(frozen=True)
class MixedModelFit:
    """Result of :func:`fit_mixed_model` for K responses and p columns of the design.

    Attributes
    ----------
    coefficient
        ``(K, p)`` estimates.
    variance
        ``(K, p)`` their variances.
    df
        ``(K, p)`` degrees of freedom of these variances (Satterthwaite).
    ratio
        ``(K,)`` variance of the random intercept over the mean variance of an observation.
    weight
        ``(U, K)`` reciprocal variances of observations, relative to their mean variance.
    residual
        ``(U, K)`` standardized residuals.
    """

    coefficient: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    ratio: np.ndarray
    weight: np.ndarray
    residual: np.ndarray
    _design: np.ndarray
    _sample: np.ndarray

    def coefficients_of(self, response: np.ndarray) -> np.ndarray:
        """Estimate the coefficients of other responses ``(U, K)`` with the same weights."""
        estimates = np.empty_like(self.coefficient)
        for k in range(response.shape[1]):
            covariance = _Covariance(self._sample, self.weight[:, k], self.ratio[k])
            estimates[k] = _solve(covariance, self._design, response[:, k])[0]
        return estimates

    def n_independent(self) -> float:
        """Effective number of responses, K^2 / sum of squared correlations of residuals."""
        length = np.linalg.norm(self.residual, axis=0)
        unit = self.residual / np.where(length > 0, length, 1.0)
        total = ((unit.T @ unit) ** 2).sum()
        return float((length > 0).sum() ** 2 / total) if total > 0 else 1.0


def fit_mixed_model(
    response: np.ndarray,
    design: np.ndarray,
    sample: np.ndarray,
    error_variance: np.ndarray | None = None,
) -> MixedModelFit:
    """Fit linear models with a random intercept of each sample.

    Observation u of sample i has y_u = x_u' beta + b_i + e_u with variances sigma_b^2 of b and
    tau^2 + v_u of e, where v_u is the known error of measurement. Weights 1 / (tau^2 + v_u) come
    from a moment estimate of tau^2, at least the mean of v. Their scale and sigma_b^2 are
    estimated by restricted maximum likelihood (REML), the coefficients by generalized least
    squares, with the degrees of freedom of Satterthwaite. As the scale is free, wrong v_u cost
    precision but do not make variances too small (Hartung and Knapp, *Statistics in Medicine* 20,
    2001).

    The covariance within a sample may be estimated as negative, as in an analysis of variance: in
    balanced designs the tests are then exactly those of paired differences and of sample means.
    Without samples of several observations this is weighted least squares.

    Parameters
    ----------
    response
        ``(U, K)`` responses.
    design
        ``(U, p)`` of full column rank.
    sample
        ``(U,)`` codes of samples from 0.
    error_variance
        ``(U, K)`` variances v of measurement; None for 0.

    Raises
    ------
    ValueError
        The columns of the design are not independent, or leave no degrees of freedom to estimate
        the variance between observations or between samples.
    """
    y, x = np.asarray(response, np.float64), np.asarray(design, np.float64)
    n, p = x.shape
    n_samples = int(sample.max()) + 1
    if np.linalg.matrix_rank(x) < p:
        raise ValueError("Expected independent columns of the design, found one given by others.")
    if n <= p:
        raise ValueError(f"Expected more observations than columns of the design, found {n}, {p}.")
    within = _centered(x, sample)
    rank_within = int(np.linalg.matrix_rank(within)) if np.abs(within).max() > 1e-9 else 0
    df_between = n_samples + rank_within - p
    df_within = n - n_samples - rank_within
    is_grouped = n > n_samples and df_within > 0
    if is_grouped and df_between <= 0:
        raise ValueError(
            f"Expected more samples than columns that are constant within samples, found "
            f"{n_samples} and {p - rank_within}."
        )
    weight = np.ones_like(y)
    if error_variance is not None:
        use_within = is_grouped and df_within >= _MIN_WITHIN
        weight = _weights(y, x, sample, error_variance, df_within if use_within else None)
    shape = (y.shape[1], p)
    fit = MixedModelFit(
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.zeros(y.shape[1]),
        weight,
        np.empty_like(y),
        x,
        sample,
    )
    for k in range(y.shape[1]):
        ratio = _fit_ratio(y[:, k], x, sample, weight[:, k]) if is_grouped else 0.0
        covariance = _Covariance(sample, weight[:, k], ratio)
        beta, inverse, residual, quadratic = _solve(covariance, x, y[:, k])
        fit.ratio[k] = ratio
        fit.coefficient[k] = beta
        fit.variance[k] = quadratic / (n - p) * np.diag(inverse)
        fit.df[k] = _satterthwaite(covariance, x, inverse) if is_grouped else n - p
        fit.residual[:, k] = residual * np.sqrt(weight[:, k])
    return fit


class _Covariance:
    """Covariance diag(1 / w) + ratio 1 1' within each sample, as operations on columns."""

    def __init__(self, sample: np.ndarray, weight: np.ndarray, ratio: float) -> None:
        self.sample, self.weight, self.ratio = sample, weight, ratio
        self.size = np.bincount(sample)
        self.total = np.bincount(sample, weight)
        self.factor = 1.0 / (1.0 + ratio * self.total)

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """Sum over the observations of each sample, ``(S, q)``."""
        out = np.empty((len(self.size), columns.shape[1]))
        for q in range(columns.shape[1]):
            out[:, q] = np.bincount(self.sample, columns[:, q])
        return out

    def inverse_times(self, columns: np.ndarray) -> np.ndarray:
        """Multiply the inverse with columns ``(U, q)`` (Sherman and Morrison)."""
        if not self.ratio:
            product: np.ndarray = self.weight[:, None] * columns
            return product
        weighted = self.weight[:, None] * columns
        common = (self.ratio * self.factor)[:, None] * self.sums(weighted)
        product = weighted - self.weight[:, None] * common[self.sample]
        return product

    def log_determinant(self) -> float:
        return float(-np.log(self.weight).sum() - np.log(self.factor).sum())

    def traces(self) -> np.ndarray:
        """Traces of V^-1 V_i V^-1 V_j, (2, 2), for V_0 = 1 1' in each sample, V_1 = diag(1/w)."""
        both = (self.total * self.factor**2).sum()
        return np.array(
            [
                [((self.total * self.factor) ** 2).sum(), both],
                [both, (self.size - 1.0 + self.factor**2).sum()],
            ]
        )


def _solve(
    covariance: _Covariance, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Coefficients, inverse of X'V^-1X, residuals, and their quadratic form."""
    scaled = covariance.inverse_times(x)
    inverse = np.linalg.inv(x.T @ scaled)
    beta = inverse @ (scaled.T @ y)
    residual = y - x @ beta
    quadratic = float(residual @ covariance.inverse_times(residual[:, None])[:, 0])
    return beta, inverse, residual, max(quadratic, 0.0)


def _fit_ratio(y: np.ndarray, x: np.ndarray, sample: np.ndarray, weight: np.ndarray) -> float:
    """Estimate the ratio of variances by REML, the scale being profiled out."""
    n_free = len(y) - x.shape[1]
    if np.ptp(y) == 0.0:
        return 0.0
    most = float(np.bincount(sample, weight).max())
    # Searched on a scale on which both ends are finite: the smallest eigenvalue of the covariance
    # of the largest sample is 1 + ratio * most.
    low, high = np.log1p(-_BOUND), np.log1p(_MAX_RATIO * most)

    def loss(logarithm: float) -> float:
        covariance = _Covariance(sample, weight, float(np.expm1(logarithm)) / most)
        _, inverse, _, quadratic = _solve(covariance, x, y)
        log_scale = n_free * np.log(max(quadratic, np.finfo(float).tiny))
        return float(
            log_scale + covariance.log_determinant() - np.linalg.slogdet(inverse).logabsdet
        )

    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.expm1(found.x)) / most


def _satterthwaite(covariance: _Covariance, x: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Degrees of freedom ``(p,)`` of the variances of coefficients, from expected information."""
    scaled = covariance.inverse_times(x)
    parts = [covariance.sums(scaled)[covariance.sample], scaled / covariance.weight[:, None]]
    slopes = [inverse @ (scaled.T @ part) for part in parts]
    information = covariance.traces()
    for i in range(2):
        for j in range(2):
            cross = parts[i].T @ covariance.inverse_times(parts[j])
            information[i, j] -= 2.0 * np.trace(inverse @ cross)
            information[i, j] += np.trace(slopes[i] @ slopes[j])
    gradient = np.stack([np.diag(slope @ inverse) for slope in slopes])
    spread = np.einsum("ip,ij,jp->p", gradient, np.linalg.pinv(information / 2.0), gradient)
    value = np.diag(inverse)
    n_free = float(len(x) - x.shape[1])
    df: np.ndarray = 2.0 * value**2 / np.maximum(spread, 2.0 * value**2 / n_free)
    df = np.maximum(df, 1.0)
    return df


def _centered(columns: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Subtract the means of samples from columns ``(U, q)``."""
    size = np.bincount(sample)
    means = np.stack([np.bincount(sample, c) / size for c in columns.T], axis=1)
    centered: np.ndarray = columns - means[sample]
    return centered


def _weights(
    y: np.ndarray, x: np.ndarray, sample: np.ndarray, error: np.ndarray, df: int | None
) -> np.ndarray:
    """Reciprocals ``(U, K)`` of tau^2 + v, relative to their mean.

    tau^2 comes from the second moment of residuals: those within samples, which have ``df``
    degrees of freedom, or, if None, all; tau^2 then includes the variance between samples.

    It is taken to be at least the mean of v. With few samples an estimate near 0 is often chance,
    and weights that then differ by more than true variances do make tests too liberal.
    """
    n_free = len(x) - x.shape[1] if df is None else df
    left = np.ones(len(x))
    if df is not None:
        x, y = _centered(x, sample), _centered(y, sample)
        left -= 1.0 / np.bincount(sample)[sample]
    inverse = np.linalg.pinv(x)
    square = ((y - x @ (inverse @ y)) ** 2).sum(0)
    left -= np.einsum("up,pu->u", x, inverse)  # one minus the leverage
    tau = np.maximum((square - np.maximum(left, 0.0) @ error) / n_free, error.mean(0))
    total = tau + error
    mean = total.mean(0)
    weight: np.ndarray = np.where(mean > 0, mean / np.where(mean > 0, total, 1.0), 1.0)
    return weight
