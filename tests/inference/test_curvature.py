"""Information about activities and programs, and the widths made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import entries_of
from helpers.likelihood import random_atses, random_factors

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import (
    beta_from_curvature,
    dirichlet_from_curvature,
    information,
    program_prior,
)
from leafletfa_scvi.inference._curvature import draw_from_curvature
from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries, multinomial_entries
from leafletfa_scvi.ops._reference import MISASSIGNMENT_RATE


def factors_of(phi, psi, kappa):
    """Factors in float32."""
    kappa = None if kappa is None else torch.as_tensor(kappa).float()
    return Factors(phi.float(), psi.float(), kappa)


@pytest.fixture(scope="module")
def problem():
    adata = lfa.datasets.simulate_splicing(25, 12, 3, coverage=0.5, seed=0)
    rng = np.random.default_rng(0)
    phi = rng.dirichlet(np.ones(3), 25)
    psi = rng.random((adata.n_vars, 3))
    n = adata.layers["cell_by_cluster_matrix"].toarray()
    return lfa.data.observed_entries(adata), phi, psi, n


@pytest.mark.parametrize("kappa", [None, 0.7, 12.0, "junction"])
def test_information_is_the_dense_sum(problem, kappa):
    entries, phi, psi, n = problem
    own = np.broadcast_to(np.inf if kappa is None else 1.0 if kappa == "junction" else kappa, 99)
    if kappa == "junction":
        own = np.random.default_rng(1).uniform(0.5, 20, entries.n_junctions)
        kappa = torch.from_numpy(own).float()
    activity, program = np.zeros_like(phi), np.zeros_like(psi)
    for c, j in np.argwhere(n > 0):
        p = MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * phi[c] @ psi[j]
        w = n[c, j] / (p * (1 - p))
        if kappa is not None:
            w *= (own[j] + 1) / (own[j] + n[c, j])
        activity[c] += w * (psi[j] - p) ** 2
        program[j] += w * phi[c] ** 2
    found = information(entries, factors_of(torch.from_numpy(phi), torch.from_numpy(psi), kappa))
    np.testing.assert_allclose(found.activity, activity, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.program, program, rtol=1e-4)


@pytest.mark.parametrize("kappa", [None, 3.0, "atse"])
def test_information_of_shared_reads_is_the_dense_sum(kappa):
    """Junctions with reads alone: y / p^2 for activities, y / (p^2 q) for programs."""
    entries, atse = random_atses(15, 20, 0.6, 7, seed=1)
    entries = multinomial_entries(entries, atse)
    own = np.full(entries.n_atses, np.inf if kappa is None else 3.0)
    if kappa == "atse":
        own = np.random.default_rng(1).uniform(0.5, 20, entries.n_atses)
        kappa = torch.from_numpy(own).float()
    phi, psi = random_factors(entries, 3, seed=2)
    psi = (psi + 0.02).clamp(max=0.9)
    f, s = phi.numpy(), psi.numpy()
    activity, program = np.zeros(phi.shape), np.zeros(psi.shape)
    reads = entries.reads
    for c, j, y, n in zip(reads.rows(), reads.column, reads.count, reads.total, strict=True):
        p = MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * f[c] @ s[j]
        k, y, n = own[entries.atse[j]], float(y), float(n)
        w = y / p**2 * (1.0 if kappa is None else (k + 1) / (k + n))
        activity[c] += w * (s[j] - p) ** 2
        program[j] += w / (1 - p) * f[c] ** 2
    found = information(entries, factors_of(phi, psi, kappa))
    np.testing.assert_allclose(found.activity, activity, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.program, program, rtol=1e-4)


def test_information_of_shared_reads_is_that_of_margins_on_average():
    """The second junction of an ATSE of two adds nothing to the first: half of the sum."""
    rng = np.random.default_rng(0)
    phi = torch.from_numpy(rng.dirichlet(np.ones(2), 4000)).float()
    psi = torch.tensor([[0.8, 0.3], [0.2, 0.7]])
    n = rng.integers(1, 9, 4000)
    y = rng.binomial(n, (phi @ psi[0]).numpy())
    entries = entries_of(np.c_[y, n - y], np.c_[n, n])
    shared = multinomial_entries(entries, torch.tensor([0, 0]))
    assert isinstance(shared, MultinomialEntries)
    apart, together = (information(e, Factors(phi, psi)) for e in (entries, shared))
    ratio = together.activity.sum() / apart.activity.sum()
    assert ratio == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(together.program, apart.program, rtol=0.08)


def test_blocks_of_cells_add_up(problem, monkeypatch):
    entries, phi, psi, _ = problem
    phi, psi = torch.from_numpy(phi).float(), torch.from_numpy(psi).float()
    whole = information(entries, factors_of(phi, psi, 5.0))
    original = ObservedEntries.blocks
    monkeypatch.setattr(ObservedEntries, "blocks", lambda self, _: original(self, 40))
    parts = information(entries, factors_of(phi, psi, 5.0))
    assert len(list(entries.blocks(0))) > 3
    np.testing.assert_allclose(parts.activity, whole.activity, rtol=1e-5)
    np.testing.assert_allclose(parts.program, whole.program, rtol=1e-5)


def test_the_binomial_information_of_one_program_gives_the_variance_of_a_mean():
    """K = 1, phi = 1: psi is a binomial share, whose posterior is known."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 9, (40, 1))
    y = rng.binomial(n, 0.3)
    entries = ObservedEntries(
        torch.arange(41),
        torch.zeros(40, dtype=torch.int32),
        torch.from_numpy(y[:, 0]).float(),
        torch.from_numpy(n[:, 0]).float(),
        1,
    )
    psi = torch.tensor([[float(y.sum() / n.sum())]])
    info = information(entries, Factors(torch.ones(40, 1), psi)).program
    a, b = beta_from_curvature(psi, info, torch.zeros(1, 1))
    posterior = torch.distributions.Beta(a, b)
    variance = psi * (1 - psi) / n.sum()
    assert float(posterior.variance) == pytest.approx(float(variance), rel=0.02)
    assert float(posterior.mean) == pytest.approx(float(psi), abs=0.002)


