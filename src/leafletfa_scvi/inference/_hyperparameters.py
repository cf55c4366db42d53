"""Hyperparameters that EM fits between its cycles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.inference._batch_effects import BatchEffects, fit_batch_effects
from leafletfa_scvi.inference._curvature import draw_from_curvature
from leafletfa_scvi.inference._dispersion import (
    JunctionDispersion,
    fit_concentration,
    fit_junction_dispersion,
    sample_cells,
)

if TYPE_CHECKING:
    from leafletfa_scvi import ops
    from leafletfa_scvi._choices import Dispersion
    from leafletfa_scvi.inference._em_step import EMProblem
    from leafletfa_scvi.likelihoods import Factors
    from leafletfa_scvi.ops import Entries

N_DRAWS = 4
_JUNCTION_REFITS = {3 * 2**i for i in range(20)}
"""Fits that include a kappa for each junction: they take longest."""
_BATCH_REFITS = {1, 2, 3, 4, 5, *(7 + 4 * i for i in range(100))}
"""Fits that include the shifts of batches."""
_WHOLE_STEPS = 5
"""Number of fits after which shifts are moved by half of a step only.

The posterior mean of a shift that is hardly told from 0 changes by more than its estimate, which
depends on the programs, and these on the shift: it could alternate between two values.
"""
_DRAWN_ENTRIES, _DRAWN_PER_JUNCTION = 1 << 22, 100
"""Number of entries that kappa is fitted to at draws, and how many more for each junction."""


class Hyperparameters:
    """Parameters fitted between cycles: concentrations of the prior, kappa, shifts of batches."""

    def __init__(
        self,
        problem: EMProblem,
        *,
        prior: bool,
        kappa: bool,
        dispersion: Dispersion,
        seed: int,
        effects: BatchEffects | None,
    ) -> None:
        self.effects = effects
        self.problem, self.prior, self.kappa = problem, prior, kappa
        self.by_junction, self.seed, self.n_refits = dispersion == "junction", seed, 0
        self.n_draws = N_DRAWS
        self.any = prior or kappa or effects is not None
        self.junctions: JunctionDispersion | None = None

    @property
    def spread(self) -> float | None:
        """Standard deviation of log kappa over junctions; None for a single kappa."""
        return None if self.junctions is None else self.junctions.spread

    def refit(self, factors: Factors, counts: ops.ExpectedCounts, last: bool = False) -> Factors:
        """Fit all of them to ``counts`` of ``factors``, and return the factors with the new kappa.

        If kappa does not change, ``factors`` itself is returned.
        """
        problem = self.problem
        self.n_refits += 1
        mean = replace(factors, phi=problem.mean_activities(counts))
        if self.prior:
            problem.prior = problem.prior.refit(counts.inclusion, counts.exclusion)
        if self.effects is not None and (last or self.n_refits in _BATCH_REFITS):
            effects = fit_batch_effects(problem.entries, mean, problem.backend)
            shift = effects.shift
            if self.n_refits > _WHOLE_STEPS and factors.shift is not None:
                halfway = (shift.values + factors.shift.values.to(shift.values)) / 2.0
                shift = replace(shift, values=halfway)
            self.effects = replace(effects, shift=shift)
            shift = shift.to(factors.psi.device)
            factors, mean = replace(factors, shift=shift), replace(mean, shift=shift)
        if not self.kappa:
            return factors
        if last or (self.by_junction and self.n_refits in _JUNCTION_REFITS):
            return replace(factors, kappa=self._fitted_to_draws(mean))
        # Between the fits of a kappa for each junction, those of the last one are kept.
        given = factors.kappa is not None and factors.kappa.numel() > 1
        if self.by_junction and (self.junctions is not None or given):
            return factors
        value = self._single_kappa(problem.entries, mean)
        kappa = torch.tensor(value, dtype=torch.float32, device=factors.phi.device)
        return replace(factors, kappa=kappa)

    def _single_kappa(self, entries: Entries, factors: Factors) -> float:
        return fit_concentration(entries, factors.phi, factors.psi, self.seed, factors.shift)

    def _fitted_to_draws(self, factors: Factors) -> torch.Tensor:
        """Fit kappa at draws of activities and programs, which are as uncertain as the data imply.

        At the fit itself, which also fits noise, kappa would be too large, and its spread over
        junctions too wide.
        """
        problem, device, entries = self.problem, factors.phi.device, self.problem.entries
        n_entries = _DRAWN_ENTRIES + _DRAWN_PER_JUNCTION * len(factors.psi)
        subset = sample_cells(entries, n_entries, self.seed)
        around = factors
        if subset is not None:
            entries = entries.select(subset.to(entries.device))
            around = factors.select(subset.to(device))
        alpha = problem.delta * problem.prevalence
        drawn = draw_from_curvature(entries, around, alpha, problem.prior, self.n_draws, self.seed)
        draws, entries = [draw.to(device) for draw in drawn], entries.to(device)
        if self.by_junction:
            assert factors.kappa is not None
            first = self.junctions.median if self.junctions else float(factors.kappa.median())
            self.junctions = fit_junction_dispersion(entries, draws, first, problem.backend)
            return self.junctions.kappa.to(device)
        fits = [self._single_kappa(entries, draw) for draw in draws]
        kappas = torch.tensor(fits, dtype=torch.float32, device=device)
        return kappas.log().mean().exp()
