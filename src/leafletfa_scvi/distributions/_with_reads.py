"""A prior of the programs together with reads that were assigned to them before."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import Distribution, Independent, kl_divergence
from torch.distributions.kl import register_kl

from leafletfa_scvi import ops
from leafletfa_scvi.distributions._beta_dirichlet import Beta
from leafletfa_scvi.distributions._grouped_dirichlet import PSI_SUPPORT, GroupedDirichlet


class WithReads(TorchDistribution):
    """Prior times the binomial (multinomial) likelihood of pseudo-reads, not normalized.

    The density is p(psi) psi^s (1 - psi)^u with s reads for and u against each entry, or p(psi)
    psi^s if junctions share reads. Its divergence is that from p minus the expected log-likelihood
    of the reads, as in an ELBO with these reads among the data.

    Parameters
    ----------
    prior
        Distribution of ``(P, K)`` programs, or Beta distributions of them that expand to it.
    inclusion
        ``(P, K)`` pseudo-reads s.
    exclusion
        ``(P, K)`` pseudo-reads u; None if junctions share reads.
    """

    arg_constraints: dict[str, Any] = {}
    support = PSI_SUPPORT

    def __init__(
        self, prior: Distribution, inclusion: torch.Tensor, exclusion: torch.Tensor | None
    ) -> None:
        if isinstance(prior, Beta):
            prior = prior.expand(inclusion.shape).to_event(2)
        self.prior, self.inclusion, self.exclusion = prior, inclusion, exclusion
        super().__init__(torch.Size(), inclusion.shape, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> NoReturn:
        """Raise an error: there are no draws in closed form, and the guide has draws."""
        raise NotImplementedError("Draw the programs of an extended model from its guide.")

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Compute the log density, up to a constant."""
        reads = (self.inclusion * value.log()).sum()
        if self.exclusion is not None:
            reads = reads + (self.exclusion * torch.log1p(-value)).sum()
        density: torch.Tensor = self.prior.log_prob(value)
        return density + reads


@register_kl(Independent, WithReads)
def _beta_with_reads(q: Independent[Beta], p: WithReads) -> torch.Tensor:
    assert p.exclusion is not None
    a, b = q.base_dist.unexpanded
    (_, psi_a), (_, psi_b), (_, psi_sum) = (ops.gamma_terms(x) for x in (a, b, a + b))
    reads = p.inclusion * (psi_a - psi_sum) + p.exclusion * (psi_b - psi_sum)
    return kl_divergence(q, p.prior) - reads.sum()


@register_kl(GroupedDirichlet, WithReads)
def _dirichlet_with_reads(q: GroupedDirichlet, p: WithReads) -> torch.Tensor:
    a, groups = q.concentration, q.groups
    (_, psi_a), (_, psi_sum) = (ops.gamma_terms(x) for x in (a, groups.sum(a)))
    reads = p.inclusion * (psi_a - groups.spread(psi_sum))
    return kl_divergence(q, p.prior) - reads.sum()
