"""Expected-table EM: a deterministic MAP fit of activities, programs and concentration.

The log of a rising factorial of kappa p is bounded from below by a multiple of log p (Jensen), so
the beta-binomial is fitted like a binomial mixture whose reads are replaced by expected tables

    t1 = kappa p [digamma(y + kappa p) - digamma(kappa p)],    t0 likewise with n - y and q.

With them phi and psi have the closed updates of the admixture EM, and the objective never falls
for fixed kappa, prevalence and prior. The Dirichlet-multinomial has t1 alone, and psi is scaled to
sum to one within an ATSE. MAP is taken in softmax and logit coordinates (densities of Dirichlet
and Beta with parameters below 1 have no maximum).

Steps are accelerated by squared extrapolation (SQUAREM, Varadhan and Roland 2008), of which only
those are kept that do not lower the objective.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from leafletfa_scvi import ops
from leafletfa_scvi.inference._curvature import draw_from_curvature
from leafletfa_scvi.inference._dispersion import (
    JunctionDispersion,
    cells_of,
    fit_concentration,
    fit_junction_dispersion,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from leafletfa_scvi._choices import Dispersion
    from leafletfa_scvi.inference._prior import ProgramPrior
    from leafletfa_scvi.inference._start import Start
    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries

_FLOOR = 1e-6
_BLOCK = 1 << 24
"""Entries moved to the device at a time where they are not there."""
_REFIT_CYCLES = 3
"""Cycles between fits of the hyperparameters."""
_LEAST_REFITS = 5
"""Fits of the hyperparameters before the fit may count as converged."""
_JUNCTION_REFITS = {3 * 2**i for i in range(20)}
"""Fits that are also of a kappa for each junction, where that is wanted: they take longest."""
_N_DRAWS = 4
_DRAWN_ENTRIES, _DRAWN_PER_JUNCTION = 1 << 22, 100
"""Entries that kappa is fitted to at draws, at least, and more of them for more junctions."""
_LONGEST_STEP = 32.0


@dataclass
class EMResult:
    """Outcome of :func:`fit_em`.

    Attributes
    ----------
    phi, psi
        ``(B, K)`` activities and ``(P, K)`` programs, float32; for the Dirichlet-multinomial with
        a row for each implicit junction.
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
        Log-likelihood plus log prior at the start of each cycle, and of ``phi`` and ``psi``, with
        the hyperparameters of then.
    converged
        Whether a step gained less than the tolerance.
    """

    phi: torch.Tensor
    psi: torch.Tensor
    concentration: torch.Tensor | None
    concentration_spread: float | None
    prevalence: torch.Tensor
    prior: ProgramPrior
    activity_concentration: float
    objective: list[float] = field(default_factory=list)
    converged: bool = False


class _State(NamedTuple):
    phi: torch.Tensor
    psi: torch.Tensor


def sweep(
    entries: ObservedEntries | MultinomialEntries,
    phi: torch.Tensor,
    psi: torch.Tensor,
    kappa: torch.Tensor | None,
    backend: str | None = None,
) -> ops.ExpectedCounts:
    """Expected counts on the device of ``phi``; in blocks of cells where entries are elsewhere."""
    if entries.device.type == phi.device.type:
        return ops.expected_counts(entries, phi, psi, kappa, backend=backend)
    value, activity = [], []
    sums: tuple[torch.Tensor, ...] | None = None
    for cells, block in entries.blocks(_BLOCK):
        part = ops.expected_counts(block.to(phi.device), phi[cells], psi, kappa, backend=backend)
        value.append(part.log_likelihood)
        activity.append(part.activity)
        rest = part[2:]
        sums = rest if sums is None else tuple(a + b for a, b in zip(sums, rest, strict=True))
    if sums is None:
        return ops.expected_counts(entries.to(phi.device), phi, psi, kappa, backend=backend)
    return ops.ExpectedCounts(torch.cat(value), torch.cat(activity), *sums)


class _Problem:
    """Data and hyperparameters of the fit; a map from a state to the next, and its objective."""

    def __init__(
        self,
        entries: ObservedEntries | MultinomialEntries,
        prior: ProgramPrior,
        kappa: torch.Tensor | None,
        prevalence: torch.Tensor,
        delta: float,
        learn_programs: bool,
        backend: str | None,
    ) -> None:
        self.entries, self.prior, self.kappa = entries, prior, kappa
        self.prevalence, self.delta = prevalence, delta
        self.learn_programs, self.backend = learn_programs, backend

    def counts(self, state: _State) -> ops.ExpectedCounts:
        return sweep(self.entries, state.phi, state.psi, self.kappa, self.backend)

    def objective(self, state: _State, counts: ops.ExpectedCounts) -> float:
        value = counts.log_likelihood.double().sum()
        alpha = self.delta * self.prevalence
        value = value + (alpha * state.phi.log()).sum(dtype=torch.float64)
        normaliser = torch.lgamma(alpha.sum().double()) - torch.lgamma(alpha.double()).sum()
        value = value + len(state.phi) * normaliser
        if self.learn_programs:
            value = value + self.prior.log_density(state.psi)
        return float(value)

    def step(self, state: _State, counts: ops.ExpectedCounts) -> _State:
        phi = simplex(self.delta * self.prevalence + counts.activity)
        if not self.learn_programs:
            return _State(phi, state.psi)
        psi = self.prior.programs(counts.inclusion, counts.exclusion)
        return _State(phi, psi.clamp(_FLOOR, 1.0 - _FLOOR))

    def extrapolate(self, zero: _State, one: _State, two: _State) -> _State:
        phi = simplex(_squared_step(zero.phi, one.phi, two.phi))
        if not self.learn_programs:
            return _State(phi, zero.psi)
        psi = _squared_step(zero.psi, one.psi, two.psi).clamp(_FLOOR, 1.0 - _FLOOR)
        if self.prior.shared:
            psi = self.prior.normalised(psi).clamp(_FLOOR, 1.0 - _FLOOR)
        return _State(phi, psi)


def _squared_step(zero: torch.Tensor, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Theta - 2 a r + a^2 v with r the first difference, v the second, and a = -|r| / |v|."""
    r, v = one - zero, two - 2.0 * one + zero
    length = float(r.norm() / v.norm().clamp(min=1e-12))
    length = min(max(length, 1.0), _LONGEST_STEP)
    return zero + 2.0 * length * r + length**2 * v


