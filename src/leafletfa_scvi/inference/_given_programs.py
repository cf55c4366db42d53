"""Concentrations that fit activities and programs known from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from leafletfa_scvi import ops
from leafletfa_scvi.inference._curvature import dirichlet_from_curvature, information
from leafletfa_scvi.inference._dispersion import (
    JunctionDispersion,
    fit_concentration,
    fit_junction_dispersion,
)
from leafletfa_scvi.likelihoods import Factors

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.ops import Entries

_N_DRAWS = 3
_MIN_DELTA, _MAX_DELTA = 1e-2, 1e3


def moment_activity_concentration(phi: np.ndarray) -> float | None:
    """Estimate delta of phi ~ Dirichlet(delta pi) from the variances of activities.

    Those of a Dirichlet sum to (1 - sum pi^2) / (delta + 1). Maximum likelihood would be dominated
    by activities near 0, which posterior means do not have and rounded ones have as zeros.

    Parameters
    ----------
    phi
        ``(C, K)`` activities, rows sum to 1.

    Returns
    -------
    float or None
        delta, from 0.01 to 1000; None for fewer than two cells, or cells that are all the same.
    """
    if len(phi) < 2:
        return None
    mean, variance = phi.mean(0, dtype=np.float64), phi.var(0, ddof=1, dtype=np.float64).sum()
    if variance <= 1e-12:
        return None
    delta = (1.0 - float(mean @ mean)) / float(variance) - 1.0
    return float(np.clip(delta, _MIN_DELTA, _MAX_DELTA))


@torch.no_grad()
def fit_dispersion_of_programs(
    entries: Entries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    draw_psi: Callable[[], torch.Tensor],
    alpha: torch.Tensor,
    seed: int = 0,
) -> JunctionDispersion:
    """Fit one kappa for each junction (ATSE) at given activities and programs.

    As in EM, log-likelihoods are averaged over draws of the activities, as uncertain as the reads
    leave them: at their means, kappa would be too large.

    Parameters
    ----------
    entries
        Observed entries of B cells, as the likelihood takes them.
    phi
        ``(B, K)`` activities.
    psi
        ``(P', K)`` programs.
    draw_psi
        Function that draws programs ``(P', K)`` from their posterior.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    seed
        Seed of the draws; torch's random state is left unchanged.
    """
    first = fit_concentration(entries, phi, psi, seed)
    kappa = torch.tensor(first, dtype=torch.float32, device="cpu")
    info = information(entries, Factors(phi, psi, kappa))
    posterior = dirichlet_from_curvature(phi, info.activity, alpha).float()
    with ops.drawing(seed):
        draws = [
            Factors(ops.draw_dirichlet(posterior), draw_psi(), kappa) for _ in range(_N_DRAWS)
        ]
    return fit_junction_dispersion(entries, draws, first)
