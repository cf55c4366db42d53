"""Junction prior: each junction has its own a and b, as in LeafletFA."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch

from leafletfa_scvi.distributions import Beta, GroupedDirichlet
from leafletfa_scvi.priors._base import EPS, ProgramPrior
from leafletfa_scvi.priors._sites import LogNormalSite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leafletfa_scvi.priors._base import ScalarPriors
    from leafletfa_scvi.priors._fit import PriorFit

_MIN_SHAPE, _MAX_SHAPE = 0.1, 10.0


class JunctionPrior(ProgramPrior):
    """Beta(a_j, b_j) of each junction, or Dirichlet(a) within each ATSE that shares its reads.

    a and b are Gamma with learned shape and rate, the scalars ``a_shape``, ``a_rate``, ...
    """

    name = "junction"
    axes = {
        f"{site}.{part}": ("rows", None) for site in ("a", "b") for part in ("loc", "log_scale")
    }
    samples_psi_jointly = False

    def groups_of_concentrations(self, atse: torch.Tensor) -> torch.Tensor:
        """Return the junctions, or the ATSEs if junctions share their reads."""
        if self.likelihood.shares_reads:
            return atse
        return torch.arange(len(atse), device=atse.device)

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites a and b of the Beta, or a of the Dirichlet."""
        return self.likelihood.prior_sites

    def scalar_priors(self, one: torch.Tensor) -> ScalarPriors:
        """Return Gamma(1, 1) for shape and rate of each site."""
        names = (f"{site}_{part}" for site in self.sites for part in ("shape", "rate"))
        return {name: lambda: dist.Gamma(one, one) for name in names}

    def n_priors(self, n_rows: int) -> int:
        """Return the number of priors: one for each row of the programs."""
        return n_rows

    def _plate(self, n_rows: int) -> pyro.plate:
        return pyro.plate("junction_priors", self.n_priors(n_rows), dim=-2)

    def sample(self, model: Any, scalars: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sample a, b and psi."""
        n_rows, n_programs = len(model.program_atse), model.n_programs
        with self._plate(n_rows):
            a, *b = (
                pyro.sample(
                    name,
                    dist.Gamma(scalars[f"{name}_shape"], scalars[f"{name}_rate"]).expand([1, 1]),
                )
                for name in self.sites
            )
        if self.likelihood.shares_reads:
            return self.sample_psi(model, GroupedDirichlet(a + EPS, model.groups, n_programs))
        return self.sample_psi(model, Beta(a + EPS, b[0] + EPS))

    def add_to_guide(self, guide: Any, n_rows: int) -> None:
        """Register log-normal posteriors of a and b."""
        for name in self.sites:
            guide.add_module(name, LogNormalSite((self.n_priors(n_rows), 1), scale=0.5))

    def sample_guide(self, guide: Any, n_rows: int) -> None:
        """Sample a and b."""
        with self._plate(n_rows):
            for name in self.sites:
                pyro.sample(name, guide.site(name))

    def initialize(self, model: Any, guide: Any, fit: PriorFit) -> None:
        """Set a and b, and their shapes and rates, to the fitted means and concentrations.

        From other values, they would not converge within a training. With K programs at a
        known psi, log a has the information K a^2 (trigamma(a) - trigamma(a + b)), in addition to
        that of its Gamma prior.
        """
        mean = fit.mean.cpu().reshape(-1, 1)
        concentration = fit.concentration.cpu().reshape(len(mean), -1).mean(1, keepdim=True)
        for name, m in zip(self.sites, (mean, 1.0 - mean), strict=False):
            value = (concentration * m).clamp(min=1e-6)
            slack = torch.polygamma(1, value) - torch.polygamma(1, concentration)
            information = model.n_programs * value.square() * slack.clamp(min=0.0)
            value, information = self._pooled(value, information)
            shape, rate = gamma_fit(value)
            guide.set_scalar(f"{name}_shape", shape)
            guide.set_scalar(f"{name}_rate", rate)
            site = getattr(guide, name)
            site.loc.copy_(value.log())
            site.log_scale.copy_(-0.5 * (information + shape).log())

    def _pooled(
        self, value: torch.Tensor, information: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool values of the rows, and the information about them, into those of the priors."""
        return value, information

    def trained_fit(self, model: Any, guide: Any) -> PriorFit:
        """Return the means of a and b as prior mean and concentration."""
        a, *b = (guide.site(name).mean + EPS for name in self.sites)
        a = a.expand(model.n_rows, 1)
        if self.likelihood.shares_reads:
            concentration = model.groups.spread(model.groups.sum(a))
        else:
            concentration = a + b[0]
        fit = self.first_fit(model.one.expand(model.n_rows), model.program_atse)
        return replace(fit, mean=(a / concentration)[:, 0], concentration=concentration)

    def unobserved_programs(self, model: Any, guide: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the means of a and b under their Gamma distributions."""
        values = [
            (self._unobserved_value(guide, name) + EPS).expand(len(model.program_atse), 1)
            for name in self.sites
        ]
        return values[0], values[-1]

    def _unobserved_value(self, guide: Any, name: str) -> torch.Tensor:
        shape, rate = (guide.scalar(f"{name}_{part}").mean for part in ("shape", "rate"))
        mean: torch.Tensor = shape / rate
        return mean


def gamma_fit(values: torch.Tensor) -> tuple[float, float]:
    """Approximate the maximum likelihood shape and rate of a Gamma; for one value, shape 1.

    The shape is that of Minka (2002), limited to [0.1, 10].
    """
    mean = values.double().mean()
    gap = float(mean.log() - values.double().log().mean())
    shape = 1.0
    if values.numel() > 1:
        gap = max(gap, 1e-6)
        shape = (3.0 - gap + ((gap - 3.0) ** 2 + 24.0 * gap) ** 0.5) / (12.0 * gap)
        shape = min(max(shape, _MIN_SHAPE), _MAX_SHAPE)
    return shape, shape / float(mean)
