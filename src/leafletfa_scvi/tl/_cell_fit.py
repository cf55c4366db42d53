"""Log-likelihood and squared residuals of the reads of cells, and what the model expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi.inference import leave_out
from leafletfa_scvi.model._expected import programs_of_batches
from leafletfa_scvi.model._variances import composite_weight
from leafletfa_scvi.ops import MISASSIGNMENT_RATE
from leafletfa_scvi.tl._expected_log_likelihood import ExpectedLogLikelihood
from leafletfa_scvi.tl._scores import beta_binomial_log_likelihood

if TYPE_CHECKING:
    from leafletfa_scvi import LeafletFAModel
    from leafletfa_scvi.model._cells import CellPosterior

_BLOCK = 1 << 19
"""Number of entries whose K terms are held in memory at a time."""
_VARIANCE_OF_RESIDUAL = 200.0
"""Variance of a squared residual at which it has half of its weight, so that single reads of
junctions whose PSI is near 0 do not decide."""
_MAX_KAPPA = 1e6


@torch.no_grad()
def cell_fit(model: LeafletFAModel, cells: CellPosterior) -> pd.DataFrame:
    """Sum log-likelihood and squared residuals over the entries of each cell, and expectations.

    A count of a cell that was not trained on is beta-binomial with mean p = sum_k phi_k psi_k and
    variance of its PSI increased by that of the programs, V = sum_k phi_k^2 var(psi_k). A cell
    that was trained on fits better, as the programs have followed its own reads: with the leverage
    h = V / (V of the reads alone), they are taken out again, p - h (y / n - p) / (1 - h) and
    V / (1 - h), as in linear regression.

    Parameters
    ----------
    model
        Trained model.
    cells
        Cells with their observed entries and activities.

    Returns
    -------
    A row per cell: ``n_observed``, ``n_reads`` (sum of junction counts), ``log_likelihood``,
    ``null_log_likelihood``, ``expected_log_likelihood``; ``excess``, weighted sum of squared
    residuals minus their expectation, and ``sd``, its standard deviation. Entries are weighted by
    the composite weight, (m - 1) / m in ATSEs of m junctions; squared residuals also by
    1 / (1 + v / 200), v their variance.
    """
    entries = cells.observed()
    n_junctions = entries.n_junctions
    a, b = (x.cpu().double()[:n_junctions].numpy() for x in model.module.guide.psi_marginal())
    laplace = model.module.guide.psi_variance.cpu().double()[:n_junctions].numpy()
    variance = np.maximum(a * b / ((a + b) ** 2 * (a + b + 1.0)), laplace)
    psi, variance = programs_of_batches(model, variance)
    kappa = model.get_concentrations().to_numpy()
    mean_psi = psi @ model.get_program_prevalence().to_numpy(np.float64)
    composite = composite_weight(model)
    weight = np.ones(n_junctions) if composite is None else composite.double().numpy()
    phi = cells.mean.double().numpy()
    is_trained = (cells.position >= 0) & (not model.frozen_programs_)
    expected = ExpectedLogLikelihood(entries.max_total())

    sums = np.zeros((7, entries.n_cells))
    for rows, block in entries.blocks(_BLOCK):
        row, column = block.rows().numpy(), block.column.numpy()
        y, n = (x.numpy().astype(np.float64) for x in (block.count, block.total))
        activity, program = phi[rows][row], column
        if block.batch is not None:
            program = block.batch.numpy()[row] * n_junctions + column
        p = np.einsum("ek,ek->e", activity, psi[program])
        p = np.clip(p, MISASSIGNMENT_RATE, 1.0 - MISASSIGNMENT_RATE)
        spread = np.einsum("ek,ek->e", np.square(activity), variance[program])
        k = kappa[column]
        trained = is_trained[rows][row]
        left_out = _leave_out(y[trained], n[trained], p[trained], spread[trained], k[trained])
        p[trained], spread[trained] = left_out
        k = _predictive_concentration(p, spread, k)
        squared = np.square(y / n - p) / (p * (1.0 - p) * _relative_variance(n, k))
        var = squared_residual_variance(n, p, k)
        share = 1.0 / (1.0 + var / _VARIANCE_OF_RESIDUAL)
        w = weight[column]
        null = np.clip(mean_psi[program], MISASSIGNMENT_RATE, 1.0 - MISASSIGNMENT_RATE)
        terms = (
            np.ones(len(row)),
            y,
            w * beta_binomial_log_likelihood(y, n, p, k),
            w * beta_binomial_log_likelihood(y, n, null, kappa[column]),
            w * expected.mean(n, p, k),
            w * share * (squared - 1.0),
            # m - 1 of the m terms of an ATSE are independent.
            w * np.square(share) * var,
        )
        for total, term in zip(sums[:, rows], terms, strict=True):
            total += np.bincount(row, term, block.n_cells)
    return pd.DataFrame(
        {
            "n_observed": sums[0].astype(np.int64),
            "n_reads": sums[1].astype(np.int64),
            "log_likelihood": sums[2],
            "null_log_likelihood": sums[3],
            "expected_log_likelihood": sums[4],
            "excess": sums[5],
            "sd": np.sqrt(sums[6]),
        },
        index=pd.Index(cells.names),
    )


def _leave_out(
    y: np.ndarray, n: np.ndarray, p: np.ndarray, spread: np.ndarray, kappa: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take the reads of a cell out of p and its variance."""
    own = p * (1.0 - p) * _relative_variance(n, kappa)
    left, h = leave_out(y / n, p, spread / own)
    return left, spread / (1.0 - h)


def _relative_variance(n: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Variance of y / n over p (1 - p): (kappa + n) / (n (kappa + 1))."""
    rho = 1.0 / (kappa + 1.0)
    relative: np.ndarray = rho + (1.0 - rho) / n
    return relative


def squared_residual_variance(n: np.ndarray, p: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Variance of (y - n p)^2 / var(y) for beta-binomial y, its kurtosis minus 1, ``(n,)``.

    The kurtosis is that of Johnson, Kemp and Kotz, Univariate Discrete Distributions, 6.9.
    """
    k = np.minimum(kappa, _MAX_KAPPA)
    ab = k * p * k * (1.0 - p)
    inner = k * (k - 1.0 + 6.0 * n) + 3.0 * ab * (n - 2.0) + 6.0 * n**2
    inner = inner - 3.0 * ab * n * (6.0 - n) / k - 18.0 * ab * n**2 / k**2
    kurtosis = k**2 * (1.0 + k) / (n * ab * (k + 2.0) * (k + 3.0) * (k + n)) * inner
    variance: np.ndarray = np.maximum(kurtosis - 1.0, 0.0)
    return variance


def _predictive_concentration(p: np.ndarray, spread: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Concentration of a beta-binomial whose p has the given variance.

    1 / (kappa' + 1) = 1 / (kappa + 1) + kappa / (kappa + 1) spread / (p (1 - p)).
    """
    rho = 1.0 / (kappa + 1.0)
    rho = rho + (1.0 - rho) * np.minimum(spread / (p * (1.0 - p)), 1.0)
    concentration: np.ndarray = np.clip(1.0 / np.maximum(rho, 1e-9) - 1.0, 1e-2, 1e8)
    return concentration
