"""Widths of the posterior beyond those of the mean-field guide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leafletfa_scvi import inference, ops
from leafletfa_scvi.model._base import SplicingModelBase

if TYPE_CHECKING:
    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries

_REFITS = 3


class WidthsMixin(SplicingModelBase):
    """Variances from the curvature of the likelihood at the posterior means."""

    def _independence(self) -> torch.Tensor | None:
        """Weight of each junction's information about activities; None where all is exact.

        The beta-binomial counts each of the m junctions of an ATSE as evidence of its own, though
        they share their reads: m - 1 of them say all.
        """
        if self.module.model.shared or self.atse_codes_ is None:
            return None
        atse = torch.from_numpy(self.atse_codes_)
        size = torch.bincount(atse)[atse].float()
        return (size - 1.0).clamp(min=1.0) / size

    def _weigh_evidence(self, entries: ObservedEntries) -> None:
        """Weigh the evidence about activities by the mean independence of the entries."""
        each = self._independence()
        if each is None or entries.n_entries == 0:
            return
        seen = torch.bincount(entries.column.long(), minlength=entries.n_junctions)
        weight = float((seen * each).sum() / seen.sum())
        self.module.model.activity_weight.fill_(weight)

    @torch.no_grad()
    def _activity_variance(
        self, entries: ObservedEntries | MultinomialEntries, phi: torch.Tensor
    ) -> torch.Tensor:
        """Variances ``(B, K)`` of the activities of any cells, on the CPU."""
        module = self.module
        return inference.activity_variance(
            self._likelihood_entries(entries),
            phi,
            module.guide.psi().mean,
            module.site_mean("kappa"),
            float(module.activity_prior().sum()),
            self._independence(),
        )

    @torch.no_grad()
    def _set_widths(self, entries: ObservedEntries) -> None:
        """Keep the variances of what was trained on beside the guide."""
        module, guide = self.module, self.module.guide
        phi, psi, kappa = guide.phi().mean, guide.psi().mean, module.site_mean("kappa")
        guide.phi_variance.copy_(self._activity_variance(entries, phi))
        if self.frozen_programs_:
            return
        fitted = self._likelihood_entries(entries)
        counts = inference.sweep(fitted, phi, psi, kappa)
        prior = self._first_prior(entries).to(psi.device)
        for _ in range(_REFITS):
            prior = prior.refitted(counts.inclusion, counts.exclusion)
        guide.psi_variance.copy_(inference.program_variance(fitted, phi, psi, kappa, prior))

    def _first_prior(self, entries: ObservedEntries) -> inference.ProgramPrior:
        """Prior of the programs before its strengths are fitted."""
        fitted = self._likelihood_entries(entries)
        atse = None if self.atse_codes_ is None else torch.from_numpy(self.atse_codes_)
        shared = isinstance(fitted, ops.MultinomialEntries)
        usage = inference.junction_usage(entries)
        if isinstance(fitted, ops.MultinomialEntries):
            usage, atse = inference.shared_usage(fitted), fitted.atse
        return inference.program_prior(self.module.model.junction_prior, usage, atse, shared)
