"""Activities of cells under given programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops
from leafletfa_scvi.inference._activity_posterior import simplex
from leafletfa_scvi.inference._curvature import dirichlet_from_curvature, information
from leafletfa_scvi.inference._em_step import squared_step
from leafletfa_scvi.likelihoods import Factors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from leafletfa_scvi.likelihoods import Likelihood
    from leafletfa_scvi.ops import Entries

_EM_ITERATIONS = 120
_TOLERANCE = 1e-6
"""Change of activities below which a cell has converged. By its log-likelihood, which is in
float32, the number of iterations would depend on rounding."""
_LEARNING_RATE, _DECAY = 0.05, 0.05
_MIN_KAPPA, _MAX_KAPPA = 1e-2, 1e6
_MIN_SPREAD = 1e-6


def fit_activities(
    entries: Entries,
    psi: torch.Tensor,
    concentration: torch.Tensor | None,
    alpha: torch.Tensor,
    *,
    streams: np.ndarray | None = None,
    weight: float = 1.0,
    n_steps: int = 150,
    max_entries: int = 1 << 22,
    max_cells: int | None = None,
    seed: int = 0,
    callback: Callable[[int, float], None] | None = None,
) -> torch.Tensor:
    """Fit the Dirichlet posterior of the activities of cells, with the programs fixed.

    Each cell is fitted by EM from equal activities, then by stochastic gradient steps on its part
    of the ELBO, as in training. Cells do not influence each other, and with ``streams`` the
    activities of a cell are bitwise the same in any block and at any position (on the CPU; on
    other devices random numbers are drawn by position). The random state of torch is left
    unchanged.

    Unlike in training, programs are not drawn: expected log-likelihoods over draws of psi are
    lower by the variance of sum_k phi_k psi_k, which is smallest if activities are even. In
    training that is made up for by the programs, which the reads of the cell also fit; with
    programs that do not follow the cell, its activities would be too even. Their uncertainty
    belongs into ``concentration``: see :func:`predictive_concentration`.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    psi
        ``(P, K)`` mean of the programs.
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
    max_cells
        Maximum number of cells fitted at a time. If None, only entries are limited.
    seed
        Seed of the draws.
    callback
        Called at each step of each block of cells with the number of the step, from 0, and the
        negative ELBO of these cells.

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
        for cells, part in _blocks(entries, max_entries, max_cells):
            torch.manual_seed(seed)  # a cell has the same random numbers in any block
            block_streams = None if streams is None else streams[cells]
            entries_of_block = part.to(psi.device).cell_by_cell()
            block = BlockOfCells(entries_of_block, psi, kappa, block_streams, weight)
            out[cells] = _fit_block(block, alpha, n_steps, callback).cpu()
    empty = entries.observed.indptr.diff().cpu() == 0
    return torch.where(empty[:, None], alpha.detach().cpu(), out)


def predictive_concentration(
    kappa: torch.Tensor | None,
    psi: torch.Tensor,
    variance: torch.Tensor,
    alpha: torch.Tensor,
    likelihood: Likelihood,
    program_atse: torch.Tensor,
) -> torch.Tensor:
    """Compute the concentration of counts of new cells, which uncertain programs lower.

    If p is uncertain with variance v, a beta-binomial count varies as if its concentration were

        1 / (kappa' + 1) = 1 / (kappa + 1) + kappa / (kappa + 1) v / (p (1 - p)).

    v = sum_k phi_k^2 var(psi_k) and p (1 - p) are averaged over activities drawn from their prior;
    for the Dirichlet-multinomial, both are summed over the ATSE.

    Parameters
    ----------
    kappa
        Concentration: a scalar, or ``(D,)`` for junctions or ATSEs; None if infinite.
    psi, variance
        ``(P', K)`` posterior means and variances of the programs.
    alpha
        ``(K,)`` Dirichlet prior of activities.
    likelihood
        Likelihood of the counts.
    program_atse
        ``(P',)`` 0-based ATSE of each row of the programs.

    Returns
    -------
    ``(D,)``, one per junction (ATSE for the Dirichlet-multinomial).
    """
    total = alpha.sum()
    size = total * (total + 1.0)
    p = psi @ (alpha / total)
    square = (psi.square() @ alpha + (psi @ alpha).square()) / size
    spread = likelihood.sum_by_dispersion((p - square).clamp(min=0.0), program_atse)
    added = variance @ (alpha * (alpha + 1.0) / size)
    ratio = likelihood.sum_by_dispersion(added, program_atse) / spread.clamp(min=_MIN_SPREAD)
    own = ratio.new_zeros(()) if kappa is None else 1.0 / (kappa.to(ratio.device) + 1.0)
    share = own + (1.0 - own) * ratio.clamp(max=1.0)
    return (1.0 / share.clamp(min=1e-9) - 1.0).clamp(_MIN_KAPPA, _MAX_KAPPA)


