"""The prior of the programs, and how strong the data say it is.

A program's PSI is Beta(c m, c (1 - m)) around the mean usage m of its junction, or, where the
junctions of an ATSE share its reads, Dirichlet(c m) within the ATSE. Most ATSEs do not differ
between programs, and a prior as weak as those need that do makes noise of all others; so the
strength c is learned, by empirical Bayes on the grid :data:`PRIOR_CONCENTRATIONS`:

- ``"mixture"``: one strength for each ATSE, shared by its junctions and all programs,
- ``"junction"``: one for each junction (ATSE, where reads are shared),
- ``"global"``: one for all, around one mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.distributions import PRIOR_CONCENTRATIONS

if TYPE_CHECKING:
    from leafletfa_scvi._choices import JunctionPrior

_FIRST_STRENGTH = 3.0
_LEAST_WEIGHT = 1e-3
_MIN_MEAN = 1e-3


@dataclass(frozen=True)
class ProgramPrior:
    """Prior of psi: a = strength * mean for inclusion and b = strength * (1 - mean) against it.

    Attributes
    ----------
    kind
        ``"mixture"``, ``"junction"`` or ``"global"``.
    mean
        ``(P,)`` prior mean of each junction; sums to one within an ATSE where shared.
    strength
        ``(P, 1)``, or ``(P, K)`` for the mixture, where it is the strength that gives the
        mixture's posterior mean at the table counts it was last fitted to.
    atse
        ``(P,)`` int64, 0-based ATSE of each junction.
    shared
        Whether the junctions of an ATSE share its reads, so that the prior is Dirichlet.
    weights
        ``(R,)`` share of groups at each of :data:`PRIOR_CONCENTRATIONS`.
    """

    kind: JunctionPrior
    mean: torch.Tensor
    strength: torch.Tensor
    atse: torch.Tensor
    shared: bool
    weights: torch.Tensor

    @property
    def inclusion(self) -> torch.Tensor:
        """Parameter a, the shape of ``strength``."""
        return self.strength * self.mean[:, None]

    @property
    def exclusion(self) -> torch.Tensor:
        """Parameter b, the shape of ``strength``; of no meaning where shared."""
        return self.strength * (1.0 - self.mean[:, None])

    def programs(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> torch.Tensor:
        """Psi at the maximum of the posterior given table counts ``(P, K)`` for and against.

        In logit coordinates (softmax coordinates where shared), in which densities with parameters
        below one have a maximum.
        """
        up = self.inclusion + inclusion
        if self.shared:
            return up / self._within_atse(up)
        return up / (up + self.exclusion + exclusion)

    def normalised(self, psi: torch.Tensor) -> torch.Tensor:
        """Psi scaled to sum to one within each ATSE."""
        return psi / self._within_atse(psi)

    def selected(self, programs: torch.Tensor) -> ProgramPrior:
        """The same for some of the programs."""
        if self.strength.shape[1] == 1:
            return self
        return replace(self, strength=self.strength[:, programs])

    def to(self, device: torch.device) -> ProgramPrior:
        """The same on ``device``."""
        names = ("mean", "strength", "atse", "weights")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def log_density(self, psi: torch.Tensor) -> torch.Tensor:
        """Sum of log prior densities of ``(P, K)`` in the coordinates of :meth:`programs`."""
        a = self.inclusion.double()
        value = a * psi.double().log() - torch.lgamma(a)
        if self.shared:  # the normaliser of an ATSE, split over its junctions by their mean
            value = value + self.mean[:, None] * torch.lgamma(self.strength.double())
        else:
            b = self.exclusion.double()
            value = value + b * torch.log1p(-psi.double()) - torch.lgamma(b) + torch.lgamma(a + b)
        return value.expand(psi.shape).sum()

    def refitted(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> ProgramPrior:
        """The prior with its strengths learned from table counts ``(P, K)``.

        The posterior of a group's strength is its share of the weights times the Beta-binomial
        (Dirichlet-multinomial) probability of the tables; the weights become the mean of that
        over groups.
        """
        kind = inclusion.dtype
        # Differences between log gammas of many tables have no digits left in float32.
        inclusion, exclusion = inclusion.double(), exclusion.double()
        total = self._within_atse(inclusion) if self.shared else inclusion + exclusion
        evidence = torch.stack(
            [self._evidence(c, inclusion, total) for c in PRIOR_CONCENTRATIONS], 1
        )
        chance = torch.softmax(evidence + self.weights.double().log(), 1)
        weights = chance.mean(0).clamp(min=_LEAST_WEIGHT)
        chance = chance[self._group()]
        strengths = chance.new_tensor(PRIOR_CONCENTRATIONS)
        if self.kind == "mixture":
            shrinkage = torch.zeros_like(total)
            for r, c in enumerate(PRIOR_CONCENTRATIONS):
                shrinkage += chance[:, r, None] / (c + total)
            strength = (1.0 / shrinkage - total).clamp(min=PRIOR_CONCENTRATIONS[0])
        else:
            strength = (chance @ strengths.log()).exp()[:, None]
        weights = (weights / weights.sum()).to(kind)
        return replace(self, strength=strength.to(kind), weights=weights)

    def _group(self) -> torch.Tensor:
        """``(P,)`` the group whose strength a junction shares."""
        if self.kind == "global":
            return torch.zeros_like(self.atse)
        if self.kind == "junction" and not self.shared:
            return torch.arange(len(self.atse), device=self.atse.device)
        return self.atse

    def _evidence(self, c: float, inclusion: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Log probability of the tables of each group under strength c, summed over programs."""
        a = c * self.mean[:, None].double()
        value = torch.lgamma(a + inclusion) - torch.lgamma(a)
        whole = torch.lgamma(c + total) - torch.lgamma(total.new_tensor(c))
        if self.shared:  # once for each ATSE: split over its junctions by their share of the mean
            value = value - self.mean[:, None].double() * whole
        else:
            b = c - a
            value = value + torch.lgamma(b + total - inclusion) - torch.lgamma(b) - whole
        group = self._group()
        sums = value.new_zeros(int(group.max()) + 1 if len(group) else 0)
        return sums.index_add_(0, group, value.sum(1))

    def _within_atse(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over the junctions of an ATSE, at each of them."""
        n_atses = int(self.atse.max()) + 1 if len(self.atse) else 0
        sums = values.new_zeros(n_atses, values.shape[1]).index_add_(0, self.atse, values)
        return sums[self.atse]


def program_prior(
    kind: JunctionPrior,
    usage: torch.Tensor,
    atse: torch.Tensor | None = None,
    shared: bool = False,
) -> ProgramPrior:
    """A prior of middling strength around the usage of the junctions.

    Parameters
    ----------
    kind
        ``"mixture"``, ``"junction"`` or ``"global"``.
    usage
        ``(P,)`` mean PSI of each junction.
    atse
        ``(P,)`` 0-based ATSE of each junction; None makes each junction its own.
    shared
        Whether the junctions of an ATSE share its reads.
    """
    device = usage.device
    own = torch.arange(len(usage), device=device)
    atse = own if atse is None else atse.to(device, torch.int64)
    mean = usage.float().clamp(_MIN_MEAN, 1.0 - _MIN_MEAN)
    if kind == "global":
        mean = torch.ones_like(mean) if shared else mean.mean().expand_as(mean).clone()
    weights = mean.new_full((len(PRIOR_CONCENTRATIONS),), 1.0 / len(PRIOR_CONCENTRATIONS))
    strength = mean.new_full((len(mean), 1), _FIRST_STRENGTH)
    prior = ProgramPrior(kind, mean, strength, atse, shared, weights)
    if shared:
        prior = replace(prior, mean=mean / prior._within_atse(mean[:, None])[:, 0])
    return prior
