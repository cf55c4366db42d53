"""Expected-table EM: its objective, its steps and fixed points, acceleration and blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import FarEntries, atse_codes, entries_of
from helpers.likelihood import random_atses, random_entries
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, digamma, gammaln

import leafletfa_scvi as lfa
from leafletfa_scvi import inference
from leafletfa_scvi.inference import (
    EMRun,
    Initialization,
    _em_step,
    _expected_counts,
    fit_em,
    program_prior,
)
from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.ops import MultinomialEntries, multinomial_entries
from leafletfa_scvi.ops._reference import MISASSIGNMENT_RATE

FIXED = {"learn_concentration": False, "learn_prior": False}


@pytest.fixture(scope="module")
def adata():
    return lfa.datasets.simulate_splicing(
        60, 30, 3, coverage=0.5, frac_differential=0.6, likelihood="betabinomial", seed=2
    )


@pytest.fixture(scope="module")
def entries(adata):
    return lfa.data.observed_entries(adata)


@pytest.fixture(scope="module")
def shared():
    """Reads of an ATSE shared by its junctions, some of them implicit; empty cells."""
    entries, atse = random_atses(40, 30, 0.5, 8, seed=3)
    gathered = multinomial_entries(entries, atse)
    assert gathered.n_junctions > 30
    assert (gathered.totals.indptr.diff() == 0).any()
    return gathered


def prior_of(entries, kind="junction"):
    if isinstance(entries, MultinomialEntries):
        return program_prior(kind, inference.normalized_mean_psi(entries), entries.atse, True)
    return program_prior(kind, inference.junction_mean_psi(entries))


def start_of(entries, n_programs, seed=0):
    """A random start."""
    if not isinstance(entries, MultinomialEntries):
        return inference.random_initialization(entries, n_programs, seed)
    rng = np.random.default_rng(seed)
    psi = torch.from_numpy(rng.random((entries.n_junctions, n_programs))).float()
    phi = rng.dirichlet(np.ones(n_programs), entries.n_cells)
    return Initialization(
        torch.from_numpy(phi).float(), inference.normalized_programs(psi, entries)
    )


def by_hand(entries, phi, psi, kappa, alpha, prior, weight=1.0):
    """Bound with activities integrated out, and log prior of psi, in float64, from scipy."""
    tables, _, _ = tables_by_hand(entries, phi, psi, kappa)
    phi, psi = (x.double().numpy() for x in (phi, psi))
    a, b = (np.broadcast_to(x.double(), psi.shape) for x in (prior.inclusion, prior.exclusion))
    together = isinstance(entries, MultinomialEntries)
    reads = entries.reads if together else entries
    row, column = reads.rows().numpy(), reads.column.numpy()
    mean = (phi[row] * psi[column]).sum(1)
    p, q = (MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * x for x in (mean, 1 - mean))
    y, n = reads.count.double().numpy(), reads.total.double().numpy()
    alpha = alpha.double().numpy()
    posterior, used = alpha + weight * tables, weight * tables
    value = log_beta(posterior).sum() - len(phi) * log_beta(alpha) - (used * np.log(phi)).sum()
    value /= weight  # as all is multiplied by it in the end
    kappa = None if kappa is None else np.asarray(kappa, float)
    if together:
        totals, atse = entries.totals, entries.atse.numpy()
        whole = totals.total.double().numpy()
        value += gammaln(whole + 1).sum() - gammaln(y + 1).sum()
        if kappa is None:
            value += (y * np.log(p)).sum()
        else:
            k = kappa[atse[column]] if kappa.ndim else kappa
            value += (gammaln(k * p + y) - gammaln(k * p)).sum()
            k = kappa[totals.column.numpy()] if kappa.ndim else kappa
            value -= (gammaln(k + whole) - gammaln(k)).sum()
        value += (a * np.log(psi) - gammaln(a)).sum()
        strength = np.zeros((entries.n_atses, psi.shape[1]))
        np.add.at(strength, atse, a)
        return weight * (value + gammaln(strength).sum())
    value += (gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)).sum()
    if kappa is None:
        value += (y * np.log(p) + (n - y) * np.log(q)).sum()
    else:
        k = kappa[column] if kappa.ndim else kappa
        value += (betaln(k * p + y, k * q + n - y) - betaln(k * p, k * q)).sum()
    value += (a * np.log(psi) + b * np.log1p(-psi) - betaln(a, b)).sum()
    return weight * value


def log_beta(concentration):
    """Log of the multivariate beta function."""
    return gammaln(concentration).sum(-1) - gammaln(concentration.sum(-1))


def tables_by_hand(entries, phi, psi, kappa):
    """Expected tables of activities, and for and against programs, in float64."""
    phi, psi = (x.double().numpy() for x in (phi, psi))
    together = isinstance(entries, MultinomialEntries)
    reads = entries.reads if together else entries
    row, column = reads.rows().numpy(), reads.column.numpy()
    y, n = reads.count.double().numpy(), reads.total.double().numpy()
    mean = (phi[row] * psi[column]).sum(1)
    p, q = (MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * x for x in (mean, 1 - mean))
    if kappa is not None and np.ndim(kappa):
        kappa = np.asarray(kappa, float)[entries.atse.numpy()[column] if together else column]
    if kappa is None:
        t1, t0 = y, n - y
    else:
        t1 = kappa * p * (digamma(y + kappa * p) - digamma(kappa * p))
        t0 = kappa * q * (digamma(n - y + kappa * q) - digamma(kappa * q))
    if together:
        t0 = 0 * t0
    scale = 1 - 2 * MISASSIGNMENT_RATE  # the leak's share of the tables goes to no program
    f, s = phi[row], psi[column]
    up = scale * f * s * (t1 / p)[:, None]
    down = scale * f * (1 - s) * (t0 / q)[:, None]
    activity, inclusion, exclusion = np.zeros_like(phi), np.zeros_like(psi), np.zeros_like(psi)
    np.add.at(activity, row, up + down)
    np.add.at(inclusion, column, up)
    np.add.at(exclusion, column, down)
    return activity, inclusion, exclusion


def step_by_hand(entries, phi, psi, kappa, alpha, prior):
    """One EM step in float64."""
    activity, inclusion, exclusion = tables_by_hand(entries, phi, psi, kappa)
    new_phi = np.exp(digamma(alpha.double().numpy() + activity))
    new_phi /= new_phi.sum(1, keepdims=True)
    up, down = inclusion + prior.inclusion.numpy(), exclusion + prior.exclusion.numpy()
    if isinstance(entries, MultinomialEntries):
        whole = np.zeros((entries.n_atses, psi.shape[1]))
        np.add.at(whole, entries.atse.numpy(), up)
        return new_phi, up / whole[entries.atse.numpy()]
    return new_phi, up / (up + down)


def never_falls(fit):
    """Differences of float32 sums have rounding errors."""
    assert np.isfinite(fit.objective).all()
    steps = np.diff(fit.objective)
    assert steps.min() > -1e-6 * abs(fit.objective[-1]) - 1e-3


SHAPES = {
    "n_cells": st.integers(1, 14),
    "n_junctions": st.integers(1, 9),
    "density": st.sampled_from([0.1, 0.5, 1.0]),
    "max_total": st.sampled_from([1, 4, 300]),
    "n_programs": st.integers(1, 5),
    "kappa": st.sampled_from([None, 0.05, 1.0, 20.0, 3000.0]),
    "delta": st.sampled_from([0.1, 1.0, 6.0]),
    "accelerate": st.booleans(),
    "kind": st.sampled_from(["mixture", "junction", "global"]),
    "seed": st.integers(0, 10_000),
}


def check_random(entries, n_programs, kappa, delta, accelerate, kind, seed):
    prevalence = np.random.default_rng(seed).dirichlet(np.ones(n_programs))
    fit = fit_em(
        entries,
        start_of(entries, n_programs, seed),
        prior_of(entries, kind),
        concentration=kappa,
        prevalence=torch.from_numpy(prevalence).float(),
        activity_concentration=delta,
        n_iterations=30,
        tolerance=0.0,
        accelerate=accelerate,
        backend="torch",
        **FIXED,
    )
    never_falls(fit)
    assert (fit.phi > 0).all()
    np.testing.assert_allclose(fit.phi.sum(1), 1, atol=1e-5)
    assert ((fit.psi > 0) & (fit.psi < 1)).all()
    return fit


@pytest.fixture
def states(monkeypatch):
    """Factors of each call of the objective; the last is the one at the end of the fit."""
    found, original = [], _em_step.EMProblem.objective

    def seen(problem, factors, counts):
        found.append(factors)
        return original(problem, factors, counts)

    monkeypatch.setattr(_em_step.EMProblem, "objective", seen)
    return found


class TestObjective:
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(**SHAPES)
    def test_never_falls(self, n_cells, n_junctions, density, max_total, seed, **rest):
        entries = random_entries(n_cells, n_junctions, density, max_total, seed)
        check_random(entries, seed=seed, **rest)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(**SHAPES)
    def test_never_falls_with_shared_reads(
        self, n_cells, n_junctions, density, max_total, seed, **rest
    ):
        entries, atse = random_atses(n_cells, n_junctions, density, max_total, seed)
        entries = multinomial_entries(entries, atse)
        fit = check_random(entries, seed=seed, **rest)
        sums = torch.zeros(entries.n_atses, fit.psi.shape[1])
        sums.index_add_(0, entries.atse, fit.psi)
        np.testing.assert_allclose(sums, 1, atol=2e-5)

    @pytest.mark.parametrize("accelerate", [False, True])
    @pytest.mark.parametrize("kappa", [None, 8.0])
    @pytest.mark.parametrize("together", [False, True])
    def test_never_falls_on_real_shapes(self, entries, shared, together, kappa, accelerate):
        data = shared if together else entries
        fit = fit_em(
            data,
            start_of(data, 3),
            prior_of(data, "mixture"),
            concentration=kappa,
            prevalence=torch.tensor([0.5, 0.3, 0.2]),
            n_iterations=80,
            tolerance=0.0,
            accelerate=accelerate,
            **FIXED,
        )
        never_falls(fit)
        assert fit.objective[-1] > fit.objective[0] + 10
        assert fit.concentration == kappa
        assert not fit.converged

    @pytest.mark.parametrize("kappa", [None, 8.0, "own"])
    @pytest.mark.parametrize(("together", "weight"), [(False, 1.0), (False, 0.6), (True, 1.0)])
    def test_is_the_bound_and_the_log_prior(
        self, entries, shared, together, kappa, weight, states
    ):
        data = shared if together else entries
        if kappa == "own":
            size = data.n_atses if together else data.n_junctions
            kappa = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 30, size)).float()
        start, prior = start_of(data, 3), prior_of(data)
        prevalence = torch.tensor([0.5, 0.3, 0.2])
        fit = fit_em(
            data,
            start,
            prior,
            concentration=kappa,
            prevalence=prevalence,
            activity_concentration=1.7,
            activity_weight=weight,
            n_iterations=9,
            tolerance=0.0,
            **FIXED,
        )
        alpha = 1.7 * prevalence
        want = by_hand(data, start.phi, start.psi, kappa, alpha, prior, weight)
        assert fit.objective[0] == pytest.approx(want, rel=1e-6)
        assert len(fit.objective) > 2
        last = states[-1]
        want = by_hand(data, last.phi, last.psi, kappa, alpha, prior, weight)
        assert fit.objective[-1] == pytest.approx(want, rel=1e-6)
        # Activities are fitted to the programs alone, to a fixed point of their update.
        tables, _, _ = tables_by_hand(data, fit.phi, fit.psi, kappa)
        mean = alpha.numpy() + weight * tables
        change = np.abs(fit.phi.numpy() - mean / mean.sum(1, keepdims=True))
        assert change.mean() < 2e-4
        assert change.max() < 5e-3

    @pytest.mark.parametrize("kappa", [None, 8.0])
    @pytest.mark.parametrize("together", [False, True])
    def test_converges_to_a_maximum(self, entries, shared, together, kappa, states):
        """No small step in softmax and logit coordinates is better."""
        data = shared
        if not together:
            data = entries.select(torch.arange(20))
            data = data.keep(torch.arange(data.n_entries) % 3 == 0)
        prior, prevalence = prior_of(data), torch.tensor([0.4, 0.6])
        fit_em(
            data,
            start_of(data, 2),
            prior,
            concentration=kappa,
            prevalence=prevalence,
            n_iterations=500,
            tolerance=0.0,
            **FIXED,
        )
        last = states[-1]
        best = by_hand(data, last.phi, last.psi, kappa, prevalence, prior)
        rng = np.random.default_rng(0)
        for size in (0.003, 0.03):
            for _ in range(10):
                noise = [torch.from_numpy(rng.normal(size=x.shape)) for x in (last.phi, last.psi)]
                phi = torch.softmax(last.phi.double().log() + size * noise[0], 1)
                if together:
                    psi = prior.normalized(last.psi.double() * torch.exp(size * noise[1]))
                else:
                    psi = torch.sigmoid(torch.logit(last.psi.double()) + size * noise[1])
                assert by_hand(data, phi, psi, kappa, prevalence, prior) < best + 0.02

    def test_that_falls_is_not_the_end(self, entries, monkeypatch):
        """As a step of programs in batches may."""
        values = iter(range(100, 0, -1))
        monkeypatch.setattr(_em_step.EMProblem, "objective", lambda *_: float(next(values)))
        start, prior = start_of(entries, 3), prior_of(entries)
        fit = fit_em(entries, start, prior, concentration=8.0, n_iterations=12, **FIXED)
        assert not fit.converged
        assert len(fit.objective) > 3


@pytest.mark.parametrize("kappa", [None, 8.0])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", ["mixture", "global"])
def test_one_step_by_hand(entries, shared, together, kappa, kind):
    data = shared if together else entries
    start, prior = start_of(data, 3), prior_of(data, kind)
    prevalence = torch.tensor([0.5, 0.3, 0.2])
    problem = _em_step.EMProblem(data, prior, prevalence, 1.7, 1.0, True, None)
    state = Factors(*start, None if kappa is None else torch.tensor(kappa))
    one = problem.step(state, problem.counts(state))
    phi, psi = step_by_hand(data, start.phi, start.psi, kappa, 1.7 * prevalence, prior)
    np.testing.assert_allclose(one.phi, phi, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.psi, psi.clip(1e-6, 1 - 1e-6), rtol=1e-4, atol=1e-6)


class TestAcceleration:
    @pytest.mark.parametrize("kappa", [None, 10.0])
    def test_same_objective_in_fewer_iterations(self, entries, kappa):
        traces = {}
        for accelerate in (False, True):
            trace = []
            fit_em(
                entries,
                inference.waypoints(entries, 3, 0).start,
                prior_of(entries),
                concentration=kappa,
                prevalence=torch.full((3,), 1 / 3),
                n_iterations=400,
                tolerance=0.0,
                accelerate=accelerate,
                callback=lambda used, value, trace=trace: trace.append((used, value)),
                **FIXED,
            )
            traces[accelerate] = trace
        goal = traces[False][-1][1] - 0.5
        assert traces[True][-1][1] > goal
        first = {k: next(used for used, value in v if value > goal) for k, v in traces.items()}
        assert first[True] < 0.7 * first[False]

    def test_steps_that_lower_the_objective_are_rejected(self, entries, monkeypatch):
        """Nor what makes it no number."""
        for bad in (0.01, float("nan")):
            monkeypatch.setattr(
                _em_step,
                "squared_step",
                lambda zero, one, two, by_row=False, bad=bad: (
                    two if by_row else torch.full_like(zero, bad)
                ),
            )
            options = {"prevalence": torch.full((3,), 1 / 3), "tolerance": 0.0, **FIXED}
            given = entries, start_of(entries, 3), prior_of(entries)
            far = fit_em(*given, concentration=8.0, n_iterations=25, **options)
            never_falls(far)
            plain = fit_em(*given, concentration=8.0, n_iterations=17, accelerate=False, **options)
            np.testing.assert_allclose(far.objective, plain.objective[: len(far.objective)])
            assert len(far.objective) == 9

    def test_the_squared_step_by_hand(self):
        zero, one, two = (torch.tensor([[x]]) for x in (1.0, 0.5, 0.25))
        # Geometric: |r| / |v| = 2, and the step lands on the limit.
        assert float(_em_step.squared_step(zero, one, two)) == pytest.approx(0.0, abs=1e-6)
        still = _em_step.squared_step(zero, zero, zero)
        assert float(still) == 1.0
        line = _em_step.squared_step(zero, zero + 1, zero + 2)
        assert float(line) == pytest.approx(1 + 2 * 32)

    def test_extrapolated_programs_stay_inside_and_sum_to_one(self, shared):
        """Far steps leave (0, 1), and sums change when they are clipped."""
        problem = _em_step.EMProblem(
            shared, prior_of(shared), torch.ones(2) / 2, 1.0, 1.0, True, None
        )
        first, other = start_of(shared, 2), start_of(shared, 2, seed=1)
        states = [  # ever slower from one toward the other: the step goes twice as far
            Factors(
                first.phi + w * (other.phi - first.phi), first.psi + w * (other.psi - first.psi)
            )
            for w in (0.0, 0.2, 0.38)
        ]
        free = _em_step.squared_step(*(state.psi for state in states))
        assert ((free < 0) | (free > 1)).any()
        further = problem.extrapolate(*states)
        phi, psi = further.phi, further.psi
        assert ((psi > 0) & (psi < 1) & torch.isfinite(psi)).all()
        sums = torch.zeros(shared.n_atses, 2).index_add_(0, shared.atse, psi)
        np.testing.assert_allclose(sums, 1, atol=1e-5)
        np.testing.assert_allclose(phi.sum(1), 1, atol=1e-5)
        assert (phi > 0).all()


class TestOtherDevice:
    """Entries on another device than phi and psi are moved in blocks of cells."""

    @pytest.mark.parametrize("kappa", [None, 8.0, "own"])
    @pytest.mark.parametrize("together", [False, True])
    def test_blocks_add_up(self, entries, shared, together, kappa, monkeypatch):
        data = shared if together else entries
        if kappa == "own":
            size = data.n_atses if together else data.n_junctions
            kappa = np.random.default_rng(0).uniform(0.5, 30, size)
        kappa = None if kappa is None else torch.as_tensor(kappa).float()
        start = start_of(data, 3)
        whole = inference.sweep(data, Factors(*start, kappa))
        far = FarEntries(data)
        monkeypatch.setattr(_expected_counts, "_BLOCK", data.n_entries // 5)
        parts = inference.sweep(far, Factors(*start, kappa))
        assert len(far.blocks_made) > 4
        for name, found in parts._asdict().items():
            torch.testing.assert_close(
                found, getattr(whole, name), rtol=1e-4, atol=1e-3, msg=lambda m, n=name: n + m
            )

    def test_a_whole_fit(self, entries, monkeypatch):
        options = {"concentration": 8.0, "device": torch.device("cpu"), "n_iterations": 40}
        given = inference.waypoints(entries, 3, 0).start, prior_of(entries, "mixture")
        near = fit_em(entries, *given, learn_concentration=False, **options)
        monkeypatch.setattr(_expected_counts, "_BLOCK", entries.n_entries // 5)
        far = fit_em(FarEntries(entries), *given, learn_concentration=False, **options)
        np.testing.assert_allclose(far.objective, near.objective, rtol=1e-4)
        np.testing.assert_allclose(far.phi, near.phi, atol=0.01)

    def test_no_cells(self, entries):
        none = entries.select(torch.zeros(0, dtype=torch.int64))
        found = inference.sweep(
            FarEntries(none),
            Factors(torch.zeros(0, 2), torch.full((entries.n_junctions, 2), 0.5)),
        )
        assert found.activity.shape == (0, 2)
        assert found.inclusion.shape == (entries.n_junctions, 2)


class TestFit:
    def test_kappa_infinite_is_the_binomial(self, entries):
        start = inference.waypoints(entries, 3, 0).start
        binomial, large = (
            fit_em(
                entries,
                start,
                prior_of(entries),
                concentration=kappa,
                learn_concentration=False,
                n_iterations=20,
                tolerance=0.0,
            )
            for kappa in (None, 1e5)
        )
        assert binomial.concentration is None
        assert binomial.concentration_spread is None
        assert (binomial.phi - large.phi).abs().max() < 0.01
        assert (binomial.psi - large.psi).abs().max() < 0.01

    @pytest.mark.parametrize("kind", ["mixture", "junction", "global"])
    def test_finds_the_planted_programs(self, adata, entries, kind):
        start = inference.waypoints(entries, 3, 0).start
        prior = program_prior(kind, inference.junction_mean_psi(entries), atse_codes(adata))
        fit = fit_em(entries, start, prior, concentration=10.0)
        match = lfa.tl.match_programs(adata.obsm["phi_true"], fit.phi.numpy())
        assert match["correlation"].min() > 0.9
        np.testing.assert_allclose(fit.prevalence, fit.phi.mean(0), atol=1e-6)
        assert float(fit.concentration) == pytest.approx(20, rel=0.5)
        assert fit.concentration_spread is None
        assert fit.prior.prior.name == kind
        assert not torch.equal(fit.prior.weights, prior.weights)

    @pytest.mark.parametrize("n_programs", [1, 3])
    def test_finds_the_planted_programs_with_shared_reads(self, n_programs):
        adata = lfa.datasets.simulate_splicing(
            80, 40, n_programs, coverage=0.5, frac_differential=0.6, seed=1
        )
        plain, atse = lfa.data.observed_entries(adata), atse_codes(adata)
        entries = multinomial_entries(plain, atse)
        start = inference.waypoints(plain, n_programs, 0, atse).start
        start = start._replace(psi=inference.normalized_programs(start.psi, entries))
        fit = fit_em(entries, start, prior_of(entries, "mixture"), concentration=10.0)
        match = lfa.tl.match_programs(adata.obsm["phi_true"], fit.phi.numpy())
        assert n_programs == 1 or match["correlation"].min() > 0.9
        assert float(fit.concentration) == pytest.approx(20, rel=0.5)
        sums = torch.zeros(entries.n_atses, n_programs).index_add_(0, entries.atse, fit.psi)
        np.testing.assert_allclose(sums, 1, atol=1e-5)

    def test_the_prior_is_learned_or_fixed(self, entries):
        given = entries, inference.waypoints(entries, 3, 0).start, prior_of(entries, "mixture")
        left = fit_em(*given, concentration=10.0, learn_prior=False, n_iterations=30)
        assert torch.equal(left.prior.concentration, given[2].concentration)
        learned = fit_em(*given, concentration=10.0, n_iterations=30)
        assert learned.prior.concentration.shape == (entries.n_junctions, 3)

    def test_programs_may_be_fixed(self, adata, entries):
        psi = torch.from_numpy(adata.varm["psi_true"]).float()
        given = entries, Initialization(torch.full((60, 3), 1 / 3), psi), prior_of(entries)
        fit = fit_em(*given, concentration=20.0, learn_programs=False)
        np.testing.assert_allclose(fit.psi, psi, atol=1e-5)
        correlation = np.corrcoef(fit.phi.flatten(), adata.obsm["phi_true"].ravel())[0, 1]
        assert correlation > 0.95

    def test_a_junction_without_data_is_the_prior(self, entries):
        none = entries.keep(entries.column != 5)
        prior = program_prior("junction", torch.full((entries.n_junctions,), 0.25))
        fit = fit_em(none, inference.waypoints(none, 2, 0).start, prior, concentration=5.0)
        np.testing.assert_allclose(fit.psi[5], 0.25, atol=1e-5)

    def test_an_atse_without_data_is_the_prior(self, shared):
        unseen = np.flatnonzero(np.bincount(shared.atse) > 2)[0]
        gone = (shared.atse[shared.reads.column.long()] == unseen).numpy()
        none = MultinomialEntries(
            shared.reads.keep(torch.from_numpy(~gone)),
            shared.totals.keep(shared.totals.column != unseen),
            shared.atse,
        )
        prior = prior_of(shared)
        fit = fit_em(none, start_of(none, 2), prior, concentration=5.0, n_iterations=60)
        of = shared.atse == unseen
        want = prior.mean[of, None].expand(-1, 2)
        np.testing.assert_allclose(fit.psi[of], want, atol=1e-3)

    def test_cells_without_data_have_the_prevalence(self, entries):
        none = entries.keep(entries.rows() != 4)
        prevalence = torch.tensor([0.7, 0.3])
        start = inference.waypoints(none, 2, 0).start
        fit = fit_em(none, start, prior_of(none), concentration=5.0, prevalence=prevalence)
        np.testing.assert_allclose(fit.phi[4], prevalence, atol=1e-5)

    def test_stops_when_converged_and_calls_back(self, entries):
        seen = []
        fit = fit_em(
            entries,
            inference.waypoints(entries, 2, 0).start,
            prior_of(entries),
            concentration=5.0,
            prevalence=torch.tensor([0.5, 0.5]),
            n_iterations=500,
            tolerance=1e-5,
            callback=lambda used, value: seen.append((used, value)),
            **FIXED,
        )
        assert fit.converged
        used, values = np.transpose(seen)
        assert used[0] == 1
        assert set(np.diff(used)) <= {2, 3}
        assert used[-1] < 300
        np.testing.assert_array_equal(values, fit.objective[:-1])

    @pytest.mark.parametrize(("n_iterations", "converged"), [(15, False), (1000, True)])
    def test_no_convergence_before_hyperparameters_are_refitted(
        self, entries, n_iterations, converged
    ):
        start = inference.waypoints(entries, 2, 0).start
        fit = fit_em(
            entries,
            start,
            prior_of(entries, "mixture"),
            concentration=5.0,
            tolerance=1e-2,  # every step is that small
            n_iterations=n_iterations,
        )
        assert fit.converged is converged
        assert not converged or 15 < len(fit.objective) < 20

    @pytest.mark.parametrize("n_iterations", [0, 1, 2])
    @pytest.mark.parametrize("dispersion", ["global", "junction"])
    def test_few_iterations(self, entries, n_iterations, dispersion):
        start = start_of(entries, 2)
        fit = fit_em(
            entries,
            start,
            prior_of(entries),
            concentration=5.0,
            dispersion=dispersion,
            n_iterations=n_iterations,
        )
        assert len(fit.objective) == 1 + (n_iterations > 1)
        assert not fit.converged
        assert fit.concentration.shape == (
            () if dispersion == "global" else (entries.n_junctions,)
        )
        assert (n_iterations > 1) != torch.allclose(fit.phi, start.phi)

    @pytest.mark.parametrize("dispersion", ["global", "junction"])
    def test_in_how_many_parts_changes_nothing(self, entries, dispersion):
        start = inference.waypoints(entries, 3, 0).start
        given = entries, start, prior_of(entries, "mixture")
        whole = fit_em(*given, concentration=10.0, dispersion=dispersion, n_iterations=80)
        run = EMRun(*given, concentration=10.0, dispersion=dispersion)
        for n in (1, 20, 21, 60, 80):
            run.advance(n)
            run.set_entries(None)
            run.set_entries(entries)
            run.result(n_draws=1)  # reads out and changes nothing
        parts = run.result()
        assert parts.objective == whole.objective
        assert parts.converged == whole.converged
        for name in ("phi", "psi", "concentration", "prevalence"):
            assert torch.equal(getattr(parts, name), getattr(whole, name)), name

    def test_given_concentrations_are_kept_until_such_are_fitted(self, entries):
        start = inference.waypoints(entries, 3, 0).start
        given = torch.linspace(5, 50, entries.n_junctions)
        run = EMRun(entries, start, prior_of(entries), concentration=given, dispersion="junction")
        run.advance(16)  # before the third fit of the hyperparameters
        assert torch.equal(run.concentration, given)
        run.advance(40)
        assert not torch.equal(run.concentration, given)

    def test_the_initialization_is_unchanged(self, entries):
        start = inference.waypoints(entries, 2, 0).start
        phi, psi = start.phi.clone(), start.psi.clone()
        fit_em(entries, start, prior_of(entries), concentration=5.0, n_iterations=9)
        assert torch.equal(start.phi, phi)
        assert torch.equal(start.psi, psi)


@pytest.fixture(scope="module")
def planted():
    """Two programs, and kappas from 1 to 50 of 120 junctions; one kappa in ``common``."""
    rng = np.random.default_rng(0)
    phi, psi = rng.dirichlet(0.4 * np.ones(2), 250), rng.beta(0.8, 0.8, (120, 2))
    p = (phi @ psi.T).clip(1e-3, 1 - 1e-3)
    n = (1 + rng.poisson(12, p.shape)) * (rng.random(p.shape) < 0.6)
    kappa = np.exp(rng.permutation(np.linspace(0, np.log(50), 120)))

    def draw(kappa):
        return rng.binomial(n, rng.beta(kappa * p, kappa * (1 - p)))

    return n, kappa, draw(kappa), draw(np.full(120, 8.0))


class TestConcentration:
    @pytest.mark.parametrize("likelihood", ["betabinomial", "dirichlet-multinomial"])
    @pytest.mark.parametrize("kappa", [2.0, 20.0])
    def test_one_for_all_is_near_the_truth(self, kappa, likelihood):
        adata = lfa.datasets.simulate_splicing(
            250, 60, 2, coverage=0.5, likelihood=likelihood, concentration=kappa, seed=4
        )
        plain, atse = lfa.data.observed_entries(adata), atse_codes(adata)
        start, entries = inference.waypoints(plain, 2, 0, atse).start, plain
        if likelihood != "betabinomial":
            entries = multinomial_entries(plain, atse)
            start = start._replace(psi=inference.normalized_programs(start.psi, entries))
        fit = fit_em(entries, start, prior_of(entries, "mixture"), concentration=10.0)
        assert float(fit.concentration) == pytest.approx(kappa, rel=0.12)

    def fitted(self, y, n, **options):
        entries = entries_of(y, n)
        return fit_em(
            entries,
            inference.waypoints(entries, 2, 0).start,
            prior_of(entries, "mixture"),
            concentration=10.0,
            dispersion="junction",
            **options,
        )

    def test_one_for_each_junction_is_near_the_truth(self, planted):
        n, kappa, y, _ = planted
        fit = self.fitted(y, n)
        logs = fit.concentration.log().numpy()
        assert np.corrcoef(logs, np.log(kappa))[0, 1] > 0.8
        assert (logs - np.log(kappa)).mean() == pytest.approx(0, abs=0.25)
        assert fit.concentration_spread == pytest.approx(np.log(kappa).std(), rel=0.25)

    def test_a_common_concentration_is_distinguished_from_noise(self, planted):
        n, _, _, y = planted
        fit = self.fitted(y, n)
        assert fit.concentration_spread < 0.35
        assert float(fit.concentration.log().mean().exp()) == pytest.approx(8, rel=0.2)

    def test_a_seed_repeats(self, planted):
        n, _, y, _ = planted
        state = torch.get_rng_state()
        first, again = (self.fitted(y, n, n_iterations=20) for _ in range(2))
        assert torch.equal(first.concentration, again.concentration)
        assert torch.equal(torch.get_rng_state(), state)

    def test_one_for_each_atse(self, shared):
        start = start_of(shared, 2)
        fit = fit_em(shared, start, prior_of(shared), concentration=10.0, dispersion="junction")
        assert fit.concentration.shape == (shared.n_atses,)
        assert fit.concentration_spread > 0

    def test_given_concentrations_are_fixed(self, entries):
        kappa = torch.linspace(1, 30, entries.n_junctions)
        start = start_of(entries, 2)
        fit = fit_em(
            entries, start, prior_of(entries), concentration=kappa, learn_concentration=False
        )
        assert torch.equal(fit.concentration, kappa)
        learned = fit_em(
            entries,
            start,
            prior_of(entries),
            concentration=kappa,
            dispersion="junction",
            n_iterations=3,
        )
        assert learned.concentration.shape == kappa.shape
