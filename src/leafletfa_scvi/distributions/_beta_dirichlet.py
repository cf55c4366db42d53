"""Beta and Dirichlet as Pyro distributions on the fused draws and divergences of ``ops``.

Expanding keeps the parameters at their first shape. The divergence from a prior that is the same
for a row or for all cells is therefore computed, and differentiated, once and not for each copy.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch.distributions import Distribution
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

from leafletfa_scvi import ops


class Beta(dist.Beta):
    """Beta distribution; parameters as in :class:`torch.distributions.Beta`."""

    def __init__(
        self,
        concentration1: torch.Tensor,
        concentration0: torch.Tensor,
        validate_args: bool | None = None,
    ) -> None:
        self.unexpanded = broadcast_all(concentration1, concentration0)
        Distribution.__init__(self, self.unexpanded[0].shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Beta:
        """Expand to a larger batch."""
        new: Beta = self._get_checked_instance(Beta, _instance)
        new.unexpanded = self.unexpanded
        Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def concentration1(self) -> torch.Tensor:
        """Concentration for inclusion, of the batch's shape."""
        return self.unexpanded[0].expand(self.batch_shape)

    @property
    def concentration0(self) -> torch.Tensor:
        """Concentration for exclusion, of the batch's shape."""
        return self.unexpanded[1].expand(self.batch_shape)

    @property
    def _dirichlet(self) -> torch.distributions.Dirichlet:  # type: ignore[override]
        """Distribution that the parent class stores, for densities and entropies."""
        stacked = torch.stack([self.concentration1, self.concentration0], -1)
        return torch.distributions.Dirichlet(stacked, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw with pathwise derivatives, strictly between 0 and 1."""
        shape = self._extended_shape(sample_shape)
        inclusion, exclusion = (t.expand(shape or (1,)) for t in self.unexpanded)
        return ops.draw_beta(inclusion, exclusion).reshape(shape)


class Dirichlet(dist.Dirichlet):
    """Dirichlet distribution; parameters as in :class:`torch.distributions.Dirichlet`."""

    def __init__(self, concentration: torch.Tensor, validate_args: bool | None = None) -> None:
        self.unexpanded = concentration
        super().__init__(concentration, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dirichlet:
        """Expand to a larger batch."""
        checked = self._get_checked_instance(Dirichlet, _instance)
        new: Dirichlet = super().expand(batch_shape, checked)
        new.unexpanded = self.unexpanded
        return new

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw with pathwise derivatives; positive, and rows sum to 1."""
        return ops.draw_dirichlet(self.unexpanded.expand(self._extended_shape(sample_shape)))


@register_kl(Beta, Beta)
def _beta_divergence(q: Beta, p: Beta) -> torch.Tensor:
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    return ops.beta_divergence(*(t.expand(shape) for t in q.unexpanded), *p.unexpanded)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_divergence(q: Dirichlet, p: Dirichlet) -> torch.Tensor:
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape) + q.event_shape
    return ops.dirichlet_divergence(q.unexpanded.expand(shape), p.unexpanded)
