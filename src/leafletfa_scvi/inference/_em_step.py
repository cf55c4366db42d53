"""One step of EM: updates of activities and programs, and the objective that they raise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leafletfa_scvi.inference._activity_posterior import (
    FLOOR,
    activity_bound,
    geometric_mean,
    simplex,
)
from leafletfa_scvi.inference._expected_counts import sweep

if TYPE_CHECKING:
    import torch

    from leafletfa_scvi import ops
    from leafletfa_scvi.likelihoods import Factors
    from leafletfa_scvi.ops import Entries
    from leafletfa_scvi.priors import PriorFit

_ACTIVITY_CYCLES = 6
"""Of the last fit of activities, three passes over the entries each."""
_MAX_STEP = 32.0


class EMProblem:
    """Data and hyperparameters of the fit, its update of the factors and its objective."""

    def __init__(
        self,
        entries: Entries,
        prior: PriorFit,
        prevalence: torch.Tensor,
        delta: float,
        weight: float,
        learn_programs: bool,
        backend: str | None,
    ) -> None:
        self.entries, self.prior = entries, prior
        self.prevalence, self.delta, self.weight = prevalence, delta, weight
        self.learn_programs, self.backend = learn_programs, backend

    def counts(self, factors: Factors) -> ops.ExpectedCounts:
        return sweep(self.entries, factors, self.backend)

    def objective(self, factors: Factors, counts: ops.ExpectedCounts) -> float:
        value = counts.log_likelihood.double().sum()
        if self.learn_programs:
            value = value + self.prior.log_density(factors.psi)
        tables, alpha = self.weight * counts.activity, self.delta * self.prevalence
        return float(self.weight * value + activity_bound(factors.phi, tables, alpha))

    def step(self, factors: Factors, counts: ops.ExpectedCounts) -> Factors:
        phi = geometric_mean(self._activity_posterior(counts))
        if not self.learn_programs:
            return replace(factors, phi=phi)
        psi = self.prior.programs(counts.inclusion, counts.exclusion)
        return replace(factors, phi=phi, psi=psi.clamp(FLOOR, 1.0 - FLOOR))

    def mean_activities(self, counts: ops.ExpectedCounts) -> torch.Tensor:
        return simplex(self._activity_posterior(counts))

    def fitted_activities(self, factors: Factors, counts: ops.ExpectedCounts) -> torch.Tensor:
        """Fit activities to the programs alone, at their mode in softmax coordinates."""
        phi = self.mean_activities(counts)
        for _ in range(_ACTIVITY_CYCLES):
            first = self._improved(factors, phi)
            second = self._improved(factors, first)
            further = simplex(squared_step(phi, first, second, by_row=True))
            phi = self._improved(factors, further)
        return phi

    def _improved(self, factors: Factors, phi: torch.Tensor) -> torch.Tensor:
        return self.mean_activities(self.counts(replace(factors, phi=phi)))

    def _activity_posterior(self, counts: ops.ExpectedCounts) -> torch.Tensor:
        """Dirichlet concentrations ``(B, K)``."""
        return self.delta * self.prevalence + self.weight * counts.activity

    def extrapolate(self, before: Factors, first: Factors, second: Factors) -> Factors:
        phi = simplex(squared_step(before.phi, first.phi, second.phi))
        if not self.learn_programs:
            return replace(before, phi=phi)
        # Extrapolated values may lie outside; the objective decides whether they are kept.
        psi = squared_step(before.psi, first.psi, second.psi).clamp(FLOOR, 1.0 - FLOOR)
        if self.prior.shares_reads:
            psi = self.prior.normalized(psi).clamp(FLOOR, 1.0 - FLOOR)
        return replace(before, phi=phi, psi=psi)


def squared_step(
    before: torch.Tensor, first: torch.Tensor, second: torch.Tensor, by_row: bool = False
) -> torch.Tensor:
    """Extrapolate two steps: theta - 2 a r + a^2 v, with differences r and v and a = -|r| / |v|.

    Parameters
    ----------
    before, first, second
        Parameters before, after one and after two steps.
    by_row
        If True, each row has its own norms and step length.
    """
    r, v = first - before, second - 2.0 * first + before
    length: Any
    if by_row:
        length = r.norm(dim=1, keepdim=True) / v.norm(dim=1, keepdim=True).clamp(min=1e-12)
        length = length.clamp(1.0, _MAX_STEP)
    else:
        length = float(r.norm() / v.norm().clamp(min=1e-12))
        length = min(max(length, 1.0), _MAX_STEP)
    extrapolated: torch.Tensor = before + 2.0 * length * r + length**2 * v
    return extrapolated
