"""Beta-binomial: each junction is scored independently, given the total of its ATSE."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from leafletfa_scvi import ops
from leafletfa_scvi.distributions import Beta
from leafletfa_scvi.likelihoods._base import MAX_PROGRAM_PRECISION, Likelihood
from leafletfa_scvi.likelihoods._mean_psi import composite_weight, junction_mean_psi

if TYPE_CHECKING:
    import torch

    from leafletfa_scvi.likelihoods._base import ProgramPosterior

_OFFSET = 0.1


class BetaBinomial(Likelihood):
    """Junction counts are beta-binomial with parameters kappa p and kappa (1 - p)."""

    name: ClassVar[str] = "betabinomial"
    entries_type = ops.ObservedEntries
    prior_sites = ("a", "b")
    program_parameters = ("psi_log_inclusion", "psi_log_exclusion")

    def program_atse(
        self, observed: ops.ObservedEntries | None, atse: np.ndarray | None, n_junctions: int
    ) -> np.ndarray:
        """Return the ATSE of each junction; without labels, each is its own."""
        return np.arange(n_junctions) if atse is None else atse

    def entries(self, observed: ops.Entries, program_atse: torch.Tensor) -> ops.Entries:
        """Return the observed entries."""
        return observed

    def mean_psi(self, entries: ops.Entries) -> torch.Tensor:
        """Compute the mean PSI of each junction; see :func:`junction_mean_psi`."""
        assert isinstance(entries, ops.ObservedEntries)
        return junction_mean_psi(entries)

    def complete_programs(self, psi: torch.Tensor, entries: ops.Entries) -> torch.Tensor:
        """Return the programs: their rows are the junctions."""
        return psi

    def composite_weight(self, atse: torch.Tensor) -> torch.Tensor | None:
        """Return (m - 1) / m in an ATSE of m junctions; see :func:`composite_weight`."""
        return composite_weight(atse)

    def information(
        self, scored: ops.ObservedEntries, p: torch.Tensor, q: torch.Tensor
    ) -> torch.Tensor:
        """Compute the expected information n / (p q)."""
        return scored.total.double() / (p * q)

    def program_posterior(
        self, concentrations: tuple[torch.Tensor, ...], groups: ops.Groups, n_programs: int
    ) -> ProgramPosterior:
        """Return independent Beta distributions."""
        inclusion, exclusion = concentrations
        return Beta(inclusion, exclusion)

    def marginal(self, posterior: ProgramPosterior) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the concentrations of the posterior itself."""
        assert isinstance(posterior, Beta)
        return posterior.concentration1, posterior.concentration0

    def first_concentrations(
        self,
        psi: torch.Tensor,
        information: torch.Tensor,
        prior_concentration: torch.Tensor,
        program_atse: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """See :func:`beta_from_curvature`."""
        return beta_from_curvature(psi, information, prior_concentration)

    def draw_programs(
        self, concentrations: tuple[torch.Tensor, torch.Tensor], program_atse: torch.Tensor
    ) -> torch.Tensor:
        """Draw each entry from its Beta distribution."""
        return ops.draw_beta(*concentrations)


def beta_from_curvature(
    psi: torch.Tensor, information: torch.Tensor, prior_concentration: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute concentrations ``(P, K)`` for and against, 0.1 + h psi and 0.1 + h (1 - psi).

    h is the curvature in logit coordinates over psi (1 - psi).

    Parameters
    ----------
    psi, information
        ``(P, K)`` programs, and the information of the data about them.
    prior_concentration
        a + b of the prior, ``(P, 1)`` or ``(P, K)``.
    """
    h = psi * (1.0 - psi) * information + prior_concentration
    h = h.clamp(1.0, MAX_PROGRAM_PRECISION)
    return _OFFSET + h * psi, _OFFSET + h * (1.0 - psi)
