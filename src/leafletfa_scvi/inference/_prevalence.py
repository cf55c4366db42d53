"""Posterior of the prevalence of given programs in some cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributions import Dirichlet, kl_divergence

from leafletfa_scvi import ops
from leafletfa_scvi.inference._project import BlockOfCells, take_steps

if TYPE_CHECKING:
    import numpy as np

    from leafletfa_scvi.ops import Entries

_N_STARTS = 3
_FIRST_CELLS = 100.0
_MIN_ALPHA = 1e-3


def fit_prevalence(
    entries: Entries,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
    prior: torch.Tensor,
    activity_concentration: float,
    *,
    streams: np.ndarray | None = None,
    weight: float = 1.0,
    n_steps: int = 300,
    seed: int = 0,
) -> torch.Tensor:
    """Fit the Dirichlet posterior of the prevalence of programs, which are fixed, in some cells.

    Prevalence pi and the activities of the cells, phi ~ Dirichlet(delta pi), are fitted together
    as in training: by EM from equal prevalence, then by stochastic gradient steps on the ELBO. The
    random state of torch is left unchanged.

    Parameters
    ----------
    entries
        Observed entries of B cells, fitted as one block.
    psi
        ``(P, K)`` mean of the programs.
    concentration
        kappa; see :func:`fit_activities`.
    prior
        ``(K,)`` Dirichlet concentrations of the prior of pi.
    activity_concentration
        delta.
    streams, weight, n_steps, seed
        See :func:`fit_activities`.

    Returns
    -------
    ``(K,)`` Dirichlet concentrations, float32 on the CPU.
    """
    kappa = None if concentration is None else concentration.detach().to(psi.device)
    delta = activity_concentration
    with ops.drawing(seed), torch.inference_mode(False), torch.enable_grad():
        # Copies, as tensors made in inference mode cannot take part in autograd.
        psi, prior = psi.detach().clone(), prior.detach().clone().to(psi)
        kappa = None if kappa is None else kappa.clone()
        block = BlockOfCells(entries.to(psi.device), psi, kappa, streams, weight)
        n_cells = entries.n_cells
        pi = torch.full_like(prior, 1.0 / len(prior))
        for _ in range(_N_STARTS):
            phi = block.fit_em((pi * delta).clamp(min=_MIN_ALPHA))
            pi = (phi.sum(0) + prior / prior.sum()).to(psi) / (n_cells + 1.0)
        log_phi = block.first_log_concentration((pi * delta).clamp(min=_MIN_ALPHA))
        log_phi.requires_grad_()
        first = pi * min(n_cells, _FIRST_CELLS) * delta + prior
        log_pi = first.log().requires_grad_()

        def loss(step: int) -> torch.Tensor:
            posterior = Dirichlet(log_pi.exp())
            alpha = (posterior.rsample() * delta).clamp(min=_MIN_ALPHA)
            divergence, value = block.elbo_terms(log_phi, alpha)
            of_pi: torch.Tensor = kl_divergence(posterior, Dirichlet(prior))
            return divergence + of_pi - block.weight * value

        take_steps([log_phi, log_pi], loss, n_steps)
    found: torch.Tensor = log_pi.detach().exp().cpu()
    return found
