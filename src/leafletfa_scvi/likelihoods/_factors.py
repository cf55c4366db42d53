"""Factors of the model, and the expected PSI that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leafletfa_scvi import ops

if TYPE_CHECKING:
    import torch

    from leafletfa_scvi.likelihoods._batch_shift import BatchShift


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
    shift
        Shifts of the programs in each batch; entries then have columns for each batch, see
        :func:`ops.split_by_batch`. None without batches.
    """

    phi: torch.Tensor
    psi: torch.Tensor
    kappa: torch.Tensor | None = None
    shift: BatchShift | None = None

    def select(self, cells: torch.Tensor | slice) -> Factors:
        """Select the factors of some of the cells."""
        return replace(self, phi=self.phi[cells])

    def to(self, device: torch.device | str) -> Factors:
        """Move to ``device``."""
        kappa = None if self.kappa is None else self.kappa.to(device)
        shift = None if self.shift is None else self.shift.to(device)
        return Factors(self.phi.to(device), self.psi.to(device), kappa, shift)

    def by_column(self) -> Factors:
        """Return the same factors with a program and a kappa for each column of the entries."""
        if self.shift is None:
            return self
        kappa = self.shift.concentration(self.kappa)
        return Factors(self.phi, self.shift.programs(self.psi), kappa)

    def expected_psi(self, entries: ops.Entries | None = None) -> torch.Tensor:
        """Compute expected PSI, phi psi: ``(B, P)``, or ``(nnz,)`` at the scored entries.

        Without entries, it is that of no batch.
        """
        if entries is None:
            return ops.expected_psi(self.phi, self.psi)
        return ops.expected_psi(self.phi, self.by_column().psi, entries.scored)

    def log_likelihood(self, entries: ops.Entries) -> torch.Tensor:
        """Log-likelihood of the entries of each cell, ``(B,)``, with gradients for the factors."""
        each = self.by_column()
        return ops.log_likelihood(entries, each.phi, each.psi, each.kappa)

    def expected_counts(
        self, entries: ops.Entries, backend: str | None = None
    ) -> ops.ExpectedCounts:
        """Expected table counts of EM; see :func:`ops.expected_counts`.

        With batches, those of programs are counts without a shift: see
        :meth:`.BatchShift.base_counts`.
        """
        each = self.by_column()
        counts = ops.expected_counts(entries, each.phi, each.psi, each.kappa, backend=backend)
        return self.without_shifts(counts, each.psi)

    def without_shifts(
        self, counts: ops.ExpectedCounts, table: torch.Tensor
    ) -> ops.ExpectedCounts:
        """Convert counts of the columns of all batches to those of the programs.

        Parameters
        ----------
        counts
            Counts for :meth:`by_column`.
        table
            Its programs.
        """
        if self.shift is None:
            return counts
        inclusion, exclusion = self.shift.base_counts(
            self.psi, table, counts.inclusion, counts.exclusion
        )
        grad = counts.concentration_grad
        if self.kappa is not None and grad.shape != self.kappa.shape:
            grad = self.shift.by_batch(grad).sum(0)
        return counts._replace(inclusion=inclusion, exclusion=exclusion, concentration_grad=grad)

    def probability(self, entries: ops.Entries) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the probability p of each scored entry and its complement, ``(nnz,)``.

        Includes the misassignment rate; see :func:`ops.entry_probability`.
        """
        return ops.entry_probability(entries, self.phi, self.by_column().psi)
