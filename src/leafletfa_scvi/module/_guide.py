"""The guide: Beta for psi, Dirichlet for phi and pi, log-normal for every positive site.

Where the junctions of an ATSE share its reads, psi is Dirichlet within the ATSE.

Its parameters are plain torch parameters of this module and never enter Pyro's global parameter
store, so two models in one process cannot touch each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from leafletfa_scvi.distributions import (
    PRIOR_CONCENTRATIONS,
    Beta,
    Dirichlet,
    GroupedDirichlet,
)

if TYPE_CHECKING:
    from leafletfa_scvi.module._generative import SplicingGenerativeModel

_MIN_LOG, _MAX_LOG = math.log(1e-2), math.log(1e6)
_MIN_SCALE, _MAX_SCALE = math.log(1e-3), math.log(2.0)

_SINGLE: Any = {"dtype": torch.float32, "device": "cpu"}
"""What parameters are made as, whatever torch's defaults."""
_BY_PROGRAM = {
    "psi_log_inclusion",
    "psi_log_exclusion",
    "psi_variance",
    "phi_log",
    "phi_variance",
    "pi_log",
}
"""Parameters and buffers whose last axis is that of programs."""


def _bounded_exp(log_value: torch.Tensor) -> torch.Tensor:
    return log_value.clamp(_MIN_LOG, _MAX_LOG).exp()


class _LogNormalSite(nn.Module):
    """Location and log-scale of log-normal sites of one shape."""

    def __init__(self, shape: tuple[int, ...], loc: float = 0.0, scale: float = 0.1) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.full(shape, loc, **_SINGLE))
        self.log_scale = nn.Parameter(torch.full(shape, math.log(scale), **_SINGLE))

    def distribution(self) -> dist.LogNormal:
        return dist.LogNormal(self.loc, self.log_scale.clamp(_MIN_SCALE, _MAX_SCALE).exp())


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
        # Seen by the groups of the model, and no part of this module's parameters.
        self._generative = (generative,)
        shape = (generative.n_columns, self.n_programs)
        self.scalars = nn.ModuleDict(
            {name: _LogNormalSite(()) for name in generative.scalar_priors()}
        )
        prior_shape = (shape[0] if generative.junction_prior == "junction" else 1, 1)
        self.prior_sites = generative.prior_sites
        for name in self.prior_sites:
            self.add_module(name, _LogNormalSite(prior_shape, scale=0.5))
        if generative.junction_prior == "mixture":
            self.strength_log = nn.Parameter(torch.zeros(len(PRIOR_CONCENTRATIONS), **_SINGLE))
        self.has_kappas = generative.learns_concentration and generative.dispersion == "junction"
        if self.has_kappas:
            self.kappa = _LogNormalSite((generative.n_dispersions,), loc=math.log(10.0), scale=0.3)
        self.pi_log = nn.Parameter(torch.full((self.n_programs,), math.log(10.0), **_SINGLE))
        self.psi_log_inclusion = nn.Parameter(torch.zeros(shape, **_SINGLE))
        if not generative.shared:
            self.psi_log_exclusion = nn.Parameter(torch.zeros(shape, **_SINGLE))
        by_cell = (generative.n_obs, self.n_programs)
        self.phi_log = nn.Parameter(torch.zeros(by_cell, **_SINGLE))
        # Of the curvature at the end of training; see LeafletFAModel.get_credible_intervals.
        self.register_buffer("psi_variance", torch.zeros(shape, **_SINGLE))
        self.register_buffer("phi_variance", torch.zeros(by_cell, **_SINGLE))

    @property
    def shared(self) -> bool:
        """Whether programs sum to one within an ATSE."""
        return self._generative[0].shared

    def psi(self) -> Beta | GroupedDirichlet:
        """Posterior of the programs, ``(P', K)``, implicit junctions last."""
        inclusion = _bounded_exp(self.psi_log_inclusion)
        if self.shared:
            return GroupedDirichlet(inclusion, self._generative[0].groups, self.n_programs)
        return Beta(inclusion, _bounded_exp(self.psi_log_exclusion))

    def psi_marginal(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Concentrations of the Beta that each entry of psi has alone, ``(P', K)`` each.

        The second is 0 where psi is 1 for certain: at the only junction of an ATSE that it shares
        its reads with no other.
        """
        psi = self.psi()
        if isinstance(psi, Beta):
            return psi.concentration1, psi.concentration0
        groups = psi.groups
        alone = groups.spread(groups.sum(torch.ones_like(psi.unexpanded[:, :1]))) == 1
        rest = (psi.total - psi.concentration).clamp(min=math.exp(_MIN_LOG))
        return psi.concentration, rest.masked_fill(alone, 0.0)

    def strength_weights(self) -> dist.Dirichlet:
        """Posterior of the weights of the mixture's strengths, R components."""
        return dist.Dirichlet(_bounded_exp(self.strength_log))

    def site(self, name: str) -> dist.LogNormal:
        """Posterior of the sites ``a``, ``b`` or, where there are many, ``kappa``."""
        site = getattr(self, name)
        assert isinstance(site, _LogNormalSite)
        return site.distribution()

    def phi(self, cells: torch.Tensor | slice = slice(None)) -> Dirichlet:
        """Posterior of the activities of ``cells``, ``(B,)`` with K components."""
        return Dirichlet(_bounded_exp(self.phi_log[cells]))

    def pi(self) -> dist.Dirichlet:
        """Posterior of the prevalence, K components."""
        return dist.Dirichlet(_bounded_exp(self.pi_log))

    def scalar(self, name: str) -> dist.LogNormal:
        """Posterior of a positive scalar site."""
        return self._scalar_site(name).distribution()

    def _scalar_site(self, name: str) -> _LogNormalSite:
        site = self.scalars[name]
        assert isinstance(site, _LogNormalSite)
        return site

    @torch.no_grad()
    def set_scalar(self, name: str, median: float) -> None:
        """Put the median of a positive scalar site."""
        self._scalar_site(name).loc.fill_(math.log(median))

    def forward(self, cells: torch.Tensor, entries: object) -> None:
        """Draw every site; arguments as in the model."""
        generative = self._generative[0]
        for name in self.scalars:
            pyro.sample(name, self.scalar(name))
        pyro.sample("pi", self.pi())
        psi = self.psi()
        if generative.junction_prior == "mixture":
            pyro.sample("strength_weights", self.strength_weights())
        else:
            with generative.junction_plate():
                for name in self.prior_sites:
                    pyro.sample(name, self.site(name))
        if self.shared or generative.junction_prior == "mixture":
            pyro.sample("psi", psi if self.shared else psi.to_event(2))
        else:
            with (
                pyro.plate("junctions", generative.n_columns, dim=-2),
                pyro.plate("programs", self.n_programs, dim=-1),
            ):
                pyro.sample("psi", psi)
        if self.has_kappas:
            with generative.dispersion_plate():
                pyro.sample("kappa", self.site("kappa"))
        with pyro.plate("cells", self.n_obs, subsample=cells, dim=-1):
            pyro.sample("phi", self.phi(cells))

    @torch.no_grad()
    def order(self, programs: torch.Tensor) -> None:
        """Permute the programs in place; ``programs`` is a ``(K,)`` permutation."""
        for name, values in self.state_dict().items():
            if name in _BY_PROGRAM:
                values.copy_(values[..., programs])
