"""Factors of the model, and the expected PSI that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leafletfa_scvi import ops

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Factors:
    """Activities, programs and concentration at which a likelihood is evaluated.

    Attributes
    ----------
    phi
        ``(B, K)`` activities; rows sum to one.
    psi
        ``(P, K)`` programs.
    kappa
        Concentration: a scalar, or one for each junction (ATSE, if junctions share its reads).
        None for the binomial and the multinomial.
    """

    phi: torch.Tensor
    psi: torch.Tensor
    kappa: torch.Tensor | None = None

    def select(self, cells: torch.Tensor | slice) -> Factors:
        """Select the factors of some of the cells."""
        return replace(self, phi=self.phi[cells])

    def to(self, device: torch.device | str) -> Factors:
        """Move to ``device``."""
        kappa = None if self.kappa is None else self.kappa.to(device)
        return Factors(self.phi.to(device), self.psi.to(device), kappa)

    def expected_psi(self, entries: ops.Entries | None = None) -> torch.Tensor:
        """Compute expected PSI, phi psi: ``(B, P)``, or ``(nnz,)`` at the scored entries."""
        if entries is None:
            return ops.expected_psi(self.phi, self.psi)
        return ops.expected_psi(self.phi, self.psi, entries.scored)

    def log_likelihood(self, entries: ops.Entries) -> torch.Tensor:
        """Log-likelihood of the entries of each cell, ``(B,)``, with gradients for the factors."""
        return ops.log_likelihood(entries, self.phi, self.psi, self.kappa)

    def expected_counts(
        self, entries: ops.Entries, backend: str | None = None
    ) -> ops.ExpectedCounts:
        """Expected table counts of EM; see :func:`ops.expected_counts`."""
        return ops.expected_counts(entries, self.phi, self.psi, self.kappa, backend=backend)

    def probability(self, entries: ops.Entries) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the probability p of each scored entry and its complement, ``(nnz,)``.

        Includes the misassignment rate; see :func:`ops.entry_probability`.
        """
        return ops.entry_probability(entries, self.phi, self.psi)
