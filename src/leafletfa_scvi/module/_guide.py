"""The guide: Beta for psi, Dirichlet for phi and pi, log-normal for every positive site.

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

from leafletfa_scvi.module._distributions import Beta, Dirichlet

if TYPE_CHECKING:
    from leafletfa_scvi.module._generative import SplicingGenerativeModel

_MIN_LOG, _MAX_LOG = math.log(1e-2), math.log(1e6)
_MIN_SCALE, _MAX_SCALE = math.log(1e-3), math.log(2.0)


def _bounded_exp(log_value: torch.Tensor) -> torch.Tensor:
    return log_value.clamp(_MIN_LOG, _MAX_LOG).exp()


class _LogNormalSite(nn.Module):
    """Location and log-scale of log-normal sites of one shape."""

    def __init__(self, shape: tuple[int, ...], loc: float = 0.0, scale: float = 0.1) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.full(shape, loc))
        self.log_scale = nn.Parameter(torch.full(shape, math.log(scale)))

    def distribution(self) -> dist.LogNormal:
        return dist.LogNormal(self.loc, self.log_scale.clamp(_MIN_SCALE, _MAX_SCALE).exp())


class SplicingGuide(nn.Module):
    """Mean-field posterior of :class:`SplicingGenerativeModel`.

    Parameters
    ----------
    generative
        The model whose sites are approximated.
    """

    def __init__(self, generative: SplicingGenerativeModel) -> None:
        super().__init__()
        n_programs = generative.n_programs
        self.n_obs = generative.n_obs
        self.n_junctions = generative.n_junctions
        self.n_programs = n_programs
        shape = (generative.n_junctions, n_programs)
        prior_shape = (shape[0] if generative.junction_prior == "junction" else 1, 1)
        self.scalars = nn.ModuleDict(
            {name: _LogNormalSite(()) for name in generative.scalar_priors()}
        )
        self.a = _LogNormalSite(prior_shape, scale=0.5)
        self.b = _LogNormalSite(prior_shape, scale=0.5)
        self.pi_log = nn.Parameter(torch.full((n_programs,), math.log(10.0)))
        self.psi_log_inclusion = nn.Parameter(torch.zeros(shape))
        self.psi_log_exclusion = nn.Parameter(torch.zeros(shape))
        self.phi_log = nn.Parameter(torch.zeros(generative.n_obs, n_programs))

    def psi(self) -> Beta:
        """Posterior of the programs, ``(P, K)``."""
        inclusion, exclusion = self.psi_log_inclusion, self.psi_log_exclusion
        return Beta(_bounded_exp(inclusion), _bounded_exp(exclusion))

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
        for name in self.scalars:
            pyro.sample(name, self.scalar(name))
        pyro.sample("pi", self.pi())
        with pyro.plate("junction_priors", self.a.loc.shape[0], dim=-2):
            pyro.sample("a", self.a.distribution())
            pyro.sample("b", self.b.distribution())
        with (
            pyro.plate("junctions", self.n_junctions, dim=-2),
            pyro.plate("programs", self.n_programs, dim=-1),
        ):
            pyro.sample("psi", self.psi())
        with pyro.plate("cells", self.n_obs, subsample=cells, dim=-1):
            pyro.sample("phi", self.phi(cells))

    @torch.no_grad()
    def order(self, programs: torch.Tensor) -> None:
        """Permute the programs in place; ``programs`` is a ``(K,)`` permutation."""
        for name in ("psi_log_inclusion", "psi_log_exclusion", "phi_log", "pi_log"):
            parameter = getattr(self, name)
            parameter.copy_(parameter[..., programs])
