"""Scores of predicted PSI: likelihood, correlations and errors by coverage.

The likelihood is computed independently of :mod:`leafletfa_scvi.ops`, so that scores do not share
an error with the models that they evaluate.
"""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, xlog1py, xlogy
from scipy.stats import rankdata

from leafletfa_scvi.ops import MISASSIGNMENT_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

BINS = (1, 5, 10, 20, 50)
"""Lowest ATSE total of each bin."""

_BLOCK = 1 << 20
"""Number of entries evaluated at a time."""
_STIRLING_FROM = 1e5
"""Parameters above this use Stirling's series, where the difference of two lgamma cancels."""
_SAMPLE_SIZE = 200_000
_KAPPA_BOUNDS = (0.05, 1e5)


def score_predictions(
    count: ArrayLike,
    total: ArrayLike,
    p: ArrayLike,
    mean: ArrayLike,
    kappa: ArrayLike,
    mean_kappa: ArrayLike,
    *,
    bins: Sequence[int] | None = BINS,
) -> pd.DataFrame:
    """Score predicted PSI of any method against counts.

    Parameters
    ----------
    count, total
        ``(n,)`` junction counts y and ATSE totals of the entries, 0 <= y <= total, total > 0.
    p
        ``(n,)`` predicted PSI, clipped to [1e-6, 1 - 1e-6], the range of the model.
    mean
        ``(n,)`` reference PSI of the junction of each entry, independent of the cell; clipped
        likewise.
    kappa, mean_kappa
        Beta-binomial concentrations for ``p`` and ``mean``, ``(n,)`` or scalar; infinity is the
        binomial.
    bins
        Lowest ATSE total of each bin, ascending. If None, bins are omitted.

    Returns
    -------
    pandas.DataFrame
        A row ``"all"`` and one for each bin, ``"1-4"``, ..., ``"50+"``. Columns:

        - ``n_entries``: number of entries;
        - ``log_likelihood``: mean over entries in nats, including the binomial coefficient;
        - ``log_likelihood_gain``: difference to the log-likelihood of ``mean``;
        - ``pearson``, ``spearman``: correlation of observed PSI, y / total, and ``p``;
        - ``pearson_deviation``, ``spearman_deviation``: correlation of their deviations from
          ``mean``, so that differences between junctions do not count as predictions;
        - ``l1``, ``rmse``: mean absolute and root mean squared difference of y / total and ``p``.

        Undefined values, such as correlations with a constant, are NaN.

    Raises
    ------
    ValueError
        Arrays differ in length or violate the ranges above, or ``bins`` are not ascending.
    """
    lower = None if bins is None else _checked_bins(bins)
    y, n = _vector("count", count), _vector("total", total)
    predicted, reference = _vector("p", p), _vector("mean", mean)
    if not len(y) == len(n) == len(predicted) == len(reference):
        raise ValueError(
            "Expected count, total, p and mean with one value per entry, found "
            f"{len(y)}, {len(n)}, {len(predicted)} and {len(reference)} values."
        )
    if not bool(np.all((y >= 0) & (y <= n) & (n > 0))):
        raise ValueError("Expected 0 <= count <= total and total > 0 in every entry.")
    predicted, reference = (
        np.clip(x, MISASSIGNMENT_RATE, 1.0 - MISASSIGNMENT_RATE) for x in (predicted, reference)
    )
    value = beta_binomial_log_likelihood(y, n, predicted, kappa)
    gain = value - beta_binomial_log_likelihood(y, n, reference, mean_kappa)
    columns = value, gain, y / n, predicted, reference
    rows = {"all": _score_row(*columns)}
    if lower is not None:
        bin_of = np.searchsorted(lower, n, side="right") - 1
        for i, name in enumerate(_bin_names(lower)):
            rows[name] = _score_row(*(x[bin_of == i] for x in columns))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("atse_total")


