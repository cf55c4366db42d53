"""Prior of programs of which a reference has seen reads: the base prior and pseudo-reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.ops import sum_within_groups
from leafletfa_scvi.priors._fit import PriorFit

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class ReferenceFit(PriorFit):
    """Base prior with pseudo-reads of each junction and program, which count like reads.

    The posterior of a reference is its base prior times what its reads said. Only the latter is
    carried along, so that concentrations of the base prior can be learned from both studies, and
    junctions and programs without pseudo-reads have the base prior alone.

    Attributes
    ----------
    inclusion_reads, exclusion_reads
        ``(P', K)`` pseudo-reads for and against; the latter are 0 if junctions share reads.
    fixed
        ``(P', F)`` values of the first F programs, if these do not change; then neither do the
        weights of the base prior.
    """

    inclusion_reads: torch.Tensor
    exclusion_reads: torch.Tensor
    fixed: torch.Tensor | None = None

    @property
    def reads(self) -> torch.Tensor:
        """Number of pseudo-reads at each entry, ``(P', K)``."""
        if self.shares_reads:
            return sum_within_groups(self.inclusion_reads, self.atse)
        return self.inclusion_reads + self.exclusion_reads

    def programs(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> torch.Tensor:
        """Maximize the posterior of psi, the first F programs excepted."""
        psi = super().programs(inclusion + self.inclusion_reads, exclusion + self.exclusion_reads)
        return self._with_fixed(psi)

    def normalized(self, psi: torch.Tensor) -> torch.Tensor:
        """Scale psi to sum to one within each ATSE, the first F programs excepted."""
        return self._with_fixed(super().normalized(psi))

    def _with_fixed(self, psi: torch.Tensor) -> torch.Tensor:
        if self.fixed is None or psi.shape[1] <= self.fixed.shape[1]:
            return psi
        return torch.cat([self.fixed, psi[:, self.fixed.shape[1] :]], 1)

    def select(self, programs: torch.Tensor) -> Self:
        """Select the prior of some of the programs; none of them is fixed."""
        concentration = self.concentration
        if concentration.shape[1] > 1:
            concentration = concentration[:, programs]
        return replace(
            self,
            concentration=concentration,
            inclusion_reads=self.inclusion_reads[:, programs],
            exclusion_reads=self.exclusion_reads[:, programs],
            fixed=None,
        )

    def to(self, device: torch.device) -> Self:
        """Move to ``device``."""
        names = ("mean", "concentration", "atse", "weights", "inclusion_reads", "exclusion_reads")
        moved = {name: getattr(self, name).to(device) for name in names}
        fixed = None if self.fixed is None else self.fixed.to(device)
        return replace(self, **moved, fixed=fixed)

    def log_density(self, psi: torch.Tensor) -> torch.Tensor:
        """Sum log prior densities and the log-likelihood of the pseudo-reads."""
        value = super().log_density(psi) + (self.inclusion_reads * psi.double().log()).sum()
        if not self.shares_reads:
            value = value + (self.exclusion_reads * torch.log1p(-psi.double())).sum()
        return value

    def refit(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> Self:
        """Learn the concentrations from table counts and pseudo-reads."""
        fit = super().refit(inclusion + self.inclusion_reads, exclusion + self.exclusion_reads)
        if self.fixed is None:
            return fit
        # The parameters of the base prior are fixed. In the mixture, the concentration of an ATSE
        # is none of them, but follows from its programs.
        return replace(fit, weights=self.weights) if self.prior.samples_psi_jointly else self
