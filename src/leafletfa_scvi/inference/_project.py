"""Activities of cells under given programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops
from leafletfa_scvi.inference._curvature import dirichlet_from_curvature, information
from leafletfa_scvi.inference._em import simplex, squared_step
from leafletfa_scvi.likelihoods import Factors

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from leafletfa_scvi.ops import Entries

_EM_ITERATIONS = 60
_TOLERANCE = 1e-7
_LEARNING_RATE, _DECAY = 0.05, 0.05


def fit_activities(
    entries: Entries,
    psi: torch.Tensor,
    draw_psi: Callable[[], torch.Tensor],
    concentration: torch.Tensor | None,
    alpha: torch.Tensor,
    *,
    streams: np.ndarray | None = None,
    weight: float = 1.0,
    n_steps: int = 150,
    max_entries: int = 1 << 22,
    seed: int = 0,
) -> torch.Tensor:
    """Fit the Dirichlet posterior of the activities of cells, with the programs fixed.

    Each cell is fitted by EM from equal activities, then by stochastic gradient steps on its part
    of the ELBO, as in training, with programs drawn from their posterior. Cells do not influence
    each other: all see the same draws of the programs, and with ``streams`` the activities of a
    cell do not depend on its position, up to rounding (on the CPU; on other devices random numbers
    are drawn by position). The random state of torch is left unchanged.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    psi
        ``(P, K)`` mean of the programs.
    draw_psi
        Function that draws programs ``(P, K)`` from their posterior.
    concentration
        kappa, a scalar or one for each junction (ATSE); None for the binomial.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    streams
        ``(B,)`` uint64 seeds of the random numbers of each cell, such as fingerprints. If None,
        they are drawn by position.
    weight
        Weight of the log-likelihood; below 1 if reads are scored more than once.
    n_steps
        Number of gradient steps.
    max_entries
        Maximum number of entries fitted at a time.
    seed
        Seed of the draws.

    Returns
    -------
    ``(B, K)`` Dirichlet concentrations; ``alpha`` for cells without any observed entry.
    """
    kappa = None if concentration is None else concentration.detach().to(psi.device)
    with ops.drawing(seed), torch.inference_mode(False), torch.enable_grad():
        out = torch.empty(entries.n_cells, psi.shape[1], dtype=torch.float32, device="cpu")
        # Copies, as tensors made in inference mode cannot take part in autograd.
        psi, alpha = psi.detach().clone(), alpha.detach().clone()
        kappa = None if kappa is None else kappa.clone()
        for cells, part in entries.blocks(max_entries):
            torch.manual_seed(seed)  # every block sees the same draws of the programs
            block_streams = None if streams is None else streams[cells]
            out[cells] = _fit_block(
                part.to(psi.device), psi, draw_psi, kappa, alpha, block_streams, weight, n_steps
            ).cpu()
    empty = entries.observed.indptr.diff().cpu() == 0
    return torch.where(empty[:, None], alpha.detach().cpu(), out)


def _fit_block(
    entries: Entries,
    psi: torch.Tensor,
    draw_psi: Callable[[], torch.Tensor],
    kappa: torch.Tensor | None,
    alpha: torch.Tensor,
    streams: np.ndarray | None,
    weight: float,
    n_steps: int,
) -> torch.Tensor:
    # A start near the solution: the gradient steps then have to find the spread alone.
    phi = _fit_em(entries, psi, kappa, alpha)
    info = information(entries, Factors(phi, psi, kappa)).activity
    first = dirichlet_from_curvature(phi.cpu(), weight * info, alpha.cpu())
    log_concentration = first.log().to(psi.device).requires_grad_()
    optimizer = torch.optim.Adam([log_concentration], lr=_LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(
        optimizer, _DECAY ** (1.0 / max(n_steps, 1))
    )
    for _ in range(n_steps):
        optimizer.zero_grad()
        posterior = log_concentration.exp()
        with torch.no_grad():
            programs = draw_psi()
        drawn = ops.draw_dirichlet(posterior, streams)
        value = Factors(drawn, programs, kappa).log_likelihood(entries).sum()
        loss = ops.dirichlet_divergence(posterior, alpha).sum() - weight * value
        loss.backward()
        optimizer.step()
        scheduler.step()
    return log_concentration.detach().exp()


@torch.no_grad()
def _fit_em(
    entries: Entries,
    psi: torch.Tensor,
    kappa: torch.Tensor | None,
    alpha: torch.Tensor,
) -> torch.Tensor:
    """Fit activities ``(B, K)`` by EM; each cell has its own step length and convergence."""
    phi = psi.new_full((entries.n_cells, psi.shape[1]), 1.0 / psi.shape[1])
    moving = torch.ones(len(phi), dtype=torch.bool, device=phi.device)

    def step(phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next activities, and log-likelihood plus log prior of the current ones."""
        counts = Factors(phi, psi, kappa).expected_counts(entries)
        value = counts.log_likelihood.double() + (alpha * phi.log()).sum(1, dtype=torch.float64)
        return simplex(alpha + counts.activity), value

    for _ in range(_EM_ITERATIONS // 3):
        first, value = step(phi)
        second, reached = step(first)
        further = simplex(squared_step(phi, first, second, by_row=True))
        _, tried = step(further)
        after = torch.where((tried >= reached)[:, None], further, second)
        # Converged cells keep their activities, so that they do not depend on the other cells.
        phi = torch.where(moving[:, None], after, phi)
        moving &= reached - value >= _TOLERANCE * value.abs()
        if not bool(moving.any()):
            break
    return phi
