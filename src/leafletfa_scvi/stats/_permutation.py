"""Shares of variance that a column explains, and their distribution if it is permuted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Iterable

_TIE = 1e-10
"""Relative difference below which a permuted share counts as equal to the observed one."""


class PermutationTest(NamedTuple):
    """Result of a permutation test of K responses.

    Attributes
    ----------
    share
        ``(K,)`` share of the variance that the column explains; NaN for a constant response.
    expected
        ``(K,)`` mean of the share over permutations.
    pvalue
        ``(K,)`` (1 + number of permutations with at least this share) / (1 + number of
        permutations).
    """

    share: np.ndarray
    expected: np.ndarray
    pvalue: np.ndarray


def permute_samples(
    response: np.ndarray,
    column: np.ndarray,
    sample: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
) -> PermutationTest:
    """Test a column that is constant within samples, by permuting it over samples.

    Parameters
    ----------
    response
        ``(C, K)``.
    column
        ``(C,)`` codes of groups (integers) or numbers (floats).
    sample
        ``(C,)`` codes of samples, 0 to S - 1.
    n_permutations
        Number of permutations.
    rng
        Source of the permutations.
    """
    n_samples = int(sample.max()) + 1
    centered = response - response.mean(0)
    size = np.bincount(sample).astype(np.float64)
    sums = _indicator(sample, n_samples) @ centered
    _, first = np.unique(sample, return_index=True)
    values = column[first]
    total = (centered**2).sum(0)

    def explained(permuted: np.ndarray) -> np.ndarray:
        return _explained(permuted, size, sums)

    draws = (values[rng.permutation(n_samples)] for _ in range(n_permutations))
    return _compare(explained(values), (explained(v) for v in draws), total, n_permutations)


def permute_within_samples(
    response: np.ndarray,
    column: np.ndarray,
    sample: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
) -> PermutationTest:
    """Test a column that varies within samples, by permuting it over the cells of each.

    The share is of the variance within samples: responses, and a numeric column, are deviations
    from the mean of the sample. Parameters are those of :func:`permute_samples`.
    """
    n_samples, n = int(sample.max()) + 1, len(sample)
    members, size = _indicator(sample, n_samples), np.bincount(sample)
    centered = response - (members @ response / size[:, None])[sample]
    if column.dtype.kind == "f":
        column = column - (np.bincount(sample, column) / size)[sample]
    order = np.argsort(sample, kind="stable")
    sorted_sample = sample[order]
    ones, total = np.ones(n), (centered**2).sum(0)

    def draws() -> np.ndarray:
        shuffled = np.empty_like(column)
        shuffled[order] = column[order[np.argsort(sorted_sample + rng.random(n))]]
        return shuffled

    observed = _explained(column, ones, centered)
    permuted = (_explained(draws(), ones, centered) for _ in range(n_permutations))
    return _compare(observed, permuted, total, n_permutations)


def _explained(column: np.ndarray, size: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Sum of squares ``(K,)`` that a column explains of responses of mean 0.

    ``sums`` ``(n, K)`` are sums of the responses of ``size`` ``(n,)`` cells with the same value.
    """
    if column.dtype.kind == "f":
        deviation = column - (size @ column) / size.sum()
        square = (size * deviation**2).sum()
        slope: np.ndarray = deviation @ sums
        return slope**2 / square if square > 0 else np.zeros(sums.shape[1])
    n_groups = int(column.max()) + 1
    cells = np.bincount(column, size, minlength=n_groups)
    means = (_indicator(column, n_groups) @ sums) ** 2 / np.maximum(cells, 1.0)[:, None]
    explained: np.ndarray = means.sum(0)
    return explained


def _compare(
    observed: np.ndarray, permuted: Iterable[np.ndarray], total: np.ndarray, n_permutations: int
) -> PermutationTest:
    """Compare a sum of squares with those of permuted columns."""
    n_above, mean = np.ones(len(total)), np.zeros(len(total))
    for value in permuted:
        n_above += value >= observed * (1.0 - _TIE)
        mean += value / n_permutations
    varies = total > _TIE
    scale = np.where(varies, total, np.nan)
    pvalue = np.where(varies, n_above / (n_permutations + 1.0), np.nan)
    return PermutationTest(observed / scale, mean / scale, pvalue)


def _indicator(codes: np.ndarray, n_codes: int) -> sp.csr_matrix:
    """Matrix ``(n_codes, n)`` that sums over equal codes."""
    ones = np.ones(len(codes))
    return sp.csr_matrix((ones, (codes, np.arange(len(codes)))), shape=(n_codes, len(codes)))
