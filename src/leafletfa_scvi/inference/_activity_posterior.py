"""Posterior of activities in EM: Dirichlet(alpha + expected tables) for each cell.

A cell with few reads tells little about its activities. At their mode, EM would count its reads as
if they did, and fit programs to the noise: objective and held-out predictions then part ways, the
longer it runs. Integrated out, as in latent Dirichlet allocation (Blei et al. 2003), they enter
the expected tables as exp(E[log phi]), which is nearly the mode for cells with many reads.
"""

from __future__ import annotations

import torch

FLOOR = 1e-6


def simplex(phi: torch.Tensor) -> torch.Tensor:
    """Scale rows to sum to one, after raising values to at least 1e-6."""
    phi = phi.clamp(min=FLOOR)
    return phi / phi.sum(1, keepdim=True)


def geometric_mean(concentration: torch.Tensor) -> torch.Tensor:
    """Compute exp(E[log phi]) of Dirichlet distributions ``(B, K)``, scaled to sum to one."""
    return simplex(torch.softmax(torch.digamma(concentration), 1))


def activity_bound(phi: torch.Tensor, tables: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Compute what integrating activities out adds to the log-likelihood at ``phi``; float64.

    With expected tables N at phi, log B(alpha + N) - log B(alpha) - sum N log phi, where B is the
    multivariate beta function. The log-likelihood is convex in log phi, so that its sum with this
    is a lower bound of the log-likelihood without phi.

    Parameters
    ----------
    phi, tables
        ``(B, K)`` activities, and the expected tables of each program.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    """
    tables, alpha = tables.double(), alpha.double()
    posterior = alpha + tables
    value = (torch.lgamma(posterior) - torch.lgamma(alpha) - tables * phi.double().log()).sum()
    return value + (torch.lgamma(alpha.sum()) - torch.lgamma(posterior.sum(1))).sum()
