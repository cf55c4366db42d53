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
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.inference._activity_posterior import FLOOR, simplex
from leafletfa_scvi.inference._em_step import EMProblem
from leafletfa_scvi.inference._hyperparameters import N_DRAWS, Hyperparameters
from leafletfa_scvi.likelihoods import Factors

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi import ops
    from leafletfa_scvi._choices import Dispersion
    from leafletfa_scvi.inference._batch_effects import BatchEffects
    from leafletfa_scvi.inference._initialization import Initialization
    from leafletfa_scvi.ops import Entries
    from leafletfa_scvi.priors import PriorFit

_REFIT_CYCLES = 3
"""Cycles between fits of the hyperparameters."""
_MIN_REFITS = 5
"""Minimum number of fits of the hyperparameters before convergence."""


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
        n_draws: int = N_DRAWS,
    ) -> None:
        device = entries.device if device is None else device
        self._state = Factors(
            simplex(start.phi.to(device, torch.float32)),
            start.psi.to(device, torch.float32).clamp(FLOOR, 1.0 - FLOOR),
            None
            if concentration is None
            else torch.as_tensor(concentration, dtype=torch.float32, device=device),
            None if effects is None else effects.shift.to(device),
        )
        self._learns_prevalence, n_programs = prevalence is None, self._state.phi.shape[1]
        self._problem = EMProblem(
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
        self._hyper = Hyperparameters(
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
            # With batches, a step is not sure to gain: one that loses is not the end either.
            converged = may_converge and abs(reached - value) < tolerance * abs(value)
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
    def result(self, n_draws: int = N_DRAWS) -> EMResult:
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
