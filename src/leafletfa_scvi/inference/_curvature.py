"""Widths of the first guide from the curvature of the likelihood.

Table counts would give intervals several times too narrow, since they take the allocation of reads
to programs as known. With the information of an entry about its probability,

    w = n (kappa + 1) / ((kappa + n) p q)

a cell's activities have information sum_j w psi_j psi_j' and a junction's programs
sum_c w phi_c phi_c'; both are turned into concentrations of Dirichlet and Beta of like variance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries, entry_probability

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.inference._prior import ProgramPrior

_MIN_PRECISION, _MAX_PRECISION = 3.0, 300.0
_MAX_PROGRAM_PRECISION = 400.0
_PSI_OFFSET = 0.1
_GATHERED = 1 << 22
"""Values of gathered rows of psi at a time, about."""


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


def information(
    entries: ObservedEntries | MultinomialEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | float | None,
) -> Information:
    """Information of the observed entries about phi and psi; see :class:`Information`."""
    entries, phi, psi = entries.to("cpu"), phi.cpu(), psi.cpu()
    activity = np.empty(phi.shape, dtype=np.float64)
    program = np.zeros(psi.shape, dtype=np.float64)
    psi_np, phi_np = psi.double().numpy(), phi.double().numpy()
    # Rows of psi are gathered; in smaller blocks, adding to ``program`` would cost more than that.
    block_size = max(_GATHERED // psi.shape[1], 4 * psi.shape[0])
    for cells, weighted in weighted_entries(entries, phi, psi, concentration, block_size):
        w, p = weighted.weights, weighted.probability
        cross = sp.csr_matrix((w.data * p, w.indices, w.indptr), shape=w.shape)
        square = sp.csr_matrix((w.data * p * p, w.indices, w.indptr), shape=w.shape).sum(1)
        spread = w @ psi_np**2 - 2.0 * (cross @ psi_np) + np.asarray(square)
        activity[cells] = np.maximum(spread, 0.0)
        if isinstance(entries, MultinomialEntries):  # of the margin, n / (p q)
            w = sp.csr_matrix((w.data / (1.0 - p), w.indices, w.indptr), shape=w.shape)
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
    entries: ObservedEntries | MultinomialEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | float | None,
    block_size: int,
) -> Iterator[tuple[slice, WeightedEntries]]:
    """Blocks of cells with the information of their entries; all on the CPU.

    Of the Dirichlet-multinomial only junctions with reads are there, and their observed
    information y / p^2 stands for the expected one, n / p, over all.
    """
    kappa = (
        None if concentration is None else torch.as_tensor(concentration, device="cpu").double()
    )
    shared = isinstance(entries, MultinomialEntries)
    if kappa is not None and kappa.ndim and isinstance(entries, MultinomialEntries):
        kappa = kappa[entries.atse]
    for cells, block in entries.blocks(block_size):
        visited = block.reads if isinstance(block, MultinomialEntries) else block
        column = visited.column.long()
        p, q = (v.double() for v in entry_probability(visited, phi[cells], psi))
        n = visited.total.double()
        weight = visited.count.double() / p.square() if shared else n / (p * q)
        if kappa is not None:
            own = kappa[column] if kappa.ndim else kappa
            weight = weight * (own + 1.0) / (own + n)
        layout = (visited.column.numpy(), visited.indptr.numpy())
        shape = (visited.n_cells, visited.n_junctions)
        matrix = sp.csr_matrix((weight.numpy(), *layout), shape=shape)
        yield cells, WeightedEntries(matrix, p.numpy())


def dirichlet_from_curvature(
    phi: torch.Tensor, info: torch.Tensor, alpha: torch.Tensor
) -> torch.Tensor:
    """Concentrations ``(B, K)`` of the first guide of phi, alpha + S phi with S in [3, 300].

    S is the trace of the curvature in softmax coordinates over that of one pseudo-count.
    """
    spread = (phi * (1.0 - phi)).sum(1).clamp(min=1e-3)
    precision = (phi.square() * info).sum(1) / spread + alpha.sum()
    return alpha + precision.clamp(_MIN_PRECISION, _MAX_PRECISION)[:, None] * phi


def beta_from_curvature(
    psi: torch.Tensor, info: torch.Tensor, prior: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Concentrations ``(P, K)`` for and against, 0.1 + h psi and 0.1 + h (1 - psi).

    h is the curvature in logit coordinates over psi (1 - psi); ``prior`` is a + b, ``(P, 1)`` or
    ``(P, K)``.
    """
    h = (psi * (1.0 - psi) * info + prior).clamp(1.0, _MAX_PROGRAM_PRECISION)
    return _PSI_OFFSET + h * psi, _PSI_OFFSET + h * (1.0 - psi)


def draw_from_curvature(
    entries: ObservedEntries | MultinomialEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: torch.Tensor | float | None,
    alpha: torch.Tensor,
    prior: ProgramPrior,
    n_draws: int,
    seed: int,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Activities and programs drawn about a fit as widely as the likelihood is curved there.

    Parameters
    ----------
    entries, phi, psi, concentration
        Data and fit; see :func:`information`.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    prior
        Prior of the programs.
    n_draws
        Number of pairs.
    seed
        Of the draws; torch's random state is left as it was.
    """
    info = information(entries, phi, psi, concentration)
    prior, phi, psi = prior.to(torch.device("cpu")), phi.cpu(), psi.cpu()
    rows = dirichlet_from_curvature(phi, info.activity, alpha.cpu())
    strength = prior.strength.expand(psi.shape)
    inclusion, exclusion = beta_from_curvature(psi, info.program, strength)
    draws = []
    with ops.drawing(seed):
        for _ in range(n_draws):
            if prior.shared:
                drawn = prior.normalised(torch._standard_gamma(inclusion).clamp(min=1e-10))
            else:
                drawn = ops.draw_beta(inclusion, exclusion)
            draws.append((ops.draw_dirichlet(rows), drawn))
    return draws
