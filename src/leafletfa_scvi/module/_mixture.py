"""Prior of programs that mostly agree: a strength for each ATSE, summed out.

Each ATSE has one strength c of a grid, drawn with weights w, that all its junctions and all
programs share:

    psi_jk | c ~ Beta(c m_j, c (1 - m_j)),  or Dirichlet(c m) within the ATSE,

around the mean usage m of each junction. Where c is large, the programs agree; the weights say how
many ATSEs do.

Only linear terms of the divergence of q = Beta(a, b) depend on c. With U = E_q log psi,
V = E_q log(1 - psi), h = -m log m - (1 - m) log(1 - m), B the beta function and H the entropy,

    KL_c = U + V - H(q) + [log B(c m, c (1 - m)) + c h]
           - c [m (U - log m) + (1 - m) (V - log(1 - m))]

so that one pass over the programs serves all strengths. Terms are written as differences from
log m so that nothing large cancels. The strength of an ATSE is summed out under its own best
posterior q(c), which bounds the exact divergence from above (it is equal where c is certain):

    KL = -sum_atse log sum_c w_c exp(-sum_{j, k} KL_c)
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import Categorical, Independent
from torch.distributions.kl import register_kl

from leafletfa_scvi import ops
from leafletfa_scvi.inference import STRENGTHS
from leafletfa_scvi.module._distributions import Beta
from leafletfa_scvi.module._grouped import SHARES, GroupedDirichlet


class StrengthMixture(TorchDistribution):
    """Programs ``(P, K)`` whose ATSEs each have one of the strengths of the grid.

    Parameters
    ----------
    mean
        ``(P,)`` means m; they sum to one within an ATSE where ``shared``.
    weights
        ``(R,)`` shares w of ATSEs at each strength.
    groups
        ATSE of each of the P rows.
    n_programs
        Number of programs K.
    shared
        Dirichlet within each ATSE, not Beta for each junction.
    constants
        :func:`strength_constants` of ``mean``, where they are known already.
    """

    arg_constraints: dict[str, Any] = {}
    support = SHARES

    def __init__(
        self,
        mean: torch.Tensor,
        weights: torch.Tensor,
        groups: ops.Groups,
        n_programs: int,
        shared: bool,
        constants: torch.Tensor | None = None,
    ) -> None:
        self.prior_mean, self.weights, self.groups, self.shared = mean, weights, groups, shared
        self.constants = constants
        if constants is None:
            self.constants = strength_constants(mean, groups, shared)
        shape = torch.Size((len(mean), n_programs))
        super().__init__(torch.Size(), shape, validate_args=False)

    @property
    def strengths(self) -> torch.Tensor:
        """The grid, ``(R,)``."""
        return self.weights.new_tensor(STRENGTHS)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draws of strengths, then of programs."""
        shape, k = torch.Size(sample_shape), self.event_shape[1]
        with torch.no_grad():
            draws = []
            for _ in range(shape.numel()):
                chosen = Categorical(self.weights).sample((self.groups.n_groups, 1))
                a = self.groups.spread(self.strengths[chosen])
                m = self.prior_mean[:, None]
                if self.shared:
                    draws.append(GroupedDirichlet(a * m, self.groups, k).sample())
                else:
                    draws.append(Beta(a * m, a * (1.0 - m)).expand(self.event_shape).sample())
            return torch.stack(draws).reshape(shape + self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density, over the simplices where ``shared``."""
        log_psi = value.log()
        log_rest = None if self.shared else torch.log1p(-value)
        return self._summed_out(log_psi, log_rest)

    def _summed_out(self, log_psi: torch.Tensor, log_rest: torch.Tensor | None) -> torch.Tensor:
        """Log density as a function of log psi and log(1 - psi), ``(P, K)`` each, or their means.

        Of programs drawn from q these are E_q log psi and E_q log(1 - psi), and the result is
        -KL less the entropy of q.
        """
        m, k = self.prior_mean[:, None], self.event_shape[1]
        base = log_psi.sum(-1, keepdim=True)
        fit = m * (base - k * m.log())
        if log_rest is not None:
            rest = log_rest.sum(-1, keepdim=True)
            base = base + rest
            fit = fit + (1.0 - m) * (rest - k * torch.log1p(-m))
        base, fit = self.groups.sum(base), self.groups.sum(fit)
        by_strength = self.strengths * fit - k * self.constants
        return (torch.logsumexp(self.weights.log() + by_strength, -1) - base[..., 0]).sum(-1)


def strength_constants(mean: torch.Tensor, groups: ops.Groups, shared: bool) -> torch.Tensor:
    """Log B + c h of each ATSE under each strength, for one program, ``(G, R)``."""
    m = mean[:, None].to(torch.float32 if mean.device.type == "mps" else torch.float64)
    c = m.new_tensor(STRENGTHS)
    value = torch.lgamma(c * m) - c * m * m.log()
    if shared:
        out = groups.sum(value) - torch.lgamma(c * groups.sum(m))
    else:
        rest = 1.0 - m
        value = value + torch.lgamma(c * rest) - c * rest * rest.log() - torch.lgamma(c)
        out = groups.sum(value)
    return out.to(mean.dtype)


@register_kl(Independent, StrengthMixture)
def _beta_from_mixture(q: Independent, p: StrengthMixture) -> torch.Tensor:
    a, b = q.base_dist.given
    (log_a, psi_a), (log_b, psi_b), (log_whole, psi_whole) = (
        ops.gamma_terms(x) for x in (a, b, a + b)
    )
    up, down = psi_a - psi_whole, psi_b - psi_whole
    log_density = (log_whole - log_a - log_b) + (a - 1.0) * up + (b - 1.0) * down
    return log_density.sum() - p._summed_out(up, down)


@register_kl(GroupedDirichlet, StrengthMixture)
def _dirichlet_from_mixture(q: GroupedDirichlet, p: StrengthMixture) -> torch.Tensor:
    a, groups = q.concentration, q.groups
    whole = groups.sum(a)
    (log_a, psi_a), (log_whole, psi_whole) = (ops.gamma_terms(x) for x in (a, whole))
    mean_log = psi_a - groups.spread(psi_whole)
    log_density = log_whole.sum() + ((a - 1.0) * mean_log - log_a).sum()
    return log_density - p._summed_out(mean_log, None)
