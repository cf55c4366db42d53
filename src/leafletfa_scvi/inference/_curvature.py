"""Concentrations of the first guide from the curvature of the likelihood.

Table counts would give intervals several times too narrow, since they treat the allocation of
reads to programs as known. With the information of an entry about its probability,

    w = n (kappa + 1) / ((kappa + n) p q)

a cell's activities have information sum_j w psi_j psi_j' and a junction's programs
sum_c w phi_c phi_c'; both are converted to Dirichlet and Beta concentrations of the same variance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.likelihoods import Factors, likelihood_of
from leafletfa_scvi.likelihoods._beta_binomial import beta_from_curvature
from leafletfa_scvi.ops import column_concentration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.ops import Entries
    from leafletfa_scvi.priors import PriorFit

_MIN_PRECISION, _MAX_PRECISION = 3.0, 300.0
_GATHERED = 1 << 22
"""Approximate number of values of psi that are gathered at a time."""


class Information(NamedTuple):
    """Sums of w over observed entries.

    Attributes
    ----------
    activity
        ``(B, K)`` sum_j w (psi_jk - p_cj)^2.
    program
        ``(P, K)`` sum_c w phi_ck^2.
    """

    activity: torch.Tensor
    program: torch.Tensor


def information(entries: Entries, factors: Factors) -> Information:
    """Compute the information of the data about phi and psi; see :class:`Information`."""
    entries, factors = entries.to("cpu"), factors.to("cpu")
    if factors.shift is None:
        return _information(entries, factors)
    shift, psi = factors.shift, factors.psi
    activity, program = torch.zeros_like(factors.phi), torch.zeros_like(psi)
    for own, each in factors.in_batches(entries):
        found = _information(own.entries, each)
        activity[own.cells] = found.activity
        program += shift.base_information(psi, each.psi, found.program)
    return Information(activity.float(), program.float())


def _information(entries: Entries, factors: Factors) -> Information:
    likelihood, phi, psi = likelihood_of(entries), factors.phi, factors.psi
    activity = np.empty(phi.shape, dtype=np.float64)
    program = np.zeros(psi.shape, dtype=np.float64)
    psi_np, phi_np = psi.double().numpy(), phi.double().numpy()
    # Rows of psi are gathered. Smaller blocks would spend more time on adding to ``program``.
    block_size = max(_GATHERED // psi.shape[1], 4 * psi.shape[0])
    for cells, weighted in weighted_entries(entries, factors, block_size):
        w, p = weighted.weights, weighted.probability
        # sum_j w (psi_jk - p)^2, expanded so that each term is a product of sparse matrices.
        cross = sp.csr_matrix((w.data * p, w.indices, w.indptr), shape=w.shape)
        square = sp.csr_matrix((w.data * p * p, w.indices, w.indptr), shape=w.shape).sum(1)
        spread = w @ psi_np**2 - 2.0 * (cross @ psi_np) + np.asarray(square)
        activity[cells] = np.maximum(spread, 0.0)
        w.data = likelihood.program_information(w.data, p)
        program += w.T @ phi_np[cells] ** 2
    return Information(torch.from_numpy(activity).float(), torch.from_numpy(program).float())


class WeightedEntries(NamedTuple):
    """Entries of a block of cells.

    Attributes
    ----------
    weights
        ``(B, P)`` CSR, information w of each entry about its probability.
    probability
        ``(nnz,)`` expected probability p of each.
    """

    weights: sp.csr_matrix
    probability: np.ndarray


def weighted_entries(
    entries: Entries, factors: Factors, block_size: int
) -> Iterator[tuple[slice, WeightedEntries]]:
    """Iterate over blocks of cells with the information of their scored entries, on the CPU."""
    likelihood, factors = likelihood_of(entries), factors.by_column()
    kappa = factors.kappa
    if kappa is not None:
        kappa = column_concentration(entries, kappa.double())
    for cells, block in entries.blocks(block_size):
        scored = block.scored
        p, q = (v.double() for v in factors.select(cells).probability(block))
        weight = likelihood.information(scored, p, q)
        if kappa is not None:
            # Reads of a cell agree more than those of a binomial: n of them count as fewer.
            k = kappa[scored.column.long()] if kappa.ndim else kappa
            weight = weight * (k + 1.0) / (k + scored.total.double())
        layout = (scored.column.numpy(), scored.indptr.numpy())
        shape = (scored.n_cells, scored.n_junctions)
        matrix = sp.csr_matrix((weight.numpy(), *layout), shape=shape)
        yield cells, WeightedEntries(matrix, p.numpy())


def dirichlet_from_curvature(
    phi: torch.Tensor, info: torch.Tensor, alpha: torch.Tensor
) -> torch.Tensor:
    """Compute concentrations ``(B, K)`` of the first guide of phi: alpha + S phi, S in [3, 300].

    S is alpha and the :func:`pseudo_counts` of the data.
    """
    precision = pseudo_counts(phi, info) + alpha.sum()
    return alpha + precision.clamp(_MIN_PRECISION, _MAX_PRECISION)[:, None] * phi


def pseudo_counts(phi: torch.Tensor, info: torch.Tensor) -> torch.Tensor:
    """Compute how many pseudo-counts the data are worth for the activities of each cell, ``(B,)``.

    The trace of the curvature in softmax coordinates over that of one pseudo-count.
    """
    spread = (phi * (1.0 - phi)).sum(1).clamp(min=1e-3)
    return (phi.square() * info).sum(1) / spread


def draw_from_curvature(
    entries: Entries,
    factors: Factors,
    alpha: torch.Tensor,
    prior: PriorFit,
    n_draws: int,
    seed: int,
) -> list[Factors]:
    """Draw activities and programs around a fit, with the spread given by the curvature.

    Parameters
    ----------
    entries, factors
        Data and fit; see :func:`information`.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    prior
        Prior of the programs.
    n_draws
        Number of draws.
    seed
        Seed of the draws; torch's random state is left unchanged.
    """
    info = information(entries, factors)
    prior, factors = prior.to(torch.device("cpu")), factors.to("cpu")
    cell_concentration = dirichlet_from_curvature(factors.phi, info.activity, alpha.cpu())
    prior_concentration = (prior.concentration + prior.reads).expand(factors.psi.shape)
    concentrations = beta_from_curvature(factors.psi, info.program, prior_concentration)
    draws = []
    with ops.drawing(seed):
        for _ in range(n_draws):
            psi = prior.likelihood.draw_programs(concentrations, prior.atse)
            draws.append(replace(factors, phi=ops.draw_dirichlet(cell_concentration), psi=psi))
    return draws