def _blocks(
    entries: Entries, max_entries: int, max_cells: int | None
) -> Iterator[tuple[slice, Entries]]:
    """Split into views of consecutive cells, limited by entries and by cells."""
    if max_cells is None:
        yield from entries.blocks(max_entries)
        return
    for start in range(0, entries.n_cells, max_cells):
        part = entries.select(torch.arange(start, min(start + max_cells, entries.n_cells)))
        for cells, block in part.blocks(max_entries):
            yield slice(start + cells.start, start + cells.stop), block


@dataclass(frozen=True)
class BlockOfCells:
    """Cells that are fitted together, and what their activities are fitted to.

    Concentrations of their activities are in float64, so that those of a cell do not depend, by
    the order in which rounding errors add up, on its position.

    Attributes
    ----------
    entries
        Observed entries of B cells.
    psi, kappa
        Programs and concentration.
    streams
        ``(B,)`` uint64 seeds of random numbers; None to draw by position.
    weight
        Weight of the log-likelihood.
    """

    entries: Entries
    psi: torch.Tensor
    kappa: torch.Tensor | None
    streams: np.ndarray | None
    weight: float

    def first_log_concentration(self, alpha: torch.Tensor) -> torch.Tensor:
        """Fit activities by EM, and return the logs of concentrations from their curvature.

        The gradient steps then have to find the spread alone.
        """
        phi = self.fit_em(alpha)
        info = information(self.entries, Factors(phi.float(), self.psi, self.kappa)).activity
        first = dirichlet_from_curvature(
            phi.cpu(), self.weight * info.to(phi.dtype), alpha.to("cpu", phi.dtype)
        )
        return first.log().to(self.psi.device)

    def elbo_terms(
        self, log_concentration: torch.Tensor, alpha: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute KL divergence from the prior, and log-likelihood of a draw; sums over cells."""
        posterior = log_concentration.exp().float()
        drawn = ops.draw_dirichlet(posterior, self.streams)
        value = Factors(drawn, self.psi, self.kappa).log_likelihood(self.entries).sum()
        return ops.dirichlet_divergence(posterior, alpha).sum(), value

    @torch.no_grad()
    def fit_em(self, alpha: torch.Tensor) -> torch.Tensor:
        """Fit activities ``(B, K)`` by EM; each cell has its own step length and convergence."""
        psi, entries = self.psi, self.entries
        # MPS has no float64.
        kind = torch.float32 if psi.device.type == "mps" else torch.float64
        phi = psi.new_full((entries.n_cells, psi.shape[1]), 1.0 / psi.shape[1], dtype=kind)
        moving = torch.ones(len(phi), dtype=torch.bool, device=phi.device)

        def step(phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Return the next activities, and log-likelihood plus log prior of these."""
            counts = Factors(phi.float(), psi, self.kappa).expected_counts(entries)
            value = counts.log_likelihood.to(kind) + (alpha * phi.log()).sum(1)
            return simplex(alpha + counts.activity.to(kind)), value

        for _ in range(_EM_ITERATIONS // 3):
            first, _ = step(phi)
            second, reached = step(first)
            further = simplex(squared_step(phi, first, second, by_row=True))
            _, tried = step(further)
            after = torch.where((tried >= reached)[:, None], further, second)
            # Converged cells keep their activities, so that these do not depend on other cells.
            phi = torch.where(moving[:, None], after, phi)
            moving &= (second - first).abs().amax(1) >= _TOLERANCE
            if not bool(moving.any()):
                break
        return phi


def take_steps(
    parameters: list[torch.Tensor], loss: Callable[[int], torch.Tensor], n_steps: int
) -> None:
    """Minimize a loss, a function of the number of the step, with Adam at a decaying rate."""
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    decay = _DECAY ** (1.0 / max(n_steps, 1))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    for step in range(n_steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
        scheduler.step()


def _fit_block(
    block: BlockOfCells,
    alpha: torch.Tensor,
    n_steps: int,
    callback: Callable[[int, float], None] | None,
) -> torch.Tensor:
    """Fit the Dirichlet concentrations ``(B, K)`` of the activities of cells."""
    log_concentration = block.first_log_concentration(alpha).requires_grad_()

    def loss(step: int) -> torch.Tensor:
        divergence, value = block.elbo_terms(log_concentration, alpha)
        if callback is not None:
            callback(step, float(divergence.detach() - value.detach()))
        return divergence - block.weight * value

    take_steps([log_concentration], loss, n_steps)
    return log_concentration.detach().exp().float()
