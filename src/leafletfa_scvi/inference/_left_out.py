"""How much of what a fit says of its own reads holds for reads that were left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from leafletfa_scvi.ops import MISASSIGNMENT_RATE

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries

_SAMPLED_CELLS, _SAMPLED_ENTRIES = 1000, 1 << 21
_MAX_LEVERAGE = 0.9
_MAX_KAPPA = 1e8
_FLOOR = 1e-3
"""Smallest activity in the curvature of its prior."""
_MEAN_READS = 2.0
"""Pseudo-reads of the mean of a junction."""


class Calibration(NamedTuple):
    """Slope of observed on predicted deviations from junction means, and its standard error."""

    slope: float
    se: float


def left_out_calibration(
    entries: ObservedEntries,
    phi: np.ndarray,
    psi: np.ndarray,
    psi_variance: np.ndarray,
    kappa: np.ndarray,
    alpha: np.ndarray,
    atse_codes: np.ndarray | None,
    is_trained: np.ndarray,
) -> Calibration:
    """Regress observed deviations from junction means on those predicted from other reads.

    The prediction of a (cell, ATSE) pair leaves out its reads, which its activities and, in
    training, its programs and junction means have followed. This needs no further fit: as in
    linear regression, the prediction of an entry without it is p - h (y / n - p) / (1 - h) with
    the leverage h, the derivative of p by y / n. Here h is w (x' S x + sum_k phi_k^2 var(psi_k)),
    with w the information of the entry about p, x = psi_j - p, and S the Laplace covariance of
    the activities. The residuals of the m junctions of an ATSE sum to 0, so that the first term is
    that of the ATSE, divided by m - 1.

    The slope is 1 if deviations are as large as predicted, and 0 if the fit has followed noise.

    Parameters
    ----------
    entries
        Observed entries of B cells. Evenly spaced ones are used: up to 1,000 cells, and about two
        million entries.
    phi
        ``(B, K)`` activities.
    psi, psi_variance
        ``(P, K)`` posterior means and variances of the programs; with batches, those of the P
        junctions in the first batch, then in the second, and so on.
    kappa
        ``(P,)`` concentrations.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    atse_codes
        ``(P,)`` 0-based ATSE of each junction; None without labels.
    is_trained
        ``(B,)`` True for cells that the programs were fitted to.

    Returns
    -------
    Slope and standard error over cells; NaN if no deviation is predicted.
    """
    n_cells, n_programs = phi.shape
    entries, kappa = entries.to("cpu"), np.minimum(kappa, _MAX_KAPPA)
    size_of_junction = np.zeros(entries.n_junctions)
    for _, block in entries.blocks():
        size_of_junction += np.bincount(
            block.column.numpy(), _independent_reads(block, kappa), entries.n_junctions
        )
    mean = _probability(psi @ (alpha / alpha.sum()))
    weight = np.ones(entries.n_junctions)
    if atse_codes is not None:
        n_of_atse = np.bincount(atse_codes)[atse_codes]
        weight = np.maximum(n_of_atse - 1, 1) / n_of_atse
    basis = np.linalg.qr(np.eye(n_programs) - 1.0 / n_programs)[0][:, : n_programs - 1]
    n_sampled = min(_SAMPLED_CELLS, 1 + n_cells * _SAMPLED_ENTRIES // max(entries.n_entries, 1))
    sampled = np.unique(np.linspace(0, n_cells - 1, min(n_cells, n_sampled)).astype(int))
    entries = entries.select(torch.from_numpy(sampled))
    indptr, column, count, total = (
        x.numpy() for x in (entries.indptr, entries.column, entries.count, entries.total)
    )
    size, row = _independent_reads(entries, kappa), column.astype(np.int64)
    if entries.batch is not None:
        row += np.repeat(entries.batch.numpy(), np.diff(indptr)) * entries.n_junctions
    sums = np.zeros((len(sampled), 2))
    for i, cell in enumerate(sampled):
        part = slice(indptr[i], indptr[i + 1])
        j, f = column[part], phi[cell]
        if not len(j):
            continue
        r, share = row[part], count[part] / total[part]
        programs, mean_psi = psi[r], mean[r]
        p = _probability(programs @ f)
        information, x = size[part] / (p * (1.0 - p)), programs - p[:, None]
        weighted = information * weight[j]
        curvature = (x * weighted[:, None]).T @ x
        curvature += np.diag(alpha.sum() / np.maximum(f, _FLOOR))
        covariance = basis @ np.linalg.inv(basis.T @ curvature @ basis) @ basis.T
        leverage = weighted * np.einsum("ek,ek->e", x @ covariance, x)
        if atse_codes is not None:
            _, of_atse = np.unique(atse_codes[j], return_inverse=True)
            n_free = np.maximum(np.bincount(of_atse) - 1, 1)
            leverage = (np.bincount(of_atse, leverage) / n_free)[of_atse]
        own_mean = mean_psi
        if is_trained[cell]:
            # Programs that are nearly equal follow a read as much as their mean does, although the
            # sum over programs, which takes them as independent, is smaller.
            of_mean = size[part] / (size_of_junction[j] + _MEAN_READS)
            leverage += np.maximum(information * (psi_variance[r] @ f**2), of_mean)
            own_mean, _ = leave_out(share, own_mean, of_mean)
        predicted = leave_out(share, p, leverage)[0] - own_mean
        # Between equal weights of PSI and the inverse of its variance, with which junctions whose
        # PSI is near 0 or 1 would decide.
        w = weight[j] * size[part] / np.sqrt(mean_psi * (1.0 - mean_psi))
        sums[i] = (w * predicted * (share - own_mean)).sum(), (w * predicted**2).sum()
    cross, square = sums.sum(0)
    if square <= 0.0:
        return Calibration(np.nan, np.nan)
    slope = cross / square
    se = np.sqrt(np.square(sums[:, 0] - slope * sums[:, 1]).sum()) / square
    return Calibration(float(slope), float(se))


def _independent_reads(entries: ObservedEntries, kappa: np.ndarray) -> np.ndarray:
    """Compute n (kappa + 1) / (kappa + n) of each entry, ``(nnz,)``."""
    total, k = entries.total.numpy().astype(np.float64), kappa[entries.column.numpy()]
    size: np.ndarray = total * (k + 1.0) / (k + total)
    return size


def leave_out(
    share: np.ndarray, p: np.ndarray, leverage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take the reads of entries out of their probabilities.

    Parameters
    ----------
    share
        ``(n,)`` y / n.
    p
        ``(n,)`` probabilities, which follow these reads.
    leverage
        ``(n,)`` derivative of p by y / n.

    Returns
    -------
    Probabilities without the reads, p - h (y / n - p) / (1 - h), and the leverage h, at most 0.9
    and such that these are probabilities.
    """
    with np.errstate(divide="ignore"):
        # What is left must be a probability, whatever the linear approximation says.
        limit = np.minimum(p / share, (1.0 - p) / (1.0 - share))
    h = np.minimum(leverage, _MAX_LEVERAGE * np.minimum(limit, 1.0))
    return _probability(p - h / (1.0 - h) * (share - p)), h


def _probability(p: np.ndarray) -> np.ndarray:
    """Keep probabilities away from 0 and 1."""
    kept: np.ndarray = np.clip(p, MISASSIGNMENT_RATE, 1.0 - MISASSIGNMENT_RATE)
    return kept
