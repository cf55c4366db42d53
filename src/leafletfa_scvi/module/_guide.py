"""The guide: Beta for psi, Dirichlet for phi and pi, log-normal for every positive site.

If the junctions of an ATSE share its reads, psi is Dirichlet within the ATSE.

Its parameters are plain torch parameters of this module and never enter Pyro's global parameter
store, so two models in one process cannot touch each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from leafletfa_scvi.distributions import Beta, Dirichlet, GroupedDirichlet
from leafletfa_scvi.module._axes import take
from leafletfa_scvi.priors import SINGLE, LogNormalSite, bounded_exp, plates

if TYPE_CHECKING:
    from leafletfa_scvi.module._generative import SplicingGenerativeModel


class SplicingGuide(nn.Module):
    """Mean-field posterior of :class:`SplicingGenerativeModel`.

    Parameters
    ----------
    generative
        The model whose sites are approximated.
    """

    psi_variance: torch.Tensor
    phi_variance: torch.Tensor

    def __init__(self, generative: SplicingGenerativeModel) -> None:
        super().__init__()
        self.n_obs = generative.n_obs
        self.n_junctions = generative.n_junctions
        self.n_programs = generative.n_programs
        # In a tuple, so that its buffers are not registered as part of this module.
        self._generative = (generative,)
        self.n_fixed = 0
        """Number of programs, the first ones, that get no gradients."""
        shape = (generative.n_rows, self.n_programs)
        self.scalars = nn.ModuleDict(
            {name: LogNormalSite(()) for name in generative.scalar_priors()}
        )
        generative.prior.add_to_guide(self, generative.n_rows)
        self.has_kappas = generative.learns_concentration and generative.dispersion == "junction"
        if self.has_kappas:
            self.kappa = LogNormalSite((generative.n_dispersions,), loc=math.log(10.0), scale=0.3)
        self.pi_log = nn.Parameter(torch.full((self.n_programs,), math.log(10.0), **SINGLE))
        for name in generative.likelihood.program_parameters:
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, **SINGLE)))
        by_cell = (generative.n_obs, self.n_programs)
        self.phi_log = nn.Parameter(torch.zeros(by_cell, **SINGLE))
        # Set from the curvature at the end of training; see LeafletFAModel.get_credible_intervals.
        self.register_buffer("psi_variance", torch.zeros(shape, **SINGLE))
        self.register_buffer("phi_variance", torch.zeros(by_cell, **SINGLE))

    def _program_parameters(self) -> list[torch.Tensor]:
        return [getattr(self, name) for name in self._generative[0].likelihood.program_parameters]

    def psi(self) -> Beta | GroupedDirichlet:
        """Return the posterior of the programs, ``(P', K)``, implicit junctions last."""
        generative = self._generative[0]
        concentrations = tuple(bounded_exp(self._free(x)) for x in self._program_parameters())
        return generative.likelihood.program_posterior(
            concentrations, generative.groups, self.n_programs
        )

    def _free(self, values: torch.Tensor) -> torch.Tensor:
        """Return values ``(P', K)`` of which those of the fixed programs get no gradients."""
        if self.n_fixed == 0:
            return values
        fixed, free = values[:, : self.n_fixed], values[:, self.n_fixed :]
        return torch.cat([fixed.detach(), free], 1)

    @torch.no_grad()
    def set_programs(
        self, concentrations: tuple[torch.Tensor, ...], rows: torch.Tensor | None = None
    ) -> None:
        """Set the concentrations of the programs, except those of fixed programs.

        Parameters
        ----------
        concentrations
            ``(P', K)`` or ``(P', 1)`` for each parameter of the posterior; more are ignored.
        rows
            ``(P',)`` bool, rows to set. If None, all.
        """
        for parameter, value in zip(self._program_parameters(), concentrations, strict=False):
            log_value = value.log().to(parameter.device).expand_as(parameter)
            chosen = slice(None) if rows is None else rows
            parameter[chosen, self.n_fixed :] = log_value[chosen, self.n_fixed :]

    def psi_marginal(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the concentrations of the Beta marginal of each entry of psi, ``(P', K)`` each.

        The second is 0 if psi is known to be 1: at the only junction of an ATSE that shares its
        reads.
        """
        return self._generative[0].likelihood.marginal(self.psi())

    def site(self, name: str) -> dist.LogNormal:
        """Return the posterior of the site ``a``, ``b`` or, unless it is a scalar, ``kappa``."""
        site = getattr(self, name)
        assert isinstance(site, LogNormalSite)
        return site.distribution()

    def phi(self, cells: torch.Tensor | slice = slice(None)) -> Dirichlet:
        """Return the posterior of the activities of ``cells``, ``(B,)`` with K components."""
        return Dirichlet(self.phi_concentration(cells))

    def phi_concentration(self, cells: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Return the concentrations of the activities of ``cells``, ``(B, K)``, also of none."""
        return bounded_exp(self.phi_log[cells])

    def pi(self) -> dist.Dirichlet:
        """Return the posterior of the prevalence, K components."""
        return dist.Dirichlet(bounded_exp(self.pi_log))

    def scalar(self, name: str) -> dist.LogNormal:
        """Return the posterior of a positive scalar site."""
        return self._scalar_site(name).distribution()

    def _scalar_site(self, name: str) -> LogNormalSite:
        site = self.scalars[name]
        assert isinstance(site, LogNormalSite)
        return site

    @torch.no_grad()
    def set_scalar(self, name: str, median: float, scale: float | None = None) -> None:
        """Set the median of a positive scalar site, and the standard deviation of its logarithm.

        If ``scale`` is None, the standard deviation is kept.
        """
        site = self._scalar_site(name)
        site.loc.fill_(math.log(median))
        if scale is not None:
            site.log_scale.fill_(math.log(scale))

    def forward(self, cells: torch.Tensor, entries: object) -> None:
        """Sample every site; arguments as in the model."""
        generative = self._generative[0]
        prior, likelihood = generative.prior, generative.likelihood
        for name in self.scalars:
            pyro.sample(name, self.scalar(name))
        pyro.sample("pi", self.pi())
        psi = self.psi()
        prior.sample_guide(self, generative.n_rows)
        # The shape of the site must be that of the prior, which has plates only if it is a product
        # of Beta distributions.
        if likelihood.shares_reads:
            pyro.sample("psi", psi)
        elif prior.samples_psi_jointly or generative.has_reference:
            pyro.sample("psi", psi.to_event(2))  # type: ignore[no-untyped-call] # of Pyro
        else:
            rows, programs = plates(generative.n_rows, self.n_programs)
            with rows, programs:
                pyro.sample("psi", psi)
        if self.has_kappas:
            with generative.dispersion_plate():
                pyro.sample("kappa", self.site("kappa"))
        with pyro.plate("cells", self.n_obs, subsample=cells, dim=-1):
            pyro.sample("phi", self.phi(cells))

    @torch.no_grad()
    def order(self, programs: torch.Tensor) -> None:
        """Permute the programs in place; ``programs`` is a ``(K,)`` permutation."""
        state = self.state_dict()
        for name, value in take(state, "programs", programs, self._generative[0].prior).items():
            state[name].copy_(value)
