"""Factors of the model, and the expected PSI that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import ops

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def in_batches(self, entries: ops.Entries) -> Iterator[tuple[ops.CellsOfBatch, Factors]]:
        """Iterate over the cells of each batch, with the factors of its cells and no shift."""
        assert self.shift is not None
        for own in ops.cells_by_batch(entries, self.shift.n_batches):
            psi = self.shift.programs_in(own.batch, self.psi)
            yield own, Factors(self.phi[own.cells], psi, self.kappa)

    def parts(self, entries: ops.Entries) -> Iterator[tuple[ops.Entries, Factors]]:
        """Iterate over entries and factors without a shift: one pair, or one for each batch."""
        if self.shift is None:
            yield entries, self
            return
        for own, each in self.in_batches(entries):
            yield own.entries, each

    def log_likelihood(self, entries: ops.Entries) -> torch.Tensor:
        """Log-likelihood of the entries of each cell, ``(B,)``, with gradients for the factors."""
        if self.shift is not None and not torch.is_grad_enabled():
            value = self.phi.new_zeros(len(self.phi), dtype=torch.float64)
            for own, each in self.in_batches(entries):
                value[own.cells] = each.log_likelihood(own.entries).double()
            return value
        each = self.by_column()
        return ops.log_likelihood(entries, each.phi, each.psi, each.kappa)

    def expected_counts(
        self, entries: ops.Entries, backend: str | None = None
    ) -> ops.ExpectedCounts:
        """Expected table counts of EM; see :func:`ops.expected_counts`.

        With batches, those of programs are counts without a shift: see
        :meth:`.BatchShift.base_counts`.
        """
        return self.limited(self.unlimited_counts(entries, backend))

    def unlimited_counts(
        self, entries: ops.Entries, backend: str | None = None
    ) -> ops.ExpectedCounts:
        """Expected counts that can be summed over blocks of cells; then see :meth:`limited`."""
        shift, psi = self.shift, self.psi
        if shift is None:
            return ops.expected_counts(entries, self.phi, psi, self.kappa, backend=backend)
        value = self.phi.new_zeros(len(self.phi), dtype=torch.float64)
        activity, inclusion, exclusion = (torch.zeros_like(x) for x in (self.phi, psi, psi))
        grad = self.phi.new_zeros(
            () if self.kappa is None else self.kappa.shape, dtype=torch.float64
        )
        for own, each in self.in_batches(entries):
            counts = each.unlimited_counts(own.entries, backend)
            value[own.cells] = counts.log_likelihood.double()
            activity[own.cells] = counts.activity
            base = shift.base_counts(psi, each.psi, counts.inclusion, counts.exclusion)
            inclusion += base[0]
            exclusion += base[1]
            grad += counts.concentration_grad
        return ops.ExpectedCounts(value, activity, inclusion, exclusion, grad)

    def limited(self, counts: ops.ExpectedCounts) -> ops.ExpectedCounts:
        """Limit sums of :meth:`unlimited_counts` as :meth:`.BatchShift.limited` does."""
        if self.shift is None:
            return counts
        inclusion, exclusion = self.shift.limited(counts.inclusion, counts.exclusion)
        return counts._replace(inclusion=inclusion, exclusion=exclusion)

    def probability(self, entries: ops.Entries) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the probability p of each scored entry and its complement, ``(nnz,)``.

        Includes the misassignment rate; see :func:`ops.entry_probability`.
        """
        return ops.entry_probability(entries, self.phi, self.by_column().psi)
