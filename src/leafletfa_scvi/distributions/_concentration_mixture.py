"""Prior of programs that mostly agree: a mixture over prior concentrations, marginalized.

Each ATSE has one concentration c of a grid, drawn with weights w, for all its junctions and all
programs:

    psi_jk | c ~ Beta(c m_j, c (1 - m_j)),  or Dirichlet(c m) within the ATSE,

around the mean PSI m of each junction. With large c the programs agree; the weights say in how
many ATSEs they do.

Only linear terms of the divergence of q = Beta(a, b) depend on c. With U = E_q log psi,
V = E_q log(1 - psi), h = -m log m - (1 - m) log(1 - m), B the beta function and H the entropy,

    KL_c = U + V - H(q) + [log B(c m, c (1 - m)) + c h]
           - c [m (U - log m) + (1 - m) (V - log(1 - m))]

so that one pass over the programs serves all concentrations. Terms are written as differences
from log m so that nothing large cancels. The concentration of an ATSE is marginalized under its
own best posterior q(c), which bounds the exact divergence from above (equal if c is certain):

    KL = -sum_atse log sum_c w_c exp(-sum_{j, k} KL_c)
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import Categorical, Independent
from torch.distributions.kl import register_kl

from leafletfa_scvi import ops
from leafletfa_scvi.distributions._beta_dirichlet import Beta
from leafletfa_scvi.distributions._grouped_dirichlet import PSI_SUPPORT, GroupedDirichlet

PRIOR_CONCENTRATIONS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Grid of prior concentrations c, in pseudo-reads."""


class ConcentrationMixture(TorchDistribution):
    """Programs ``(P, K)`` whose ATSEs each have one of the concentrations of the grid.

    Parameters
    ----------
    mean
        ``(P,)`` means m; they sum to one within an ATSE if the junctions share its reads.
    weights
        ``(R,)`` fraction w of ATSEs at each concentration.
    groups
        ATSE of each of the P rows.
    n_programs
        Number of programs K.
    shares_reads
        If True, Dirichlet within each ATSE; otherwise Beta for each junction.
    constants
        :func:`mixture_constants` of ``mean``. If None, they are computed.
    """

    arg_constraints: dict[str, Any] = {}
    support = PSI_SUPPORT

    def __init__(
        self,
        mean: torch.Tensor,
        weights: torch.Tensor,
        groups: ops.Groups,
        n_programs: int,
        shares_reads: bool,
        constants: torch.Tensor | None = None,
    ) -> None:
        self.prior_mean, self.weights, self.groups = mean, weights, groups
        self.shares_reads = shares_reads
        if constants is None:
            constants = mixture_constants(mean, groups, shares_reads)
        self.constants = constants
        shape = torch.Size((len(mean), n_programs))
        super().__init__(torch.Size(), shape, validate_args=False)

    @property
    def prior_concentrations(self) -> torch.Tensor:
        """The grid, ``(R,)``."""
        return self.weights.new_tensor(PRIOR_CONCENTRATIONS)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw concentrations, then programs."""
        shape, k = torch.Size(sample_shape), self.event_shape[1]
        with torch.no_grad():
            draws = []
            for _ in range(shape.numel()):
                component = Categorical(self.weights).sample((self.groups.n_groups, 1))
                c = self.groups.spread(self.prior_concentrations[component])
                m = self.prior_mean[:, None]
                if self.shares_reads:
                    draws.append(GroupedDirichlet(c * m, self.groups, k).sample())
                else:
                    draws.append(Beta(c * m, c * (1.0 - m)).expand(self.event_shape).sample())
            return torch.stack(draws).reshape(shape + self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Compute the log density, over the simplices if junctions share reads."""
        log_psi = value.log()
        log_complement = None if self.shares_reads else torch.log1p(-value)
        return self._marginalized(log_psi, log_complement)

    def _marginalized(
        self, log_psi: torch.Tensor, log_complement: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the log density from log psi and log(1 - psi), ``(P, K)`` each, or their means.

        For the means E_q log psi and E_q log(1 - psi), the result is -KL minus the entropy of q.
        """
        m, k = self.prior_mean[:, None], self.event_shape[1]
        base = log_psi.sum(-1, keepdim=True)
        fit = m * (base - k * m.log())
        if log_complement is not None:
            complement = log_complement.sum(-1, keepdim=True)
            base = base + complement
            fit = fit + (1.0 - m) * (complement - k * torch.log1p(-m))
        base, fit = self.groups.sum(base), self.groups.sum(fit)
        by_concentration = self.prior_concentrations * fit - k * self.constants
        return (torch.logsumexp(self.weights.log() + by_concentration, -1) - base[..., 0]).sum(-1)


def mixture_constants(mean: torch.Tensor, groups: ops.Groups, shares_reads: bool) -> torch.Tensor:
    """Compute log B + c h of each ATSE at each concentration, for one program, ``(G, R)``."""
    m = mean[:, None].to(torch.float32 if mean.device.type == "mps" else torch.float64)
    c = m.new_tensor(PRIOR_CONCENTRATIONS)
    value = torch.lgamma(c * m) - c * m * m.log()
    if shares_reads:
        out = groups.sum(value) - torch.lgamma(c * groups.sum(m))
    else:
        complement = 1.0 - m
        value = value + torch.lgamma(c * complement) - c * complement * complement.log()
        out = groups.sum(value - torch.lgamma(c))
    return out.to(mean.dtype)


@register_kl(Independent, ConcentrationMixture)
def _beta_mixture_divergence(q: Independent[Beta], p: ConcentrationMixture) -> torch.Tensor:
    a, b = q.base_dist.unexpanded
    (log_a, psi_a), (log_b, psi_b), (log_sum, psi_sum) = (
        ops.gamma_terms(x) for x in (a, b, a + b)
    )
    # Expected log psi and log(1 - psi) under the Beta.
    log_psi, log_complement = psi_a - psi_sum, psi_b - psi_sum
    log_density = (log_sum - log_a - log_b) + (a - 1.0) * log_psi + (b - 1.0) * log_complement
    return log_density.sum() - p._marginalized(log_psi, log_complement)


@register_kl(GroupedDirichlet, ConcentrationMixture)
def _dirichlet_mixture_divergence(q: GroupedDirichlet, p: ConcentrationMixture) -> torch.Tensor:
    a, groups = q.concentration, q.groups
    atse_sum = groups.sum(a)
    (log_a, psi_a), (log_sum, psi_sum) = (ops.gamma_terms(x) for x in (a, atse_sum))
    log_psi = psi_a - groups.spread(psi_sum)
    log_density = log_sum.sum() + ((a - 1.0) * log_psi - log_a).sum()
    return log_density - p._marginalized(log_psi, None)
