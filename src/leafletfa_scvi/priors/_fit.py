"""Prior of the programs as EM fits it.

A program's PSI is Beta(c m, c (1 - m)) around the mean PSI m of its junction or, if the junctions
of an ATSE share its reads, Dirichlet(c m) within the ATSE. Most ATSEs do not differ between
programs, and a prior weak enough for those that do would fit noise in all others; therefore the
concentration c is learned, by empirical Bayes on the grid :data:`PRIOR_CONCENTRATIONS`. The prior
decides which junctions have a concentration in common.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.distributions import PRIOR_CONCENTRATIONS
from leafletfa_scvi.ops import sum_within_groups

if TYPE_CHECKING:
    from typing import Self

    from leafletfa_scvi.likelihoods import Likelihood
    from leafletfa_scvi.priors._base import ProgramPrior

_MIN_WEIGHT = 1e-3


@dataclass(frozen=True)
class PriorFit:
    """Prior of psi: a = c m for inclusion and b = c (1 - m) against it.

    Attributes
    ----------
    prior
        Kind of prior.
    mean
        ``(P',)`` prior mean of each row; sums to one within an ATSE if junctions share its reads.
    concentration
        ``(P', 1)``, or ``(P', K)`` for the mixture, where it is the concentration that gives the
        mixture's posterior mean at the table counts it was last fitted to.
    atse
        ``(P',)`` int64, 0-based ATSE of each row.
    weights
        ``(R,)`` fraction of groups at each of :data:`PRIOR_CONCENTRATIONS`.
    """

    prior: ProgramPrior
    mean: torch.Tensor
    concentration: torch.Tensor
    atse: torch.Tensor
    weights: torch.Tensor

    @property
    def likelihood(self) -> Likelihood:
        """Likelihood that the prior was made for."""
        return self.prior.likelihood

    @property
    def shares_reads(self) -> bool:
        """True if junctions compete for the reads of their ATSE; the prior is then Dirichlet."""
        return self.likelihood.shares_reads

    @property
    def inclusion(self) -> torch.Tensor:
        """Parameter a, of the shape of ``concentration``."""
        return self.concentration * self.mean[:, None]

    @property
    def exclusion(self) -> torch.Tensor:
        """Parameter b, of the shape of ``concentration``; unused if junctions share reads."""
        return self.concentration * (1.0 - self.mean[:, None])

    @property
    def reads(self) -> torch.Tensor:
        """Number of pseudo-reads that count in addition to the concentration, ``(1, 1)``: none."""
        return self.concentration.new_zeros(1, 1)

    def programs(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> torch.Tensor:
        """Maximize the posterior of psi given table counts ``(P', K)`` for and against.

        The coordinates are logits (softmax if junctions share reads), in which densities with
        parameters below one have a maximum.
        """
        total_inclusion = self.inclusion + inclusion
        if self.shares_reads:
            return self.normalized(total_inclusion)
        return total_inclusion / (total_inclusion + self.exclusion + exclusion)

    def normalized(self, psi: torch.Tensor) -> torch.Tensor:
        """Scale psi to sum to one within each ATSE."""
        return psi / sum_within_groups(psi, self.atse)

    def select(self, programs: torch.Tensor) -> Self:
        """Select the prior of some of the programs."""
        if self.concentration.shape[1] == 1:
            return self
        return replace(self, concentration=self.concentration[:, programs])

    def to(self, device: torch.device) -> Self:
        """Move to ``device``."""
        names = ("mean", "concentration", "atse", "weights")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def log_density(self, psi: torch.Tensor) -> torch.Tensor:
        """Sum log prior densities of ``(P', K)`` in the coordinates of :meth:`programs`."""
        a = self.inclusion.double()
        value = a * psi.double().log() - torch.lgamma(a)
        if self.shares_reads:
            # The normalizer of an ATSE, divided between its junctions in proportion to their mean.
            value = value + self.mean[:, None] * torch.lgamma(self.concentration.double())
        else:
            b = self.exclusion.double()
            value = value + b * torch.log1p(-psi.double()) - torch.lgamma(b) + torch.lgamma(a + b)
        return value.expand(psi.shape).sum()

    def refit(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> Self:
        """Learn the concentrations from table counts ``(P', K)``.

        The posterior of a group's concentration is proportional to its weight times the
        beta-binomial (Dirichlet-multinomial) probability of the tables; the new weights are the
        mean of that over groups.
        """
        dtype = inclusion.dtype
        # Differences between log gammas of large table counts vanish in float32.
        inclusion, exclusion = inclusion.double(), exclusion.double()
        if self.shares_reads:
            total = sum_within_groups(inclusion, self.atse)
        else:
            total = inclusion + exclusion
        group = self.prior.groups_of_concentrations(self.atse)
        marginals = [self._log_marginal(c, inclusion, total, group) for c in PRIOR_CONCENTRATIONS]
        posterior = torch.softmax(torch.stack(marginals, 1) + self.weights.double().log(), 1)
        weights = posterior.mean(0).clamp(min=_MIN_WEIGHT)
        concentration = self.prior.posterior_concentration(posterior[group], total)
        weights = (weights / weights.sum()).to(dtype)
        return replace(self, concentration=concentration.to(dtype), weights=weights)

    def evened(self, share: float) -> Self:
        """Replace a share of the weights of the concentrations by equal weights."""
        return replace(self, weights=(1.0 - share) * self.weights + share / len(self.weights))

    def _log_marginal(
        self, c: float, inclusion: torch.Tensor, total: torch.Tensor, group: torch.Tensor
    ) -> torch.Tensor:
        """Compute the log probability of the tables of each group under concentration c."""
        a = c * self.mean[:, None].double()
        value = torch.lgamma(a + inclusion) - torch.lgamma(a)
        rising = torch.lgamma(c + total) - torch.lgamma(total.new_tensor(c))
        if self.shares_reads:
            # A term of the ATSE: divided between its junctions in proportion to their mean.
            value = value - self.mean[:, None].double() * rising
        else:
            b = c - a
            value = value + torch.lgamma(b + total - inclusion) - torch.lgamma(b) - rising
        sums = value.new_zeros(int(group.max()) + 1 if len(group) else 0)
        return sums.index_add_(0, group, value.sum(1))
