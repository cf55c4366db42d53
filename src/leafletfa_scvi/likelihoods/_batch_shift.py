"""Programs of each batch: those of the model, shifted on the logit scale.

In batch b, logit psi_kj is logit psi_kj + d_bj, with one shift for all programs. If junctions
share the reads of their ATSE, it is the logarithm that is shifted, and PSI is scaled to sum to
one.

Sums over cells are formed batch by batch, with the programs of one batch at a time. Where
gradients are needed, the kernels take the programs of all batches as the rows of one table: row
b P' + j is that of junction j in batch b, and entries of cells of that batch point to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from leafletfa_scvi.ops import sum_within_groups

_EPS, _NO_SPREAD = 1e-6, 1e-9


@dataclass(frozen=True)
class BatchShift:
    """Shifts of B batches.

    Attributes
    ----------
    values
        ``(B, P')`` shift of each row of the programs.
    atse
        ``(P',)`` 0-based ATSE of each row if junctions share the reads of their ATSE; None
        otherwise.
    """

    values: torch.Tensor
    atse: torch.Tensor | None = None

    @property
    def n_batches(self) -> int:
        """Number of batches B."""
        return len(self.values)

    def to(self, device: torch.device | str) -> BatchShift:
        """Move to ``device``."""
        atse = None if self.atse is None else self.atse.to(device)
        return BatchShift(self.values.to(device), atse)

    def programs(self, psi: torch.Tensor) -> torch.Tensor:
        """Return the programs of all batches, ``(B P', K)``, with gradients for ``(P', K)``."""
        shift = self.values.to(psi)[:, :, None]
        psi = psi.clamp(_EPS, 1.0 - _EPS)
        if self.atse is None:
            return (psi.logit() + shift).sigmoid().flatten(0, 1)
        raised = psi * shift.exp()
        return torch.cat([each / sum_within_groups(each, self.atse) for each in raised])

    def concentration(self, kappa: torch.Tensor | None) -> torch.Tensor | None:
        """Return kappa as the kernels take it: that of a junction is the same in all batches."""
        is_by_junction = kappa is not None and kappa.ndim and self.atse is None
        return kappa.repeat(self.n_batches) if is_by_junction and kappa is not None else kappa

    def by_batch(self, table: torch.Tensor) -> torch.Tensor:
        """Split a table over all batches, ``(B P', ...)`` to ``(B, P', ...)``."""
        split: torch.Tensor = table.unflatten(0, self.values.shape)
        return split

    def programs_in(self, batch: int, psi: torch.Tensor) -> torch.Tensor:
        """Return the programs of one batch, ``(P', K)``."""
        odds = self.values[batch].to(psi).exp()[:, None]
        psi = psi.clamp(_EPS, 1.0 - _EPS)
        raised = psi * odds
        if self.atse is None:
            return raised.div_(torch.addcmul(odds.new_ones(()), psi, odds - 1.0))
        return raised.div_(sum_within_groups(raised, self.atse))

    def base_counts(
        self,
        psi: torch.Tensor,
        table: torch.Tensor,
        inclusion: torch.Tensor,
        exclusion: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Convert expected counts of a batch to those of programs without a shift.

        As many counts as have, for the logit of psi, the derivative and the information of those
        of the batch: updates of psi and its prior then have the fixed points of the shifted
        model, and a step towards them is not too long where PSI is extreme, but not in this
        batch. Within an ATSE, the sum of the information over its junctions is kept. Counts may
        be below 0; summed over batches, see :meth:`limited`.

        Parameters
        ----------
        psi
            ``(P', K)`` programs.
        table
            ``(P', K)`` programs of the batch.
        inclusion, exclusion
            ``(P', K)`` expected counts for and against; the latter are 0 if junctions share reads.
            They are overwritten.

        Returns
        -------
        ``inclusion`` and ``exclusion``, converted.
        """
        own, spread = psi * (1.0 - psi), table * (1.0 - table)
        if self.atse is not None:
            own, spread = (sum_within_groups(x, self.atse) for x in (own, spread))
        total = self._total(inclusion, exclusion)
        inclusion.addcmul_(total, table, value=-1.0)
        # Of a single junction in an ATSE both are 0, and no count is lost.
        total = total.mul_(spread.add_(_NO_SPREAD)).div_(own.add_(_NO_SPREAD))
        inclusion.addcmul_(total, psi)
        return inclusion, exclusion if self.atse is not None else total.sub_(inclusion)

    def limited(
        self, inclusion: torch.Tensor, exclusion: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Limit sums of :meth:`base_counts` to at least 0; totals of junctions are kept."""
        base = inclusion.clamp(min=0.0)
        if self.atse is not None:
            return base, exclusion
        total = inclusion + exclusion
        base = torch.minimum(base, total)
        return base, total - base

    def excess(
        self, table: torch.Tensor, inclusion: torch.Tensor, exclusion: torch.Tensor
    ) -> torch.Tensor:
        """Compute expected counts of a batch minus those that its programs predict, ``(P', K)``.

        It is the derivative of the log-likelihood for the logits of the table.
        """
        return inclusion - self._total(inclusion, exclusion) * table

    def _total(self, inclusion: torch.Tensor, exclusion: torch.Tensor) -> torch.Tensor:
        if self.atse is None:
            return inclusion + exclusion
        return sum_within_groups(inclusion, self.atse)

    @staticmethod
    def base_information(
        psi: torch.Tensor, table: torch.Tensor, information: torch.Tensor
    ) -> torch.Tensor:
        """Convert the information about the programs of a batch to that about psi, ``(P', ...)``.

        Parameters
        ----------
        psi
            ``(P', K)`` programs.
        table
            ``(P', K)`` programs of the batch.
        information
            ``(P', ...)`` information about the table, of K or K (K + 1) / 2 columns: of pairs of
            programs in the order of ``numpy.triu_indices``.
        """
        slope = table * (1.0 - table) / (psi * (1.0 - psi)).clamp(min=_EPS)
        if information.shape[1] != psi.shape[1]:
            first, second = torch.triu_indices(psi.shape[1], psi.shape[1])
            factor = slope[:, first] * slope[:, second]
        else:
            factor = slope.square()
        return information * factor.to(information)
