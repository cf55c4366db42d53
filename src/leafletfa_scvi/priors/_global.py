"""Global prior: all junctions have the same a and b."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from leafletfa_scvi.priors._junction import JunctionPrior

if TYPE_CHECKING:
    import pyro.distributions as dist


class GlobalPrior(JunctionPrior):
    """Beta(a, b) of all junctions, or a Dirichlet with all parameters a."""

    name = "global"
    axes = dict.fromkeys(JunctionPrior.axes, (None, None))

    def _prior_mean(self, mean_psi: torch.Tensor) -> torch.Tensor:
        """Return the mean over junctions, or equal shares of the reads of an ATSE."""
        if self.likelihood.shares_reads:
            return torch.ones_like(mean_psi)
        return mean_psi.mean().expand_as(mean_psi).clone()

    def groups_of_concentrations(self, atse: torch.Tensor) -> torch.Tensor:
        """Return one group for all rows."""
        return torch.zeros_like(atse)

    def n_priors(self, n_rows: int) -> int:
        """Return 1."""
        return 1

    def _pooled(
        self, value: torch.Tensor, information: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return value.mean().reshape(1, 1), information.sum().reshape(1, 1)

    def _unobserved_value(self, guide: Any, name: str) -> torch.Tensor:
        mean: torch.Tensor = guide.site(name).mean.reshape(())
        return mean

    def summary(
        self, guide: Any
    ) -> tuple[dict[str, dist.LogNormal], tuple[list[str], dist.Dirichlet] | None]:
        """Return the posterior of a and b."""
        return {name: guide.site(name) for name in self.sites}, None
