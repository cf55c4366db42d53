"""Posterior of the prevalence given those of activities."""

from __future__ import annotations

import torch
from torch.distributions import Dirichlet, kl_divergence

from leafletfa_scvi import ops

_N_DRAWS, _N_STEPS = 16, 300
_LEARNING_RATE, _DECAY = 0.1, 0.02
_FIRST_CELLS = 100.0
_MIN_CONCENTRATION = 1e-3


def fit_prevalence(
    activities: torch.Tensor, prior: torch.Tensor, activity_concentration: float, seed: int = 0
) -> torch.Tensor:
    """Fit a Dirichlet posterior of the prevalence pi by stochastic gradient steps on the ELBO.

    Given Dirichlet posteriors of the activities of C cells, the ELBO depends on q(pi) through

        E_q [sum_c E log Dirichlet(phi_c; delta pi)] - KL(q(pi) || prior).

    Parameters
    ----------
    activities
        ``(C, K)`` Dirichlet concentrations of the activities.
    prior
        ``(K,)`` Dirichlet concentrations of the prior of pi.
    activity_concentration
        delta.
    seed
        Seed of the draws; torch's random state is left unchanged.

    Returns
    -------
    ``(K,)`` Dirichlet concentrations, float32 on the CPU.
    """
    phi = activities.double().cpu()
    log_phi = (phi.digamma() - phi.sum(1, keepdim=True).digamma()).sum(0)
    n_cells, base = len(phi), prior.detach().double().cpu()
    with ops.drawing(seed), torch.inference_mode(False), torch.enable_grad():
        # Copies, as tensors made in inference mode cannot take part in autograd.
        log_phi, base = log_phi.clone(), base.clone()
        mean = (phi / phi.sum(1, keepdim=True)).sum(0) + base / base.sum()
        first = mean / mean.sum() * min(n_cells, _FIRST_CELLS) * activity_concentration
        concentration = (first + base).log().clone().requires_grad_()
        optimizer = torch.optim.Adam([concentration], lr=_LEARNING_RATE)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, _DECAY ** (1.0 / _N_STEPS))
        for _ in range(_N_STEPS):
            optimizer.zero_grad()
            posterior = Dirichlet(concentration.exp())
            pi = posterior.rsample((_N_DRAWS,))
            alpha = (pi * activity_concentration).clamp(min=_MIN_CONCENTRATION)
            density = alpha.sum(1).lgamma() - alpha.lgamma().sum(1)
            value = n_cells * density + (alpha - 1.0) @ log_phi
            (kl_divergence(posterior, Dirichlet(base)) - value.mean()).backward()
            optimizer.step()
            scheduler.step()
    found: torch.Tensor = concentration.detach().exp().float()
    return found
