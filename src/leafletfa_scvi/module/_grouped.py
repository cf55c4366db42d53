"""Dirichlet within each ATSE, as a Pyro distribution of all programs."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from leafletfa_scvi import ops

SHARES = constraints.independent(constraints.interval(0.0, 1.0), 2)
"""PSI of each column under each program; that they sum to one within an ATSE is not checked."""


class GroupedDirichlet(TorchDistribution):
    """Programs ``(P, K)`` that sum to one within each ATSE, each Dirichlet there.

    Parameters
    ----------
    concentration
        ``(P, K)``, ``(P, 1)`` or ``(1, 1)``; what columns of the draw share is given once.
    groups
        ATSE of each of the P rows.
    n_programs
        Number of columns K.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True
    support = SHARES

    def __init__(self, concentration: torch.Tensor, groups: ops.Groups, n_programs: int) -> None:
        self.given = concentration.expand(len(groups.index), -1)
        self.groups = groups
        shape = torch.Size((len(groups.index), n_programs))
        super().__init__(torch.Size(), shape, validate_args=False)

    @property
    def concentration(self) -> torch.Tensor:
        """Concentrations, ``(P, K)``."""
        return self.given.expand(self.event_shape)

    @property
    def total(self) -> torch.Tensor:
        """Sum of the concentrations of its ATSE at each row, ``(P, K)``."""
        return self.groups.spread(self.groups.sum(self.given)).expand(self.event_shape)

    @property
    def mean(self) -> torch.Tensor:
        """Mean programs, ``(P, K)``."""
        return self.concentration / self.total

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draws with pathwise derivatives."""
        shape = torch.Size(sample_shape)
        draws = [
            ops.draw_grouped_dirichlet(self.concentration, self.groups)
            for _ in range(shape.numel())
        ]
        return torch.stack(draws).reshape(shape + self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density over the simplices."""
        a = self.given.expand(self.event_shape)
        value = ((a - 1.0) * value.log() - torch.lgamma(a)).sum((-2, -1))
        return value + torch.lgamma(self.groups.sum(a)).sum()


@register_kl(GroupedDirichlet, GroupedDirichlet)
def _grouped_divergence(q: GroupedDirichlet, p: GroupedDirichlet) -> torch.Tensor:
    a, b, groups = q.concentration, p.given, q.groups
    whole_a, whole_b = groups.sum(a), groups.sum(b)
    (log_a, digamma_a), (log_whole, digamma_whole) = (ops.gamma_terms(x) for x in (a, whole_a))
    log_b, log_whole_b = torch.lgamma(b), torch.lgamma(whole_b)
    value = ((a - b) * digamma_a - log_a).sum()
    value = value - ((whole_a - whole_b) * digamma_whole - log_whole).sum()
    copies = a.shape[1] // b.shape[1]
    return value + copies * (log_b.sum() - log_whole_b.sum())
