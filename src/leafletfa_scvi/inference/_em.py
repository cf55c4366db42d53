"""Expected-table EM: a deterministic MAP fit of activities, programs and concentration.

The log of a rising factorial of kappa p is bounded from below by a multiple of log p (Jensen), so
the beta-binomial is fitted like a binomial mixture whose reads are replaced by expected tables

    t1 = kappa p [digamma(y + kappa p) - digamma(kappa p)],    t0 likewise with n - y and q.

With them phi and psi have the closed updates of the admixture EM, and the objective never falls
for fixed kappa and priors. MAP is taken in softmax and logit coordinates (DESIGN: densities of
Dirichlet and Beta with parameters below 1 have no maximum).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi.inference._start import Start
    from leafletfa_scvi.ops import ObservedEntries

_FLOOR = 1e-6
_MAX_ENTRIES_FOR_CONCENTRATION = 100_000
_CONCENTRATION_BOUNDS = (0.05, 1e5)


@dataclass
class EMResult:
    """Outcome of :func:`fit_em`.

    Attributes
    ----------
    phi, psi
        ``(B, K)`` activities and ``(P, K)`` programs, float32.
    concentration
        Learned or fixed kappa; None for the binomial.
    prevalence
        ``(K,)`` mean activity.
    objective
        Log-likelihood plus log prior at the start of each iteration.
    """

    phi: torch.Tensor
    psi: torch.Tensor
    concentration: float | None
    prevalence: torch.Tensor
    objective: list[float] = field(default_factory=list)


def fit_concentration(
    entries: ObservedEntries, phi: torch.Tensor, psi: torch.Tensor, seed: int = 0
) -> float:
    """Maximum likelihood kappa at given phi and psi, from at most 100,000 entries."""
    if entries.n_entries > _MAX_ENTRIES_FOR_CONCENTRATION:
        share = _MAX_ENTRIES_FOR_CONCENTRATION / entries.n_entries
        generator = torch.Generator().manual_seed(seed)
        n_cells = max(1, int(entries.n_cells * share))
        cells = torch.randperm(entries.n_cells, generator=generator)[:n_cells]
        cells = cells.to(entries.device)
        entries, phi = entries.select(cells), phi[cells]

    def loss(log_kappa: float) -> float:
        kappa = torch.tensor(np.exp(log_kappa), dtype=torch.float64, device=phi.device)
        return -float(ops.log_likelihood(entries, phi, psi, kappa).sum())

    bounds = tuple(np.log(_CONCENTRATION_BOUNDS))
    fit = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.02})
    return float(np.exp(fit.x))


@torch.no_grad()
def fit_em(
    entries: ObservedEntries,
    start: Start,
    prior_inclusion: torch.Tensor,
    prior_exclusion: torch.Tensor,
    *,
    concentration: float | None,
    learn_concentration: bool = True,
    learn_programs: bool = True,
    prevalence: torch.Tensor | None = None,
    activity_concentration: float = 1.0,
    n_iterations: int = 100,
    tolerance: float = 1e-6,
    concentration_every: int = 20,
    seed: int = 0,
    backend: str | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> EMResult:
    """Fit activities and programs from a start.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions.
    start
        First phi ``(B, K)`` and psi ``(P, K)``.
    prior_inclusion, prior_exclusion
        ``(P,)`` or scalar tensors, a and b of the Beta prior of psi.
    concentration
        First (or fixed) kappa; None for the binomial likelihood.
    learn_concentration
        Maximise the likelihood over kappa every ``concentration_every`` iterations.
    learn_programs
        Update psi; where false, only phi is fitted.
    prevalence
        ``(K,)`` fixed pi; None lets it follow the mean activity.
    activity_concentration
        delta of the prior Dirichlet(delta pi) of phi.
    n_iterations
        Most iterations.
    tolerance
        Stop when the objective rises by less than this share of its size.
    concentration_every
        Iterations between updates of kappa.
    seed
        Seed of the cells that kappa is fitted on.
    backend
        Backend of :mod:`leafletfa_scvi.ops`.
    callback
        Called with the iteration and the objective.
    """
    device = entries.device
    phi = _normalise(start.phi.to(device, torch.float32))
    psi = start.psi.to(device, torch.float32).clamp(_FLOOR, 1.0 - _FLOOR)
    a = torch.as_tensor(prior_inclusion, device=device).float().reshape(-1, 1)
    b = torch.as_tensor(prior_exclusion, device=device).float().reshape(-1, 1)
    follow = prevalence is None
    prevalence = phi.mean(0) if prevalence is None else prevalence.to(device)
    kappa = None if concentration is None else torch.tensor(float(concentration), device=device)
    learn = learn_concentration and kappa is not None
    objective: list[float] = []
    for i in range(n_iterations):
        if learn and i and i % concentration_every == 0:
            kappa = torch.tensor(fit_concentration(entries, phi, psi, seed), device=device)
        counts = ops.expected_counts(entries, phi, psi, kappa, backend=backend)
        alpha = activity_concentration * prevalence
        value = float(counts.log_likelihood.sum())
        value += float((alpha * phi.log()).sum(dtype=torch.float64))
        value += float((a * psi.log() + b * torch.log1p(-psi)).sum(dtype=torch.float64))
        objective.append(value)
        if callback is not None:
            callback(i, value)
        phi = _normalise(alpha + counts.activity)
        if learn_programs:
            up, down = a + counts.inclusion, b + counts.exclusion
            psi = (up / (up + down)).clamp(_FLOOR, 1.0 - _FLOOR)
        if follow:
            prevalence = phi.mean(0)
        settled = not learn or i % concentration_every > 1
        if i > 1 and settled and abs(value - objective[-2]) < tolerance * abs(value):
            break
    if learn:
        kappa = torch.tensor(fit_concentration(entries, phi, psi, seed), device=device)
    return EMResult(phi, psi, None if kappa is None else float(kappa), prevalence, objective)


def _normalise(phi: torch.Tensor) -> torch.Tensor:
    phi = phi.clamp(min=_FLOOR)
    return phi / phi.sum(1, keepdim=True)