def simplex(phi: torch.Tensor) -> torch.Tensor:
    """Rows scaled to sum to one, from values of at least 1e-6."""
    phi = phi.clamp(min=_FLOOR)
    return phi / phi.sum(1, keepdim=True)


class _Hyperparameters:
    """What is fitted between cycles: prevalence, strengths of the prior, kappa."""

    def __init__(
        self,
        problem: _Problem,
        *,
        follow: bool,
        prior: bool,
        kappa: bool,
        dispersion: Dispersion,
        seed: int,
    ) -> None:
        self.problem, self.follow, self.prior, self.kappa = problem, follow, prior, kappa
        self.by_junction, self.seed, self.n_refits = dispersion == "junction", seed, 0
        self.any = follow or prior or kappa
        self.junctions: JunctionDispersion | None = None

    @property
    def spread(self) -> float | None:
        """Standard deviation of log kappa over junctions; None for a single kappa."""
        return None if self.junctions is None else self.junctions.spread

    def refit(self, state: _State, counts: ops.ExpectedCounts, last: bool = False) -> bool:
        """Fit all of them to ``counts``, those of ``state``; whether kappa changed."""
        problem = self.problem
        self.n_refits += 1
        if self.follow:
            problem.prevalence = state.phi.mean(0)
        if self.prior:
            problem.prior = problem.prior.refitted(counts.inclusion, counts.exclusion)
        if not self.kappa:
            return False
        if last or (self.by_junction and self.n_refits in _JUNCTION_REFITS):
            self._fit_to_draws(state)
            return True
        if self.by_junction and self.junctions is not None:
            return False
        value = fit_concentration(problem.entries, *state, self.seed)
        problem.kappa = torch.tensor(value, dtype=torch.float32, device=state.phi.device)
        return True

    def _fit_to_draws(self, state: _State) -> None:
        """Kappa fitted where activities and programs are as uncertain as the data leave them.

        At the fit itself, which has followed the noise of its reads, kappa comes out too large,
        and where each junction has its own, their spread too wide.
        """
        problem, device = self.problem, state.phi.device
        entries, phi = problem.entries, state.phi
        some = cells_of(entries, _DRAWN_ENTRIES + _DRAWN_PER_JUNCTION * len(state.psi), self.seed)
        if some is not None:
            entries, phi = entries.select(some.to(entries.device)), phi[some.to(device)]
        alpha = problem.delta * problem.prevalence
        drawn = draw_from_curvature(
            entries, phi, state.psi, problem.kappa, alpha, problem.prior, _N_DRAWS, self.seed
        )
        draws = [(p.to(device), q.to(device)) for p, q in drawn]
        entries = entries.to(device)
        if self.by_junction:
            assert problem.kappa is not None
            first = self.junctions.median if self.junctions else float(problem.kappa.median())
            self.junctions = fit_junction_dispersion(entries, draws, first, problem.backend)
            problem.kappa = self.junctions.kappa.to(device)
        else:
            fits = [fit_concentration(entries, *one, self.seed) for one in draws]
            kappas = torch.tensor(fits, dtype=torch.float32, device=device)
            problem.kappa = kappas.log().mean().exp()


