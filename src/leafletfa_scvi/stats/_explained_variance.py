"""Variance of observed PSI that an expectation explains, and the part of each program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp


class SumsOfSquares(NamedTuple):
    """Sums of squares of junctions, each ``(P,)`` but ``parts``, ``(P, K)``.

    Attributes
    ----------
    total
        Squared deviations of observed PSI from the mean of the junction, weighted by reads.
    residual
        Those from the expectation.
    parts
        Part of each program in ``total - residual``; rows sum to it.
    noise
        Estimate of the part of the counting of reads in ``total``, over entries with at least two
        reads.
    total_repeated, residual_repeated
        ``total`` and ``residual`` over these entries.
    reads, entries
        Number of reads, summed over cells, and of observed entries.
    """

    total: np.ndarray
    residual: np.ndarray
    parts: np.ndarray
    noise: np.ndarray
    total_repeated: np.ndarray
    residual_repeated: np.ndarray
    reads: np.ndarray
    entries: np.ndarray


def sums_of_squares(
    count: sp.csr_matrix,
    total: np.ndarray,
    expected: np.ndarray,
    activities: np.ndarray,
    programs: np.ndarray,
) -> SumsOfSquares:
    """Sum squared deviations of the observed PSI of each junction.

    With r = y / n - m and the expected deviation d = p - m = sum_k d_k, d_k = phi_k (psi_k - m),
    the sum of squares falls by sum n d (2 r - d). The part sum n d_k (2 r - d) of program k is its
    Shapley value: the mean, over all orders of the programs, of what adding d_k to those before it
    takes from the sum of squares.

    Parameters
    ----------
    count
        Junction counts y ``(C, P)``, of all observed entries, zeros stored.
    total
        ATSE totals n of the entries, ``(nnz,)``, above 0.
    expected
        Expected PSI p = phi psi of the entries, ``(nnz,)``.
    activities
        ``(C, K)``.
    programs
        ``(P, K)``.
    """
    column, n_junctions = count.indices, count.shape[1]
    y, n, p = (np.asarray(v, np.float64) for v in (count.data, total, expected))

    def by_junction(values: np.ndarray) -> np.ndarray:
        return np.bincount(column, values, minlength=n_junctions)

    reads = by_junction(n)
    pooled = by_junction(y) / np.maximum(reads, 1e-300)
    observed, mean = y / n, pooled[column]
    around_mean, around_expected = n * (observed - mean) ** 2, n * (observed - p) ** 2
    repeated = n >= 2
    # y (n - y) / (n (n - 1)) is an unbiased estimate of p (1 - p), and n times the variance of
    # y / n is p (1 - p).
    noise = np.where(repeated, y * (n - y) / (n * np.maximum(n - 1.0, 1.0)), 0.0)
    slope = sp.csr_matrix((n * (2.0 * observed - mean - p), column, count.indptr), count.shape)
    parts = (slope.T @ np.asarray(activities, np.float64)) * (programs - pooled[:, None])
    return SumsOfSquares(
        total=by_junction(around_mean),
        residual=by_junction(around_expected),
        parts=parts,
        noise=by_junction(noise),
        total_repeated=by_junction(np.where(repeated, around_mean, 0.0)),
        residual_repeated=by_junction(np.where(repeated, around_expected, 0.0)),
        reads=reads,
        entries=np.bincount(column, minlength=n_junctions),
    )