def test_dirichlet_precision_by_hand_and_its_bounds():
    phi = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])
    info = torch.tensor([[40.0, 20.0, 60.0], [1e9] * 3, [0.0] * 3])
    alpha = torch.tensor([0.5, 0.3, 0.2])
    found = dirichlet_from_curvature(phi, info, alpha)
    spread = 0.7 * 0.3 + 0.2 * 0.8 + 0.1 * 0.9
    precision = (0.49 * 40 + 0.04 * 20 + 0.01 * 60) / spread + 1
    np.testing.assert_allclose(found[0], alpha + precision * phi[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], alpha + 300 * phi[1], rtol=1e-5)
    np.testing.assert_allclose(found[2], alpha + 3 * phi[2], rtol=1e-5)


def test_beta_precision_by_hand_and_its_bounds():
    psi = torch.tensor([[0.2], [0.5], [0.5]])
    info = torch.tensor([[100.0], [1e9], [0.0]])
    a, b = beta_from_curvature(psi, info, torch.tensor([[2.0], [2.0], [0.1]]))
    h = np.array([0.16 * 100 + 2, 400, 1])
    np.testing.assert_allclose(a[:, 0], 0.1 + h * [0.2, 0.5, 0.5], rtol=1e-5)
    np.testing.assert_allclose(b[:, 0], 0.1 + h * [0.8, 0.5, 0.5], rtol=1e-5)


class TestDraws:
    @pytest.fixture
    def drawn(self, problem):
        def draw(shared, seed=0, n_draws=400):
            entries, phi, _, _ = problem
            prior = program_prior("junction", torch.full((entries.n_junctions,), 0.3))
            if shared:
                entries, atse = random_atses(25, 20, 0.6, 7, seed=1)
                entries = multinomial_entries(entries, atse)
                usage = torch.full((entries.n_junctions,), 0.3)
                prior = program_prior("junction", usage, entries.atse, True)
            _, psi = random_factors(entries, 3, seed=2, dtype=torch.float32)
            given = entries, factors_of(torch.from_numpy(phi), psi, 5.0)
            alpha = torch.full((3,), 0.2)
            return given, draw_from_curvature(*given, alpha, prior, n_draws, seed), alpha, prior

        return draw

    def test_moments_are_those_of_the_curvature(self, drawn):
        (entries, factors), draws, alpha, _ = drawn(False)
        info = information(entries, factors)
        rows = dirichlet_from_curvature(factors.phi, info.activity, alpha)
        a, b = beta_from_curvature(factors.psi, info.program, torch.tensor([[3.0]]))
        want = {"phi": torch.distributions.Dirichlet(rows), "psi": torch.distributions.Beta(a, b)}
        for name, law in want.items():
            found = torch.stack([getattr(one, name) for one in draws])
            assert (found.mean(0) - law.mean).abs().max() < 0.06
            np.testing.assert_allclose(found.var(0).sum(), law.variance.sum(), rtol=0.05)

    def test_shared_reads_sum_to_one(self, drawn):
        (entries, factors), draws, _, _ = drawn(True)
        for draw in draws[:5]:
            sums = torch.zeros(entries.n_atses, 3).index_add_(0, entries.atse, draw.psi)
            np.testing.assert_allclose(sums, 1, rtol=1e-5)
            np.testing.assert_allclose(draw.phi.sum(1), 1, rtol=1e-5)
        mean = torch.stack([draw.psi for draw in draws]).mean(0)
        assert np.corrcoef(mean.flatten(), factors.psi.flatten())[0, 1] > 0.9

    def test_seeds_and_the_global_state(self, drawn):
        state = torch.get_rng_state()
        first, again, other = (drawn(False, seed, 2)[1] for seed in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(first[1].phi, again[1].phi)
        assert torch.equal(first[1].psi, again[1].psi)
        assert not torch.equal(first[0].psi, first[1].psi)
        assert not torch.equal(first[0].psi, other[0].psi)