@torch.no_grad()
def fit_em(
    entries: ObservedEntries | MultinomialEntries,
    start: Start,
    prior: ProgramPrior,
    *,
    concentration: float | torch.Tensor | None,
    dispersion: Dispersion = "global",
    learn_concentration: bool = True,
    learn_programs: bool = True,
    learn_prior: bool = True,
    prevalence: torch.Tensor | None = None,
    activity_concentration: float = 1.0,
    n_iterations: int = 200,
    tolerance: float = 1e-7,
    accelerate: bool = True,
    device: torch.device | None = None,
    seed: int = 0,
    backend: str | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> EMResult:
    """Fit activities and programs from a start.

    Parameters
    ----------
    entries
        Observed entries of B cells and P junctions, or the same ATSE by ATSE for the
        Dirichlet-multinomial.
    start
        First phi ``(B, K)`` and psi ``(P, K)``.
    prior
        Prior of psi.
    concentration
        First (or fixed) kappa; None for the binomial and the multinomial.
    dispersion
        One kappa for all, or one for each junction (ATSE for the Dirichlet-multinomial).
    learn_concentration
        Fit kappa between cycles.
    learn_programs
        Update psi; where false, only phi is fitted.
    learn_prior
        Fit the strengths of the prior between cycles.
    prevalence
        ``(K,)`` fixed pi; None lets it follow the mean activity.
    activity_concentration
        delta of the prior Dirichlet(delta pi) of phi.
    n_iterations
        Most sweeps over the entries.
    tolerance
        Stop when a step raises the objective by less than this share of its size.
    accelerate
        Extrapolate from two steps to a third.
    device
        Where phi, psi and the sums are; that of ``entries`` where None. Entries elsewhere are
        moved block by block.
    seed
        Seed of the cells that a kappa shared by all is fitted on.
    backend
        Backend of :mod:`leafletfa_scvi.ops`.
    callback
        Called after each cycle with the number of sweeps and the objective.
    """
    where = entries.device if device is None else device
    state = _State(
        simplex(start.phi.to(where, torch.float32)),
        start.psi.to(where, torch.float32).clamp(_FLOOR, 1.0 - _FLOOR),
    )
    problem = _Problem(
        entries,
        prior.to(where),
        None
        if concentration is None
        else torch.as_tensor(concentration, dtype=torch.float32, device=where),
        state.phi.mean(0) if prevalence is None else prevalence.to(where),
        activity_concentration,
        learn_programs,
        backend,
    )
    hyper = _Hyperparameters(
        problem,
        follow=prevalence is None,
        prior=learn_prior and learn_programs,
        kappa=learn_concentration and concentration is not None,
        dispersion=dispersion,
        seed=seed,
    )
    objective: list[float] = []
    converged, cycle = False, 0
    counts, used = problem.counts(state), 1
    while used < n_iterations and not converged:
        if cycle and cycle % _REFIT_CYCLES == 0 and hyper.refit(state, counts):
            counts, used = problem.counts(state), used + 1
        value = problem.objective(state, counts)
        objective.append(value)
        if callback is not None:
            callback(used, value)
        one = problem.step(state, counts)
        after, used = problem.counts(one), used + 1
        reached = problem.objective(one, after)
        settled = hyper.n_refits >= _LEAST_REFITS or not hyper.any
        converged = settled and reached - value < tolerance * abs(value)
        two = problem.step(one, after)
        further = problem.extrapolate(state, one, two) if accelerate else two
        state, counts, used = further, problem.counts(further), used + 1
        if accelerate and not problem.objective(further, counts) >= reached:
            state, counts, used = two, problem.counts(two), used + 1
        cycle += 1
    objective.append(problem.objective(state, counts))
    hyper.refit(state, counts, last=True)
    return EMResult(
        *state,
        problem.kappa,
        hyper.spread,
        problem.prevalence,
        problem.prior,
        activity_concentration,
        objective,
        converged,
    )