def beta_binomial_log_likelihood(
    count: np.ndarray, total: np.ndarray, p: np.ndarray, kappa: ArrayLike
) -> np.ndarray:
    """Compute the log-likelihood of each entry in nats, ``(n,)`` float64.

    The binomial coefficient is included.

    Parameters
    ----------
    count, total
        ``(n,)`` float64, y and n.
    p
        ``(n,)`` float64, expected PSI, in (0, 1).
    kappa
        Positive concentration, ``(n,)`` or scalar; infinity is the binomial.

    Raises
    ------
    ValueError
        A concentration is not positive, or ``kappa`` has another shape.
    """
    concentration = np.asarray(kappa, np.float64)
    if concentration.shape not in ((), count.shape) or not bool((concentration > 0).all()):
        raise ValueError(
            f"Expected positive concentrations, one or {len(count)} (one per entry), found shape "
            f"{concentration.shape} with minimum {concentration.min(initial=np.inf):g}."
        )
    concentration = np.broadcast_to(concentration, count.shape)
    out = np.empty(len(count))
    for start in range(0, len(count), _BLOCK):
        block = slice(start, start + _BLOCK)
        y, n, q, k = (x[block] for x in (count, total, p, concentration))
        value = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
        binomial = np.isinf(k)
        value[binomial] += (xlogy(y, q) + xlog1py(n - y, -q))[binomial]
        y, n, q, k = (x[~binomial] for x in (y, n, q, k))
        value[~binomial] += (
            _log_rising(k * q, y) + _log_rising(k * (1.0 - q), n - y) - _log_rising(k, n)
        )
        out[block] = value
    return out


def fit_kappa(count: np.ndarray, total: np.ndarray, p: np.ndarray) -> float:
    """Fit one concentration by maximum likelihood given ``p``, in [0.05, 100,000].

    Arrays are those of :func:`beta_binomial_log_likelihood`, for a sample of entries if there are
    many (:func:`sample_entries`).
    """

    def loss(log_kappa: float) -> float:
        return -float(beta_binomial_log_likelihood(count, total, p, np.exp(log_kappa)).mean())

    bounds = tuple(np.log(_KAPPA_BOUNDS))
    fit = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(fit.x))


def sample_entries(n_entries: int, seed: int = 0) -> np.ndarray:
    """Return the positions of all entries, or of 200,000 drawn with replacement if more."""
    if n_entries <= _SAMPLE_SIZE:
        return np.arange(n_entries)
    return np.random.default_rng(seed).integers(n_entries, size=_SAMPLE_SIZE)


def _log_rising(a: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Compute log a (a + 1) .. (a + m - 1), by Stirling's series for large ``a``."""
    large = a > _STIRLING_FROM
    if not large.any():
        exact: np.ndarray = gammaln(a + m) - gammaln(a)
        return exact
    small = np.where(large, 1.0, a)
    series = (a + m - 0.5) * np.log1p(m / a) + m * (np.log(a) - 1.0)
    series -= m / (12.0 * a * (a + m))
    mixed: np.ndarray = np.where(large, series, gammaln(small + m) - gammaln(small))
    return mixed


def _score_row(
    value: np.ndarray, gain: np.ndarray, observed: np.ndarray, p: np.ndarray, mean: np.ndarray
) -> dict[str, Any]:
    has_entries = len(value) > 0
    error, deviation, expected = p - observed, observed - mean, p - mean
    return {
        "n_entries": len(value),
        "log_likelihood": value.mean() if has_entries else np.nan,
        "log_likelihood_gain": gain.mean() if has_entries else np.nan,
        "pearson": _pearson(observed, p),
        "spearman": _spearman(observed, p),
        "pearson_deviation": _pearson(deviation, expected),
        "spearman_deviation": _spearman(deviation, expected),
        "l1": np.abs(error).mean() if has_entries else np.nan,
        "rmse": np.sqrt((error**2).mean()) if has_entries else np.nan,
    }


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the correlation; NaN if either array is constant up to rounding."""
    if len(a) < 2 or min(np.ptp(a), np.ptp(b)) < 1e-12:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or min(np.ptp(a), np.ptp(b)) < 1e-12:
        return np.nan
    return _pearson(rankdata(a), rankdata(b))


def _vector(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not bool(np.isfinite(array).all()):
        raise ValueError(
            f"Expected {name} with one finite value per entry, found shape {array.shape}"
            + (" with non-finite values." if array.ndim == 1 else ".")
        )
    return array


def _checked_bins(bins: Sequence[int]) -> list[int]:
    lower = list(bins)
    is_positive = all(isinstance(x, Integral) and x >= 1 for x in lower)
    if not lower or not is_positive or any(a >= b for a, b in zip(lower, lower[1:], strict=False)):
        raise ValueError(
            "Expected bins to be ascending positive integers, the lowest ATSE total of each "
            f"bin, found {bins!r}."
        )
    return lower


def _bin_names(lower: list[int]) -> list[str]:
    ends = [*(x - 1 for x in lower[1:]), None]
    names = []
    for first, last in zip(lower, ends, strict=True):
        names.append(
            f"{first}+" if last is None else str(first) if first == last else f"{first}-{last}"
        )
    return names
