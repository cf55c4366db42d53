"""Activities of cells under given programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops
from leafletfa_scvi.inference._curvature import dirichlet_from_curvature, information
from leafletfa_scvi.inference._em import fit_em
from leafletfa_scvi.inference._prior import program_prior
from leafletfa_scvi.inference._start import Start
from leafletfa_scvi.ops import MultinomialEntries

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.ops import ObservedEntries

_EM_ITERATIONS = 60
_LEARNING_RATE, _DECAY = 0.05, 0.05


def fit_activities(
    entries: ObservedEntries | MultinomialEntries,
    psi: torch.Tensor,
    draw_psi: Callable[[], torch.Tensor],
    concentration: torch.Tensor | None,
    alpha: torch.Tensor,
    *,
    weight: float = 1.0,
    n_steps: int = 150,
    max_entries: int = 1 << 22,
    seed: int = 0,
) -> torch.Tensor:
    """Dirichlet posterior of the activities of cells, programs and their uncertainty fixed.

    Each cell is fitted by EM from equal activities, then by stochastic gradient steps on its share
    of the ELBO, as in training. Cells do not influence each other beyond the draws of psi, and
    the random state of torch is left as it was.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    psi
        ``(P, K)`` mean of the programs.
    draw_psi
        Draws programs ``(P, K)`` from their posterior.
    concentration
        kappa, a scalar or one for each junction (ATSE); None for the binomial.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    weight
        Of the evidence, below 1 where reads are counted more than once.
    n_steps
        Gradient steps.
    max_entries
        Entries fitted at a time.
    seed
        Seed of the draws.

    Returns
    -------
    ``(B, K)`` Dirichlet concentrations; ``alpha`` for cells without any observed entry.
    """
    kappa = None if concentration is None else concentration.detach().to(psi.device)
    with ops.drawing(seed), torch.inference_mode(False), torch.enable_grad():
        out = torch.empty(entries.n_cells, psi.shape[1], dtype=torch.float32, device="cpu")
        # Copies, as tensors made in inference mode have no part in gradients.
        psi, alpha = psi.detach().clone(), alpha.detach().clone()
        kappa = None if kappa is None else kappa.clone()
        for cells, part in entries.blocks(max_entries):
            out[cells] = _fit_block(
                part.to(psi.device), psi, draw_psi, kappa, alpha, weight, n_steps
            ).cpu()
    observed = entries.totals if isinstance(entries, MultinomialEntries) else entries
    empty = observed.indptr.diff().cpu() == 0
    return torch.where(empty[:, None], alpha.detach().cpu(), out)


def _fit_block(
    entries: ObservedEntries | MultinomialEntries,
    psi: torch.Tensor,
    draw_psi: Callable[[], torch.Tensor],
    kappa: torch.Tensor | None,
    alpha: torch.Tensor,
    weight: float,
    n_steps: int,
) -> torch.Tensor:
    n_programs = psi.shape[1]
    flat = psi.new_full((entries.n_cells, n_programs), 1.0 / n_programs)
    fit = fit_em(
        entries,
        Start(flat, psi),
        program_prior("global", psi[:, 0]),
        concentration=kappa,
        learn_concentration=False,
        learn_programs=False,
        prevalence=alpha / alpha.sum(),
        activity_concentration=float(alpha.sum()),
        n_iterations=_EM_ITERATIONS,
    )
    info = information(entries, fit.phi, psi, kappa).activity
    first = dirichlet_from_curvature(fit.phi.cpu(), weight * info, alpha.cpu())
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
        value = ops.log_likelihood(entries, ops.draw_dirichlet(posterior), programs, kappa).sum()
        loss = ops.dirichlet_divergence(posterior, alpha).sum() - weight * value
        loss.backward()
        optimizer.step()
        scheduler.step()
    return log_concentration.detach().exp()
