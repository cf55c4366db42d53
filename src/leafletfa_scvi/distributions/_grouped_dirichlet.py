"""Dirichlet within each ATSE, as a Pyro distribution of all programs."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from leafletfa_scvi import ops

PSI_SUPPORT = constraints.independent(constraints.interval(0.0, 1.0), 2)
"""PSI of each row under each program; sums within an ATSE are not checked."""


class GroupedDirichlet(TorchDistribution):
    """Programs ``(P, K)`` that sum to one within each ATSE, with a Dirichlet in each.

    Parameters
    ----------
    concentration
        ``(P, K)``, ``(P, 1)`` if all programs have the same, or ``(1, 1)``.
    groups
        ATSE of each of the P rows.
    n_programs
        Number of programs K.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True
    support = PSI_SUPPORT

    def __init__(self, concentration: torch.Tensor, groups: ops.Groups, n_programs: int) -> None:
        self.unexpanded = concentration.expand(len(groups.index), -1)
        self.groups = groups
        shape = torch.Size((len(groups.index), n_programs))
        super().__init__(torch.Size(), shape, validate_args=False)

    @property
    def concentration(self) -> torch.Tensor:
        """Concentrations, ``(P, K)``."""
        return self.unexpanded.expand(self.event_shape)

    @property
    def total(self) -> torch.Tensor:
        """Sum of the concentrations of its ATSE at each row, ``(P, K)``."""
        return self.groups.spread(self.groups.sum(self.unexpanded)).expand(self.event_shape)

    @property
    def mean(self) -> torch.Tensor:
        """Mean programs, ``(P, K)``."""
        return self.concentration / self.total

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw with pathwise derivatives."""
        shape = torch.Size(sample_shape)
        draws = [
            ops.draw_grouped_dirichlet(self.concentration, self.groups)
            for _ in range(shape.numel())
        ]
        return torch.stack(draws).reshape(shape + self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Compute the log density over the simplices."""
        a = self.unexpanded.expand(self.event_shape)
        value = ((a - 1.0) * value.log() - torch.lgamma(a)).sum((-2, -1))
        return value + torch.lgamma(self.groups.sum(a)).sum()


@register_kl(GroupedDirichlet, GroupedDirichlet)
def _grouped_divergence(q: GroupedDirichlet, p: GroupedDirichlet) -> torch.Tensor:
    a, b, groups = q.concentration, p.unexpanded, q.groups
    sum_a, sum_b = groups.sum(a), groups.sum(b)
    (log_a, digamma_a), (log_sum, digamma_sum) = (ops.gamma_terms(x) for x in (a, sum_a))
    log_b, log_sum_b = torch.lgamma(b), torch.lgamma(sum_b)
    value = ((a - b) * digamma_a - log_a).sum()
    value = value - ((sum_a - sum_b) * digamma_sum - log_sum).sum()
    # The prior is often the same for all programs, and then stored and differentiated once.
    n_copies = a.shape[1] // b.shape[1]
    return value + n_copies * (log_b.sum() - log_sum_b.sum())
