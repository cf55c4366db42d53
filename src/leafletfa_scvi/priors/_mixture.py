"""Mixture prior: one concentration for each ATSE, from a grid, for all programs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import (
    PRIOR_CONCENTRATIONS,
    ConcentrationMixture,
    mixture_constants,
)
from leafletfa_scvi.priors._base import ProgramPrior
from leafletfa_scvi.priors._sites import SINGLE, bounded_exp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leafletfa_scvi.priors._fit import PriorFit

MIN_MEAN = 1e-3
"""Minimum distance of a mean of the mixture from 0 and 1, unless junctions share reads."""
_MAX_ATSES = 1000.0


class MixturePrior(ProgramPrior):
    """Each ATSE has one prior concentration; see :class:`ConcentrationMixture`.

    The prior means are not sampled: they are estimated from the reads (empirical Bayes) and saved
    with the parameters as the buffer ``program_mean`` of the generative model. The weights are the
    parameter ``strength_log`` of the guide.
    """

    name = "mixture"
    axes = {"program_mean": ("rows",), "strength_log": (None,)}
    samples_psi_jointly = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._constants: tuple[torch.Tensor, int, torch.Tensor] | None = None

    def groups_of_concentrations(self, atse: torch.Tensor) -> torch.Tensor:
        """Return the ATSEs."""
        return atse

    def posterior_concentration(
        self, posterior: torch.Tensor, total: torch.Tensor
    ) -> torch.Tensor:
        """Find the concentration ``(P', K)`` that gives the posterior mean of psi."""
        shrinkage = torch.zeros_like(total)
        for r, c in enumerate(PRIOR_CONCENTRATIONS):
            shrinkage += posterior[:, r, None] / (c + total)
        return (1.0 / shrinkage - total).clamp(min=PRIOR_CONCENTRATIONS[0])

    def add_to_model(self, model: Any) -> None:
        """Register the prior means, at first equal within an ATSE."""
        atse = model.program_atse
        size = ops.Groups(atse).sum(model.one.expand(len(atse), 1))[atse, 0]
        equal = 1.0 / size if self.likelihood.shares_reads else torch.full_like(size, 0.5)
        model.register_buffer("program_mean", equal)

    @torch.no_grad()
    def set_mean(self, model: Any, mean: torch.Tensor) -> None:
        """Set the means ``(P',)``, limited to [0.001, 0.999] and then normalized if needed."""
        mean = mean.to(model.program_mean).reshape(-1).clamp(MIN_MEAN, 1.0 - MIN_MEAN)
        if self.likelihood.shares_reads:
            mean = mean / model.groups.spread(model.groups.sum(mean[:, None]))[:, 0]
        model.program_mean.copy_(mean)

    def distribution(self, model: Any, weights: torch.Tensor) -> ConcentrationMixture:
        """Return the prior of psi given the weights ``(R,)`` of the concentrations."""
        mean, shares_reads = model.program_mean, self.likelihood.shares_reads
        cached = self._constants
        # The means change in place when the model is initialized or loaded.
        if cached is None or cached[0] is not mean or cached[1] != mean._version:
            constants = mixture_constants(mean, model.groups, shares_reads)
            cached = self._constants = (mean, mean._version, constants)
        return ConcentrationMixture(
            mean, weights, model.groups, model.n_programs, shares_reads, cached[2]
        )

    def sample(self, model: Any, scalars: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sample the weights of the concentrations and psi."""
        flat = model.one.expand(len(PRIOR_CONCENTRATIONS))
        weights = pyro.sample("strength_weights", dist.Dirichlet(flat))
        return self.sample_psi(model, self.distribution(model, weights))

    def add_to_guide(self, guide: Any, n_rows: int) -> None:
        """Register the log concentrations of the weights' Dirichlet."""
        first = torch.zeros(len(PRIOR_CONCENTRATIONS), **SINGLE)
        guide.register_parameter("strength_log", nn.Parameter(first))

    def weights(self, guide: Any) -> dist.Dirichlet:
        """Return the posterior of the weights of the concentrations, R components."""
        return dist.Dirichlet(bounded_exp(guide.strength_log))

    def sample_guide(self, guide: Any, n_rows: int) -> None:
        """Sample the weights."""
        pyro.sample("strength_weights", self.weights(guide))

    def initialize(self, model: Any, guide: Any, fit: PriorFit) -> None:
        """Set means and weights to those fitted, with as many pseudo-counts as ATSEs."""
        self.set_mean(model, fit.mean)
        n_atses = min(float(model.groups.n_groups), _MAX_ATSES)
        weights = fit.weights.to(guide.strength_log.device)
        guide.strength_log.copy_((weights * n_atses + 1.0).log())

    def trained_fit(self, model: Any, guide: Any) -> PriorFit:
        """Return the prior with its means and weights, all concentrations intermediate."""
        fit = self.first_fit(model.program_mean, model.program_atse)
        return replace(fit, mean=model.program_mean.clone(), weights=self.weights(guide).mean)

    def unobserved_programs(self, model: Any, guide: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Match the mean and variance of the mixture by a Beta (or Dirichlet)."""
        weights = self.weights(guide).mean
        grid = weights.new_tensor(PRIOR_CONCENTRATIONS)
        concentration = 1.0 / (weights / (grid + 1.0)).sum() - 1.0
        mean = model.program_mean[:, None]
        return concentration * mean, concentration * (1.0 - mean)

    def summary(
        self, guide: Any
    ) -> tuple[dict[str, dist.LogNormal], tuple[list[str], dist.Dirichlet] | None]:
        """Return the posterior of the weights ``strength[c]``."""
        return {}, ([f"strength[{c:g}]" for c in PRIOR_CONCENTRATIONS], self.weights(guide))
