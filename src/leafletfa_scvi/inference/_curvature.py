"""Widths of the first guide from the curvature of the likelihood.

Table counts would give intervals several times too narrow, since they take the allocation of reads
to programs as known. With the information of an entry about its probability,

    w = n (kappa + 1) / ((kappa + n) p q)

a cell's activities have information sum_j w psi_j psi_j' and a junction's programs
sum_c w phi_c phi_c'; both are turned into concentrations of Dirichlet and Beta of like variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from leafletfa_scvi.ops import ObservedEntries, entry_probability

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
    entries: ObservedEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    concentration: float | None,
) -> Information:
    """Information of the observed entries about phi and psi; see :class:`Information`."""
    entries, phi, psi = entries.to("cpu"), phi.cpu(), psi.cpu()
    activity = np.empty(phi.shape, dtype=np.float64)
    program = np.zeros(psi.shape, dtype=np.float64)
    psi_np, phi_np = psi.double().numpy(), phi.double().numpy()
    # Rows of psi are gathered; in smaller blocks, adding to ``program`` would cost more than that.
    block_size = max(_GATHERED // psi.shape[1], 4 * psi.shape[0])
    for cells, block in entries.blocks(block_size):
        p, q = (v.double().numpy() for v in entry_probability(block, phi[cells], psi))
        n = block.total.double().numpy()
        dispersion = 1.0 if concentration is None else (concentration + 1) / (concentration + n)
        w = n * dispersion / (p * q)
        layout = (block.column.numpy(), block.indptr.numpy())
        shape = (block.n_cells, block.n_junctions)
        weights = sp.csr_matrix((w, *layout), shape=shape)
        cross = sp.csr_matrix((w * p, *layout), shape=shape)
        square = sp.csr_matrix((w * p * p, *layout), shape=shape).sum(1)
        spread = weights @ psi_np**2 - 2.0 * (cross @ psi_np) + np.asarray(square)
        activity[cells] = np.maximum(spread, 0.0)
        program += weights.T @ phi_np[cells] ** 2
    return Information(torch.from_numpy(activity).float(), torch.from_numpy(program).float())


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

    h is the curvature in logit coordinates over psi (1 - psi); ``prior`` is a + b, ``(P, 1)``.
    """
    h = (psi * (1.0 - psi) * info + prior).clamp(1.0, _MAX_PROGRAM_PRECISION)
    return _PSI_OFFSET + h * psi, _PSI_OFFSET + h * (1.0 - psi)
