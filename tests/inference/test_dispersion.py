"""Concentrations, one for all junctions or one for each, from planted ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.entries import atse_codes, entries_of
from helpers.likelihood import random_atses
from scipy.stats import betabinom

import leafletfa_scvi as lfa
from leafletfa_scvi.inference import _dispersion, fit_concentration
from leafletfa_scvi.inference._dispersion import fit_junction_dispersion, sample_cells
from leafletfa_scvi.likelihoods import Factors
from leafletfa_scvi.ops import multinomial_entries
from leafletfa_scvi.ops._reference import log_likelihood


def simulated(kappa, likelihood="betabinomial", n_cells=150):
    adata = lfa.datasets.simulate_splicing(
        n_cells, 60, 2, coverage=0.5, likelihood=likelihood, concentration=kappa, seed=4
    )
    phi, psi = (
        torch.from_numpy(x).float() for x in (adata.obsm["phi_true"], adata.varm["psi_true"])
    )
    entries = lfa.data.observed_entries(adata)
    if likelihood != "betabinomial":
        entries = multinomial_entries(entries, atse_codes(adata))
        assert entries.n_junctions == len(psi)
    return entries, phi, psi


class TestOneForAll:
    @pytest.mark.parametrize("likelihood", ["betabinomial", "dirichlet-multinomial"])
    @pytest.mark.parametrize("kappa", [1.0, 8.0, 60.0])
    def test_is_recovered(self, kappa, likelihood):
        found = fit_concentration(*simulated(kappa, likelihood))
        assert found == pytest.approx(kappa, rel=0.1)

    def test_is_the_maximum_of_the_likelihood(self):
        entries, phi, psi = simulated(8.0)
        found = fit_concentration(entries, phi, psi)
        row, column = entries.rows().numpy(), entries.column.numpy()
        p = (phi.double().numpy()[row] * psi.double().numpy()[column]).sum(1)
        p = 1e-6 + (1 - 2e-6) * p
        y, n = entries.count.numpy(), entries.total.numpy()

        def value(kappa):
            return betabinom.logpmf(y, n, kappa * p, kappa * (1 - p)).sum()

        assert value(found) > max(value(found * 0.95), value(found * 1.05))

    def test_without_overdispersion_it_is_large(self):
        assert fit_concentration(*simulated(np.inf)) > 500

    def test_a_sample_of_many_entries_suffices(self, monkeypatch):
        given = simulated(8.0, n_cells=200)
        monkeypatch.setattr(_dispersion, "_MAX_ENTRIES", 5000)
        monkeypatch.setattr(_dispersion, "_MIN_CELLS", 10)
        some, again, other = (fit_concentration(*given, seed) for seed in (0, 0, 1))
        assert some == again != other
        assert some == pytest.approx(8.0, rel=0.2)


def test_some_of_the_cells():
    entries, _, _ = simulated(8.0, n_cells=400)
    assert sample_cells(entries, entries.n_entries, 0) is None
    assert sample_cells(entries.select(torch.arange(200)), 100, 0) is None
    some, again, other = (sample_cells(entries, 0.7 * entries.n_entries, s) for s in (0, 0, 1))
    assert len(some) == pytest.approx(280, abs=1)
    assert len(sample_cells(entries, 100, 0)) == 256
    assert (some.diff() > 0).all()
    assert torch.equal(some, again)
    assert not torch.equal(some, other)


def drawn(log_kappa, n_cells, seed=0):
    """Beta-binomial counts of one program, each junction with its own concentration."""
    rng = np.random.default_rng(seed)
    kappa, n_junctions = np.exp(log_kappa), len(log_kappa)
    psi = rng.uniform(0.15, 0.85, n_junctions)
    n = (1 + rng.poisson(14, (n_cells, n_junctions))) * (rng.random((n_cells, n_junctions)) < 0.6)
    y = rng.binomial(n, rng.beta(kappa * psi, kappa * (1 - psi), n.shape))
    one = Factors(torch.ones(n_cells, 1), torch.from_numpy(psi)[:, None].float())
    return entries_of(y, n), [one]


class TestOneForEach:
    def test_planted_from_1_to_50(self):
        """With 90 cells a junction, logs are known to about 0.25."""
        planted = np.random.default_rng(1).permutation(np.log(np.geomspace(1, 50, 120)))
        found = fit_junction_dispersion(*drawn(planted, 150), 5.0)
        log_found = found.kappa.double().log().numpy()
        assert np.corrcoef(log_found, planted)[0, 1] > 0.9
        assert np.abs(log_found - planted).mean() < 0.4
        assert found.spread == pytest.approx(planted.std(), rel=0.15)
        assert np.log(found.median) == pytest.approx(planted.mean(), abs=0.2)

    def test_a_spread_that_was_drawn(self):
        log_kappa = np.random.default_rng(2).normal(np.log(8), 0.6, 200)
        found = fit_junction_dispersion(*drawn(log_kappa, 100), 8.0)
        assert found.spread == pytest.approx(0.6, rel=0.2)
        assert found.median == pytest.approx(8, rel=0.15)

    def test_a_common_one(self):
        found = fit_junction_dispersion(*drawn(np.full(150, np.log(8)), 100), 30.0)
        assert found.spread < 0.25
        assert found.kappa.log().std() < 0.15
        assert found.median == pytest.approx(8, rel=0.1)

    def test_few_reads_shrink_to_the_median(self):
        log_kappa = np.random.default_rng(2).normal(np.log(8), 0.8, 150)
        entries, draws = drawn(log_kappa, 80)
        rare = entries.column < 75
        keep = ~rare | (entries.rows() < 4)
        found = fit_junction_dispersion(entries.keep(keep), draws, 8.0)
        logs = found.kappa.log()
        assert logs[:75].std() < 0.6 * logs[75:].std()

    def test_a_junction_without_reads_has_the_median(self):
        entries, draws = drawn(np.random.default_rng(0).normal(np.log(8), 0.6, 60), 80)
        entries = entries.keep((entries.column != 3) & (entries.column != 40))
        found = fit_junction_dispersion(entries, draws, 8.0)
        np.testing.assert_allclose(found.kappa[[3, 40]], found.median, rtol=0.02)

    def test_single_reads_are_not_informative(self):
        entries, draws = drawn(np.zeros(5), 20)
        one = entries_of(np.ones((20, 5)) * (np.arange(5) > 2), np.ones((20, 5)))
        found = fit_junction_dispersion(one, draws, 7.0)
        np.testing.assert_allclose(found.kappa, 7.0, rtol=0.02)

    def test_profiles_are_the_log_likelihood(self, monkeypatch):
        """Up to a constant, by float64, between the knots too."""
        seen = {}
        original = _dispersion._posterior

        def watch(profile, grid, *args):
            seen["profile"], seen["grid"] = profile, grid
            return original(profile, grid, *args)

        monkeypatch.setattr(_dispersion, "_posterior", watch)
        entries, draws = drawn(np.random.default_rng(0).normal(1.5, 1, 8), 60)
        fit_junction_dispersion(entries, draws, 5.0)
        grid = seen["grid"]
        psi = draws[0].psi.double()
        want = np.zeros((len(grid), 8))
        p = (1e-6 + (1 - 2e-6) * psi[:, 0]).numpy()[entries.column]
        for i, x in enumerate(np.exp(grid)):
            each = betabinom.logpmf(entries.count, entries.total, x * p, x * (1 - p))
            np.add.at(want[i], entries.column.numpy(), each)
        found = seen["profile"] - seen["profile"].max(0)
        want -= want.max(0)
        near = want > -10
        np.testing.assert_allclose(found[near], want[near], atol=0.1)

    def test_draws_are_averaged(self):
        entries, (one,) = drawn(np.random.default_rng(0).normal(1.5, 1, 30), 60)
        first = fit_junction_dispersion(entries, [one], 5.0)
        twice = fit_junction_dispersion(entries, [one, one], 5.0)
        np.testing.assert_allclose(first.kappa, twice.kappa, rtol=1e-4)
        other = Factors(one.phi, one.psi * 0.7)
        mixed = fit_junction_dispersion(entries, [one, other], 5.0)
        worse = fit_junction_dispersion(entries, [other], 5.0)
        assert worse.median < mixed.median < first.median

    def test_one_for_each_atse(self):
        """The Dirichlet-multinomial: concentrations from 1 to 55."""
        rng = np.random.default_rng(0)
        n_atses, n_cells = 80, 120
        kappa = np.exp(rng.permutation(np.linspace(0, 4, n_atses)))
        atse = np.arange(n_atses).repeat(3)
        psi = rng.dirichlet(2 * np.ones(3), n_atses)
        n = (1 + rng.poisson(12, (n_cells, n_atses))) * (rng.random((n_cells, n_atses)) < 0.7)
        share = np.stack([rng.dirichlet(kappa[a] * psi[a], n_cells) for a in range(n_atses)], 1)
        y = rng.multinomial(n, share).reshape(n_cells, -1)
        gathered = multinomial_entries(entries_of(y, n.repeat(3, 1)), torch.from_numpy(atse))
        draws = [Factors(torch.ones(n_cells, 1), torch.from_numpy(psi).reshape(-1, 1).float())]
        found = fit_junction_dispersion(gathered, draws, 5.0)
        assert found.kappa.shape == (n_atses,)
        assert np.corrcoef(found.kappa.log(), np.log(kappa))[0, 1] > 0.9
        assert found.spread == pytest.approx(np.log(kappa).std(), rel=0.2)


def test_by_atse_where_atses_are_scattered():
    """Each ATSE's best kappa is that of its own likelihood, in float64."""
    entries, atse = random_atses(150, 12, 0.9, 12, seed=3)
    gathered = multinomial_entries(entries, atse)
    generator = torch.Generator().manual_seed(0)
    psi = torch.rand(gathered.n_junctions, 1, generator=generator, dtype=torch.float64) + 0.2
    sums = torch.zeros(gathered.n_atses, 1, dtype=torch.float64).index_add_(0, gathered.atse, psi)
    psi = psi / sums[gathered.atse]
    phi = torch.ones(150, 1, dtype=torch.float64)
    found = fit_junction_dispersion(gathered, [Factors(phi.float(), psi.float())], 3.0)
    several = torch.bincount(gathered.atse) > 1
    base = found.kappa.double()
    for a in several.nonzero().flatten():
        values = []
        for factor in (0.5, 1.0, 2.0):
            kappa = base.clone()
            kappa[a] *= factor
            prior = -0.5 * ((kappa[a].log() - np.log(found.median)) / found.spread) ** 2
            values.append(float(log_likelihood(gathered, phi, psi, kappa).sum() + prior))
        assert values[1] > max(values[0], values[2])
