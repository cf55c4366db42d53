"""How well probabilities predict counts: likelihood, correlations and errors by coverage."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, xlog1py, xlogy
from scipy.stats import rankdata

from leafletfa_scvi.ops import LEAK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

BINS = (1, 5, 10, 20, 50)
"""First ATSE total of each bin."""

_BLOCK = 1 << 20
_LARGE = 1e5
_SOME = 200_000
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
    """Score predicted probabilities of counts, whichever method they are from.

    Parameters
    ----------
    count, total
        ``(n,)`` junction counts y and ATSE totals of the entries, 0 <= y <= total, total > 0.
    p
        ``(n,)`` predicted PSI, taken into [1e-6, 1 - 1e-6], the range of the model's own.
    mean
        ``(n,)`` PSI of each entry's junction without regard to the cell, likewise: the reference.
    kappa, mean_kappa
        Beta-binomial concentrations that go with ``p`` and ``mean``, ``(n,)`` or one number;
        infinity is the binomial.
    bins
        First ATSE total of each bin, rising; None for the row of all entries alone.

    Returns
    -------
    pandas.DataFrame
        Row ``"all"`` and one for each bin, as ``"1-4"``, .. ``"50+"``. Columns:

        - ``n_entries``: number of entries;
        - ``log_likelihood``: mean over entries in nats, with the binomial coefficient;
        - ``log_likelihood_gain``: by how much that is above the one of ``mean``;
        - ``pearson``, ``spearman``: correlation of observed PSI, y / total, and ``p``;
        - ``pearson_deviation``, ``spearman_deviation``: of the two less ``mean``, so that
          junctions differing from each other do not count as prediction;
        - ``l1``, ``rmse``: mean absolute and root mean squared difference of the two.

        What is not defined, as a correlation with a constant, is NaN.

    Raises
    ------
    ValueError
        Arrays differ in length or break the ranges above, or ``bins`` do not rise.
    """
    lower = None if bins is None else _checked_bins(bins)
    y, n = _vector("count", count), _vector("total", total)
    predicted, reference = _vector("p", p), _vector("mean", mean)
    if not len(y) == len(n) == len(predicted) == len(reference):
        raise ValueError(
            f"Expected one value for each entry, found {len(y)} counts, {len(n)} totals, "
            f"{len(predicted)} of p and {len(reference)} of mean."
        )
    if not bool(np.all((y >= 0) & (y <= n) & (n > 0))):
        raise ValueError("Expected 0 <= count <= total and total > 0 in every entry.")
    predicted, reference = (np.clip(x, LEAK, 1.0 - LEAK) for x in (predicted, reference))
    value = beta_binomial_log_likelihood(y, n, predicted, kappa)
    gain = value - beta_binomial_log_likelihood(y, n, reference, mean_kappa)
    of_entry = value, gain, y / n, predicted, reference
    rows = {"all": _row(*of_entry)}
    if lower is not None:
        bin_of = np.searchsorted(lower, n, side="right") - 1
        for i, name in enumerate(_bin_names(lower)):
            rows[name] = _row(*(x[bin_of == i] for x in of_entry))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("atse_total")


def beta_binomial_log_likelihood(
    count: np.ndarray, total: np.ndarray, p: np.ndarray, kappa: ArrayLike
) -> np.ndarray:
    """Log-likelihood of each entry in nats, with the binomial coefficient, ``(n,)`` float64.

    Parameters
    ----------
    count, total
        ``(n,)`` float64, y and n.
    p
        ``(n,)`` float64, expected PSI, in (0, 1).
    kappa
        Concentration, ``(n,)`` or one number, above 0; infinity is the binomial.

    Raises
    ------
    ValueError
        A concentration is not above 0, or there is neither one nor one for each entry.
    """
    concentration = np.asarray(kappa, np.float64)
    if concentration.shape not in ((), count.shape) or not bool((concentration > 0).all()):
        raise ValueError(
            "Expected concentrations above 0, one in all or one for each of "
            f"{len(count)} entries, found shape {concentration.shape} with smallest "
            f"{concentration.min(initial=np.inf):g}."
        )
    each = np.broadcast_to(concentration, count.shape)
    out = np.empty(len(count))
    for start in range(0, len(count), _BLOCK):
        at = slice(start, start + _BLOCK)
        y, n, q, strength = (x[at] for x in (count, total, p, each))
        value = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
        binomial = np.isinf(strength)
        value[binomial] += (xlogy(y, q) + xlog1py(n - y, -q))[binomial]
        y, n, q, strength = (x[~binomial] for x in (y, n, q, strength))
        value[~binomial] += (
            _log_rising(strength * q, y)
            + _log_rising(strength * (1.0 - q), n - y)
            - _log_rising(strength, n)
        )
        out[at] = value
    return out


def fit_kappa(count: np.ndarray, total: np.ndarray, p: np.ndarray) -> float:
    """The one concentration of highest likelihood given ``p``, between 0.05 and 100,000.

    Arrays are those of :func:`beta_binomial_log_likelihood`; :func:`some_entries` are enough.
    """

    def loss(log_kappa: float) -> float:
        return -beta_binomial_log_likelihood(count, total, p, np.exp(log_kappa)).mean()

    bounds = tuple(np.log(_KAPPA_BOUNDS))
    fit = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(fit.x))


def some_entries(n_entries: int, seed: int = 0) -> np.ndarray:
    """Positions of all entries, or of 200,000 drawn with replacement where there are more."""
    if n_entries <= _SOME:
        return np.arange(n_entries)
    return np.random.default_rng(seed).integers(n_entries, size=_SOME)


def _log_rising(a: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Log of a (a + 1) .. (a + m - 1), by Stirling's series where lgamma would swallow it."""
    large = a > _LARGE
    if not large.any():
        return gammaln(a + m) - gammaln(a)
    small = np.where(large, 1.0, a)
    series = (a + m - 0.5) * np.log1p(m / a) + m * (np.log(a) - 1.0)
    series -= m / (12.0 * a * (a + m))
    return np.where(large, series, gammaln(small + m) - gammaln(small))


def _row(
    value: np.ndarray, gain: np.ndarray, observed: np.ndarray, p: np.ndarray, mean: np.ndarray
) -> dict[str, Any]:
    some = len(value) > 0
    error, deviation, expected = p - observed, observed - mean, p - mean
    return {
        "n_entries": len(value),
        "log_likelihood": value.mean() if some else np.nan,
        "log_likelihood_gain": gain.mean() if some else np.nan,
        "pearson": _pearson(observed, p),
        "spearman": _spearman(observed, p),
        "pearson_deviation": _pearson(deviation, expected),
        "spearman_deviation": _spearman(deviation, expected),
        "l1": np.abs(error).mean() if some else np.nan,
        "rmse": np.sqrt((error**2).mean()) if some else np.nan,
    }


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation, NaN where either does not vary beyond rounding."""
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
            f"Expected {name} as one finite value for each entry, found shape {array.shape}"
            + (" with values that are not finite." if array.ndim == 1 else ".")
        )
    return array


def _checked_bins(bins: Sequence[int]) -> list[int]:
    lower = list(bins)
    whole = all(isinstance(x, Integral) and x >= 1 for x in lower)
    if not lower or not whole or any(a >= b for a, b in zip(lower, lower[1:], strict=False)):
        raise ValueError(
            f"Expected bins as rising whole numbers from 1, the first ATSE total of each, "
            f"found {bins!r}."
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
