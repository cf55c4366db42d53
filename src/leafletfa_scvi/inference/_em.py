"""Expected-table EM: a deterministic fit of programs and concentration, activities integrated out.

The log of a rising factorial of kappa p is bounded from below by a multiple of log p (Jensen), so
the beta-binomial is fitted like a binomial mixture whose reads are replaced by expected tables

    t1 = kappa p [digamma(y + kappa p) - digamma(kappa p)],    t0 likewise with n - y and q.

With them psi has the closed update of the admixture EM, at its mode in logit coordinates (Beta
densities with parameters below 1 have no maximum); phi has a Dirichlet posterior, whose update is
closed too: see :mod:`leafletfa_scvi.inference._activity_posterior`. The Dirichlet-multinomial has
t1 alone, and psi is scaled to sum to one within an ATSE.

Steps are accelerated by squared extrapolation (SQUAREM, Varadhan and Roland 2008), of which only
those are kept that do not lower the objective.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from leafletfa_scvi.inference._activity_posterior import (
    activity_bound,
    geometric_mean,
    simplex,
)
from leafletfa_scvi.inference._batch_effects import BatchEffects, fit_batch_effects
from leafletfa_scvi.inference._curvature import draw_from_curvature
from leafletfa_scvi.inference._dispersion import (
    JunctionDispersion,
    fit_concentration,
    fit_junction_dispersion,
    sample_cells,
)
from leafletfa_scvi.inference._expected_counts import sweep
from leafletfa_scvi.likelihoods import Factors

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi import ops
    from leafletfa_scvi._choices import Dispersion
    from leafletfa_scvi.inference._initialization import Initialization
    from leafletfa_scvi.ops import Entries
    from leafletfa_scvi.priors import PriorFit

_FLOOR = 1e-6
_REFIT_CYCLES = 3
"""Cycles between fits of the hyperparameters."""
_MIN_REFITS = 5
"""Minimum number of fits of the hyperparameters before convergence."""
_JUNCTION_REFITS = {3 * 2**i for i in range(20)}
"""Fits of the hyperparameters that include a kappa for each junction: they take longest."""
_BATCH_REFITS = {1, 2, 3, 4, 5, *(7 + 4 * i for i in range(100))}
"""Fits of the hyperparameters that include the shifts of batches."""
_ACTIVITY_CYCLES = 6
"""Of the last fit of activities, three passes over the entries each."""
_N_DRAWS = 4
_DRAWN_ENTRIES, _DRAWN_PER_JUNCTION = 1 << 22, 100
"""Number of entries that kappa is fitted to at draws, and how many more for each junction."""
_MAX_STEP = 32.0


@dataclass
class EMResult:
    """Outcome of :func:`fit_em`.

    Attributes
    ----------
    phi, psi
        ``(B, K)`` activities, fitted to the programs at the end, and ``(P, K)`` programs, float32;
        for the Dirichlet-multinomial with a row for each implicit junction.
    concentration
        Learned or fixed kappa: a scalar, or one value per junction (ATSE for the
        Dirichlet-multinomial); None for the binomial and the multinomial.
    concentration_spread
        Standard deviation of log kappa over junctions; None for a single kappa.
    prevalence
        ``(K,)`` mean activity.
    prior
        Prior of psi as learned.
    activity_concentration
        delta of the prior of phi.
    objective
        Lower bound of the log-likelihood, with activities integrated out, plus the log prior of
        psi, times the weight of activities, at the start of each cycle and at the end, under the
        hyperparameters at that iteration.
    converged
        Whether a step gained less than the tolerance.
    effects
        Shifts of batches; None without batches.
    """

    phi: torch.Tensor
    psi: torch.Tensor
    concentration: torch.Tensor | None
    concentration_spread: float | None
    prevalence: torch.Tensor
    prior: PriorFit
    activity_concentration: float
    objective: list[float] = field(default_factory=list)
    converged: bool = False
    effects: BatchEffects | None = None

    @property
    def factors(self) -> Factors:
        """Activities, programs, kappa and the shifts of batches."""
        shift = None if self.effects is None else self.effects.shift.to(self.psi.device)
        return Factors(self.phi, self.psi, self.concentration, shift)


class _Problem:
    """Data and hyperparameters of the fit, its update of the factors and its objective."""

    def __init__(
        self,
        entries: Entries,
        prior: PriorFit,
        prevalence: torch.Tensor,
        delta: float,
        weight: float,
        learn_programs: bool,
        backend: str | None,
    ) -> None:
        self.entries, self.prior = entries, prior
        self.prevalence, self.delta, self.weight = prevalence, delta, weight
        self.learn_programs, self.backend = learn_programs, backend

    def counts(self, factors: Factors) -> ops.ExpectedCounts:
        return sweep(self.entries, factors, self.backend)

    def objective(self, factors: Factors, counts: ops.ExpectedCounts) -> float:
        value = counts.log_likelihood.double().sum()
        if self.learn_programs:
            value = value + self.prior.log_density(factors.psi)
        tables, alpha = self.weight * counts.activity, self.delta * self.prevalence
        return float(self.weight * value + activity_bound(factors.phi, tables, alpha))

    def step(self, factors: Factors, counts: ops.ExpectedCounts) -> Factors:
        phi = geometric_mean(self._activity_posterior(counts))
        if not self.learn_programs:
            return replace(factors, phi=phi)
        psi = self.prior.programs(counts.inclusion, counts.exclusion)
        return replace(factors, phi=phi, psi=psi.clamp(_FLOOR, 1.0 - _FLOOR))

    def mean_activities(self, counts: ops.ExpectedCounts) -> torch.Tensor:
        return simplex(self._activity_posterior(counts))

    def fitted_activities(self, factors: Factors, counts: ops.ExpectedCounts) -> torch.Tensor:
        """Fit activities to the programs alone, at their mode in softmax coordinates."""
        phi = self.mean_activities(counts)
        for _ in range(_ACTIVITY_CYCLES):
            first = self._improved(factors, phi)
            second = self._improved(factors, first)
            further = simplex(squared_step(phi, first, second, by_row=True))
            phi = self._improved(factors, further)
        return phi

    def _improved(self, factors: Factors, phi: torch.Tensor) -> torch.Tensor:
        return self.mean_activities(self.counts(replace(factors, phi=phi)))

    def _activity_posterior(self, counts: ops.ExpectedCounts) -> torch.Tensor:
        """Dirichlet concentrations ``(B, K)``."""
        return self.delta * self.prevalence + self.weight * counts.activity

    def extrapolate(self, before: Factors, first: Factors, second: Factors) -> Factors:
        phi = simplex(squared_step(before.phi, first.phi, second.phi))
        if not self.learn_programs:
            return replace(before, phi=phi)
        # Extrapolated values may lie outside; the objective decides whether they are kept.
        psi = squared_step(before.psi, first.psi, second.psi).clamp(_FLOOR, 1.0 - _FLOOR)
        if self.prior.shares_reads:
            psi = self.prior.normalized(psi).clamp(_FLOOR, 1.0 - _FLOOR)
        return replace(before, phi=phi, psi=psi)


def squared_step(
    before: torch.Tensor, first: torch.Tensor, second: torch.Tensor, by_row: bool = False
) -> torch.Tensor:
    """Extrapolate two steps: theta - 2 a r + a^2 v, with differences r and v and a = -|r| / |v|.

    Parameters
    ----------
    before, first, second
        Parameters before, after one and after two steps.
    by_row
        If True, each row has its own norms and step length.
    """
    r, v = first - before, second - 2.0 * first + before
    length: Any
    if by_row:
        length = r.norm(dim=1, keepdim=True) / v.norm(dim=1, keepdim=True).clamp(min=1e-12)
        length = length.clamp(1.0, _MAX_STEP)
    else:
        length = float(r.norm() / v.norm().clamp(min=1e-12))
        length = min(max(length, 1.0), _MAX_STEP)
    extrapolated: torch.Tensor = before + 2.0 * length * r + length**2 * v
    return extrapolated


class _Hyperparameters:
    """Parameters fitted between cycles: concentrations of the prior, kappa, shifts of batches."""

    def __init__(
        self,
        problem: _Problem,
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
        self.n_draws = _N_DRAWS
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
            self.effects = fit_batch_effects(problem.entries, mean, problem.backend)
            shift = self.effects.shift
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


class EMRun:
    """EM that can be stopped, read out and continued.

    Parameters
    ----------
    entries, start, prior, concentration, dispersion, learn_concentration, learn_programs, \
    learn_prior, prevalence, activity_concentration, activity_weight, device, seed, backend, \
    effects
        As of :func:`fit_em`. A concentration for each junction is kept until such are fitted.
    n_draws
        Number of draws that kappa is fitted to on the way; :meth:`result` has its own.

    Attributes
    ----------
    n_iterations
        Number of passes over the entries so far.
    converged
        Whether a step gained less than the tolerance.
    """

    @torch.no_grad()
    def __init__(
        self,
        entries: Entries,
        start: Initialization,
        prior: PriorFit,
        *,
        concentration: float | torch.Tensor | None,
        dispersion: Dispersion = "global",
        learn_concentration: bool = True,
        learn_programs: bool = True,
        learn_prior: bool = True,
        prevalence: torch.Tensor | None = None,
        activity_concentration: float = 1.0,
        activity_weight: float = 1.0,
        device: torch.device | None = None,
        seed: int = 0,
        backend: str | None = None,
        effects: BatchEffects | None = None,
        n_draws: int = _N_DRAWS,
    ) -> None:
        device = entries.device if device is None else device
        self._state = Factors(
            simplex(start.phi.to(device, torch.float32)),
            start.psi.to(device, torch.float32).clamp(_FLOOR, 1.0 - _FLOOR),
            None
            if concentration is None
            else torch.as_tensor(concentration, dtype=torch.float32, device=device),
            None if effects is None else effects.shift.to(device),
        )
        self._learns_prevalence, n_programs = prevalence is None, self._state.phi.shape[1]
        self._problem = _Problem(
            entries,
            prior.to(device),
            self._state.phi.new_full((n_programs,), 1.0 / n_programs)
            if prevalence is None
            else prevalence.to(device),
            activity_concentration,
            activity_weight,
            learn_programs,
            backend,
        )
        self._hyper = _Hyperparameters(
            self._problem,
            prior=learn_prior and learn_programs,
            kappa=learn_concentration and concentration is not None,
            dispersion=dispersion,
            seed=seed,
            effects=effects,
        )
        self._hyper.n_draws = n_draws
        self._objective: list[float] = []
        self._cycle = 0
        self._counts: ops.ExpectedCounts | None = None
        self.n_iterations, self.converged = 0, False

    @property
    def concentration(self) -> torch.Tensor | None:
        """Present kappa: one value, or one for each junction; None for the binomial."""
        return self._state.kappa

    def set_entries(self, entries: Entries | None) -> None:
        """Let go of the entries, None, or take the same ones up again to continue."""
        self._problem.entries = entries  # type: ignore[assignment] # nothing runs without them

    @torch.no_grad()
    def advance(
        self,
        n_iterations: int,
        *,
        tolerance: float = 1e-7,
        accelerate: bool = True,
        callback: Callable[[int, float], None] | None = None,
    ) -> None:
        """Continue to ``n_iterations`` passes in all, or to convergence.

        In how many parts a number of passes is run changes no result.
        """
        problem, hyper, state, counts = self._problem, self._hyper, self._state, self._counts
        n_sweeps, converged = self.n_iterations, self.converged
        if counts is None:
            counts, n_sweeps = problem.counts(state), 1
        while n_sweeps < n_iterations and not converged:
            if self._cycle and self._cycle % _REFIT_CYCLES == 0:
                refitted = hyper.refit(state, counts)
                if refitted is not state:  # kappa has changed, and with it the counts
                    state, counts = refitted, problem.counts(refitted)
                    n_sweeps += 1
            value = problem.objective(state, counts)
            self._objective.append(value)
            if callback is not None:
                callback(n_sweeps, value)
            first = problem.step(state, counts)
            after, n_sweeps = problem.counts(first), n_sweeps + 1
            reached = problem.objective(first, after)
            # A small gain under provisional hyperparameters does not mean convergence.
            may_converge = hyper.n_refits >= _MIN_REFITS or not hyper.any
            converged = may_converge and reached - value < tolerance * abs(value)
            second = problem.step(first, after)
            further = problem.extrapolate(state, first, second) if accelerate else second
            state, counts, n_sweeps = further, problem.counts(further), n_sweeps + 1
            # Written so that an objective that is not a number rejects the extrapolation, too.
            if accelerate and not problem.objective(further, counts) >= reached:
                state, counts, n_sweeps = second, problem.counts(second), n_sweeps + 1
            self._cycle += 1
        self._state, self._counts = state, counts
        self.n_iterations, self.converged = n_sweeps, converged

    @torch.no_grad()
    def result(self, n_draws: int = _N_DRAWS) -> EMResult:
        """Fit the hyperparameters once more, and return the fit as it is; EM can go on.

        Parameters
        ----------
        n_draws
            Number of draws of activities and programs that kappa is fitted to.
        """
        assert self._counts is not None
        problem, hyper = copy(self._problem), copy(self._hyper)
        hyper.problem, hyper.n_draws = problem, n_draws
        # kappa is fitted to draws once more, a single one for the first time: _fitted_to_draws.
        value = problem.objective(self._state, self._counts)
        phi = self._state.phi
        if self._cycle:
            phi = problem.fitted_activities(self._state, self._counts)
        state = replace(hyper.refit(self._state, self._counts, last=True), phi=phi)
        return EMResult(
            state.phi,
            state.psi,
            state.kappa,
            hyper.spread,
            phi.mean(0) if self._learns_prevalence else problem.prevalence,
            problem.prior,
            problem.delta,
            [*self._objective, value],
            self.converged,
            hyper.effects,
        )


@torch.no_grad()
def fit_em(
    entries: Entries,
    start: Initialization,
    prior: PriorFit,
    *,
    concentration: float | torch.Tensor | None,
    dispersion: Dispersion = "global",
    learn_concentration: bool = True,
    learn_programs: bool = True,
    learn_prior: bool = True,
    prevalence: torch.Tensor | None = None,
    activity_concentration: float = 1.0,
    activity_weight: float = 1.0,
    n_iterations: int = 200,
    tolerance: float = 1e-7,
    accelerate: bool = True,
    device: torch.device | None = None,
    seed: int = 0,
    backend: str | None = None,
    callback: Callable[[int, float], None] | None = None,
    effects: BatchEffects | None = None,
) -> EMResult:
    """Fit activities and programs by EM.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions, or the same ATSE by ATSE for the
        Dirichlet-multinomial.
    start
        Initial phi ``(B, K)`` and psi ``(P, K)``.
    prior
        Prior of psi.
    concentration
        Initial (or fixed) kappa; None for the binomial and the multinomial.
    dispersion
        One kappa for all, or one for each junction (ATSE for the Dirichlet-multinomial).
    learn_concentration
        Fit kappa between cycles.
    learn_programs
        Update psi. If False, only phi is fitted.
    learn_prior
        Fit the concentrations of the prior between cycles.
    prevalence
        ``(K,)`` pi of the prior of phi. If None, all programs are alike: learned from activities
        of few reads, it would leave fewer and fewer programs.
    activity_concentration
        delta of the prior Dirichlet(delta pi) of phi.
    activity_weight
        Weight of log-likelihood and prior of psi beside the prior of phi: the fraction of reads
        that are independent, below 1 if junctions of an ATSE are scored each on its own.
    n_iterations
        Maximum number of passes over the entries.
    tolerance
        Stop when a step raises the objective by less than this share of its size.
    accelerate
        Extrapolate from two steps to a third.
    device
        Device of phi, psi and the sums. If None, that of ``entries``; entries on another device
        are moved block by block.
    seed
        Seed of the draws, and of the cells that a single kappa is fitted to.
    backend
        Backend of :mod:`leafletfa_scvi.ops`.
    callback
        Called after each cycle with the number of iterations and the objective.
    effects
        Initial shifts of batches, which are fitted between cycles; entries then have columns for
        each batch. None without batches.
    """
    run = EMRun(
        entries,
        start,
        prior,
        concentration=concentration,
        dispersion=dispersion,
        learn_concentration=learn_concentration,
        learn_programs=learn_programs,
        learn_prior=learn_prior,
        prevalence=prevalence,
        activity_concentration=activity_concentration,
        activity_weight=activity_weight,
        device=device,
        seed=seed,
        backend=backend,
        effects=effects,
    )
    run.advance(n_iterations, tolerance=tolerance, accelerate=accelerate, callback=callback)
    return run.result()
