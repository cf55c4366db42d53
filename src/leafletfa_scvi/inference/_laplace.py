"""Marginal variances of activities and programs from K x K blocks of information.

The guide treats the activities of a cell, and the PSI of a junction under several programs, as
independent; if few reads distinguish programs, they are correlated, and its intervals are too
narrow. Here the information of the likelihood about a cell's activities (a junction's programs)
is one K x K matrix, to which that of the prior is added before it is inverted (Laplace).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from leafletfa_scvi.inference._curvature import weighted_entries
from leafletfa_scvi.likelihoods import Factors, likelihood_of

if TYPE_CHECKING:
    from leafletfa_scvi.ops import Entries
    from leafletfa_scvi.priors import PriorFit

_FLOOR = 1e-3
_BLOCK = 1 << 22
_GATHERED = 1 << 24
"""Approximate number of values in a block of K x K matrices."""
_MEAN_READS = 2.0
"""Pseudo-reads of the mean of a junction."""


def _pairs(values: np.ndarray) -> np.ndarray:
    """Multiply every two columns, ``(n, K (K + 1) / 2)``."""
    first, second = np.triu_indices(values.shape[1])
    # Indexed columns are in Fortran order, of which each sparse product would make a copy.
    return np.ascontiguousarray(values[:, first] * values[:, second])


def _matrices(pairs: np.ndarray, n_programs: int) -> np.ndarray:
    """Make symmetric ``(n, K, K)`` matrices of their upper triangles."""
    first, second = np.triu_indices(n_programs)
    out = np.empty((len(pairs), n_programs, n_programs))
    out[:, first, second] = pairs
    out[:, second, first] = pairs
    return out


def activity_variance(
    entries: Entries,
    factors: Factors,
    alpha_sum: float,
    composite_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the variances ``(B, K)`` of activities given the programs.

    On rows that sum to one, the covariance is T (T' (I + S diag(1 / phi)) T)^-1 T' with T a basis
    of vectors that sum to zero, I the information of the likelihood and S the sum of the
    Dirichlet prior, whose information in softmax coordinates is S (diag(phi) - phi phi').

    Parameters
    ----------
    entries
        Observed entries of B cells.
    factors
        Posterior means.
    alpha_sum
        Sum S of the Dirichlet prior of activities.
    composite_weight
        ``(P,)`` weight of the information of each junction: (m - 1) / m if the m junctions of an
        ATSE are scored as independent (composite likelihood). None if they share its reads.
    """
    factors = factors.to("cpu")
    phi, psi = factors.phi, factors.psi
    n_programs = phi.shape[1]
    variance = torch.zeros(phi.shape, dtype=torch.float32, device="cpu")
    if factors.shift is not None:
        for own, each in factors.in_batches(entries.to("cpu")):
            variance[own.cells] = activity_variance(own.entries, each, alpha_sum, composite_weight)
        return variance
    if n_programs == 1:
        return variance
    psi_np = psi.double().numpy()
    phi_np = np.maximum(phi.double().numpy(), _FLOOR)
    products = _pairs(psi_np)
    if composite_weight is not None:
        products *= composite_weight.double().cpu().numpy()[:, None]
    basis = np.linalg.qr(np.eye(n_programs) - 1.0 / n_programs)[0][:, : n_programs - 1]
    size = max(min(_BLOCK, _GATHERED // n_programs**2), 1)
    blocks = weighted_entries(entries.to("cpu"), factors, size)
    for cells, weighted in blocks:
        curvature = _matrices(weighted.weights @ products, n_programs)
        diagonal = np.arange(n_programs)
        curvature[:, diagonal, diagonal] += alpha_sum / phi_np[cells]
        inverse = np.linalg.inv(basis.T @ curvature @ basis)
        spread = np.einsum("kl,clm,km->ck", basis, inverse, basis)
        variance[cells] = torch.from_numpy(spread).float()
    return variance


def program_variance(entries: Entries, factors: Factors, prior: PriorFit) -> torch.Tensor:
    """Compute the variances ``(P, K)`` of the programs given the activities.

    The information of the prior about a junction's PSI m_k under K programs is
    c / (m (1 - m)) (1 - 11'/K), which penalizes differences between programs in proportion to
    c. Their common mean is estimated from the same reads. Pseudo-reads of a reference add the
    information r / (m_k (1 - m_k)) of r reads to each program.

    Parameters
    ----------
    entries, factors
        As in :func:`activity_variance`.
    prior
        Prior of the programs.
    """
    factors = factors.to("cpu")
    psi, n_programs = factors.psi, factors.psi.shape[1]
    total = _program_information(entries.to("cpu"), factors)
    prior = prior.to(torch.device("cpu"))
    reads = prior.reads.double().expand(psi.shape).numpy()
    psi_np = psi.double().clamp(_FLOOR, 1.0 - _FLOOR).numpy()
    known, diagonal = reads / (psi_np * (1.0 - psi_np)), np.arange(n_programs)
    concentration = prior.concentration.double().expand(psi.shape).log().mean(1).exp().numpy()
    middle = psi.double().mean(1).clamp(_FLOOR, 1.0 - _FLOOR).numpy()
    scale = 1.0 / (middle * (1.0 - middle))
    even = np.full((n_programs, n_programs), 1.0 / n_programs)
    apart = np.eye(n_programs) - even
    variance = torch.empty(psi.shape, dtype=torch.float32, device="cpu")
    step = max(_GATHERED // n_programs**2, 1)
    for start in range(0, len(total), step):
        rows = slice(start, start + step)
        curvature = _matrices(total[rows], n_programs)
        curvature += (concentration[rows] * scale[rows])[:, None, None] * apart
        curvature[:, diagonal, diagonal] += known[rows]
        curvature += (_MEAN_READS * scale[rows])[:, None, None] * even
        spread = np.diagonal(np.linalg.inv(curvature), axis1=1, axis2=2)
        variance[rows] = torch.from_numpy(spread.copy()).float()
    return variance


def _program_information(entries: Entries, factors: Factors) -> np.ndarray:
    """Sum the information about pairs of programs over cells, ``(P, K (K + 1) / 2)``."""
    n_programs, shift = factors.phi.shape[1], factors.shift
    total = np.zeros((len(factors.psi), n_programs * (n_programs + 1) // 2))
    if shift is not None:
        psi = factors.psi.double()
        for own, each in factors.in_batches(entries):
            found = torch.from_numpy(_program_information(own.entries, each))
            total += shift.base_information(psi, each.psi.double(), found).numpy()
        return total
    likelihood, phi = likelihood_of(entries), factors.phi.double().numpy()
    for cells, weighted in weighted_entries(entries, factors, _BLOCK):
        weights = weighted.weights
        weights.data = likelihood.program_information(weights.data, weighted.probability)
        total += weights.T @ _pairs(phi[cells])
    return total


def beta_of_moments(
    mean: torch.Tensor, variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute parameters of the Beta distributions with these means and variances.

    Variances of m (1 - m) or more, which no Beta distribution with mean m has, give one whose
    parameters sum to 0.05.

    Parameters
    ----------
    mean, variance
        Tensors of one shape, means in [0, 1].

    Returns
    -------
    Parameters for and against, of that shape.
    """
    bound = (mean * (1.0 - mean)).clamp(min=1e-12)
    size = (bound / variance.clamp(min=1e-12) - 1.0).clamp(min=0.05)
    return size * mean, size * (1.0 - mean)
