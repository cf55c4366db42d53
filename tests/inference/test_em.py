"""Expected-table EM: its objective, its fixed points and the concentration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import betabinom, binom

import leafletfa_scvi as lfa
from leafletfa_scvi import inference
from leafletfa_scvi.inference import Start, fit_concentration, fit_em
from leafletfa_scvi.ops._reference import LEAK


@pytest.fixture(scope="module")
def adata():
    return lfa.datasets.simulate_splicing(
        60, 30, 3, coverage=0.5, differing=0.6, likelihood="betabinomial", seed=2
    )


@pytest.fixture(scope="module")
def entries(adata):
    return lfa.data.observed_entries(adata)


def prior(entries):
    usage = inference.junction_usage(entries)
    return 3 * usage, 3 * (1 - usage)


def by_hand(entries, phi, psi, kappa, alpha, a, b):
    """Log-likelihood plus log prior in float64, from scipy's densities."""
    phi, psi = (x.double().numpy() for x in (phi, psi))
    row, column = entries.rows().numpy(), entries.column.numpy()
    mean = (phi[row] * psi[column]).sum(1)
    p, q = (LEAK + (1 - 2 * LEAK) * x for x in (mean, 1 - mean))
    y, n = entries.count.double().numpy(), entries.total.double().numpy()
    value = (
        binom.logpmf(y, n, p) if kappa is None else betabinom.logpmf(y, n, kappa * p, kappa * q)
    )
    a, b = (x.double().numpy()[:, None] for x in (a, b))
    prior_phi = (alpha.double().numpy() * np.log(phi)).sum()
    return value.sum() + prior_phi + (a * np.log(psi) + b * np.log1p(-psi)).sum()


class TestObjective:
    @pytest.mark.parametrize("kappa", [None, 0.5, 20.0])
    @pytest.mark.parametrize("n_programs", [1, 3, 7])
    @pytest.mark.parametrize("seed", range(3))
    def test_never_falls(self, entries, kappa, n_programs, seed):
        start = inference.random_start(entries, n_programs, seed)
        prevalence = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(n_programs)))
        fit = fit_em(
            entries,
            start,
            *prior(entries),
            concentration=kappa,
            learn_concentration=False,
            prevalence=prevalence.float(),
            n_iterations=40,
            tolerance=0.0,
        )
        steps = np.diff(fit.objective)
        assert len(steps) == 39
        assert steps.min() > -1e-6 * abs(fit.objective[-1])
        assert fit.objective[-1] > fit.objective[0] + 10
        assert fit.concentration == kappa

    @pytest.mark.parametrize("kappa", [None, 8.0])
    def test_is_the_log_posterior(self, entries, kappa):
        start = inference.random_start(entries, 3, 0)
        prevalence = torch.tensor([0.5, 0.3, 0.2])
        a, b = prior(entries)
        options = {"learn_concentration": False, "prevalence": prevalence, "tolerance": 0.0}
        fits = [
            fit_em(
                entries,
                start,
                a,
                b,
                concentration=kappa,
                activity_concentration=1.7,
                n_iterations=n,
                **options,
            )
            for n in (1, 6, 7)
        ]
        first = by_hand(entries, start.phi, start.psi, kappa, 1.7 * prevalence, a, b)
        assert fits[0].objective[0] == pytest.approx(first, rel=1e-6)
        after = by_hand(entries, fits[1].phi, fits[1].psi, kappa, 1.7 * prevalence, a, b)
        assert fits[2].objective[-1] == pytest.approx(after, rel=1e-6)

    @pytest.mark.parametrize("kappa", [None, 8.0])
    def test_ends_where_the_log_posterior_has_its_maximum(self, entries, kappa):
        """No small step in softmax and logit coordinates is better."""
        entries = entries.select(torch.arange(20))
        entries = entries.keep(torch.arange(entries.n_entries) % 3 == 0)
        a, b = prior(entries)
        prevalence = torch.tensor([0.4, 0.6])
        fit = fit_em(
            entries,
            inference.waypoints(entries, 2, 0),
            a,
            b,
            concentration=kappa,
            learn_concentration=False,
            prevalence=prevalence,
            n_iterations=500,
            tolerance=0.0,
        )
        best = by_hand(entries, fit.phi, fit.psi, kappa, prevalence, a, b)
        rng = np.random.default_rng(0)
        for size in (0.003, 0.03):
            for _ in range(10):
                noise = [torch.from_numpy(rng.normal(size=x.shape)) for x in (fit.phi, fit.psi)]
                phi = torch.softmax(fit.phi.double().log() + size * noise[0], 1)
                psi = torch.sigmoid(torch.logit(fit.psi.double()) + size * noise[1])
                assert by_hand(entries, phi, psi, kappa, prevalence, a, b) < best + 0.02


class TestFit:
    def test_kappa_infinite_is_the_binomial(self, entries):
        start = inference.waypoints(entries, 3, 0)
        binomial, large = (
            fit_em(
                entries,
                start,
                *prior(entries),
                concentration=kappa,
                learn_concentration=False,
                n_iterations=20,
                tolerance=0.0,
            )
            for kappa in (None, 1e5)
        )
        assert binomial.concentration is None
        assert (binomial.phi - large.phi).abs().max() < 0.01
        assert (binomial.psi - large.psi).abs().max() < 0.01

    def test_finds_the_planted_programs(self, adata, entries):
        fit = fit_em(
            entries, inference.waypoints(entries, 3, 0), *prior(entries), concentration=10.0
        )
        match = lfa.tl.match_programs(adata.obsm["phi_true"], fit.phi.numpy())
        assert match["correlation"].min() > 0.9
        np.testing.assert_allclose(fit.phi.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(fit.prevalence, fit.phi.mean(0), atol=1e-6)
        assert fit.concentration == pytest.approx(20, rel=0.6)

    def test_programs_may_be_fixed(self, adata, entries):
        psi = torch.from_numpy(adata.varm["psi_true"]).float()
        flat = torch.full((60, 3), 1 / 3)
        fit = fit_em(
            entries, Start(flat, psi), *prior(entries), concentration=20.0, learn_programs=False
        )
        np.testing.assert_allclose(fit.psi, psi, atol=1e-5)
        correlation = np.corrcoef(fit.phi.flatten(), adata.obsm["phi_true"].ravel())[0, 1]
        assert correlation > 0.95

    def test_one_program_and_no_data_for_a_junction_is_the_prior(self, entries):
        none = entries.keep(entries.column != 5)
        a, b = torch.full((entries.n_junctions,), 2.0), torch.full((entries.n_junctions,), 6.0)
        fit = fit_em(none, inference.waypoints(none, 2, 0), a, b, concentration=5.0)
        np.testing.assert_allclose(fit.psi[5], 0.25, atol=1e-6)

    def test_cells_without_data_have_the_prevalence(self, entries):
        none = entries.keep(entries.rows() != 4)
        prevalence = torch.tensor([0.7, 0.3])
        fit = fit_em(
            none,
            inference.waypoints(none, 2, 0),
            *prior(none),
            concentration=5.0,
            prevalence=prevalence,
        )
        np.testing.assert_allclose(fit.phi[4], prevalence, atol=1e-6)

    def test_stops_when_settled_and_calls_back(self, entries):
        seen = []
        fit = fit_em(
            entries,
            inference.waypoints(entries, 2, 0),
            *prior(entries),
            concentration=5.0,
            learn_concentration=False,
            n_iterations=500,
            tolerance=1e-4,
            callback=lambda i, value: seen.append((i, value)),
        )
        assert 2 < len(fit.objective) < 200
        assert seen == list(enumerate(fit.objective))
        last = np.diff(fit.objective)[-1]
        assert last < 1e-4 * abs(fit.objective[-1])

    def test_the_start_is_left_as_it_was(self, entries):
        start = inference.waypoints(entries, 2, 0)
        phi, psi = start.phi.clone(), start.psi.clone()
        fit_em(entries, start, *prior(entries), concentration=5.0, n_iterations=3)
        assert torch.equal(start.phi, phi)
        assert torch.equal(start.psi, psi)


class TestConcentration:
    @pytest.mark.parametrize("kappa", [1.0, 8.0, 60.0])
    def test_is_recovered(self, kappa):
        adata = lfa.datasets.simulate_splicing(
            150, 60, 2, coverage=0.5, likelihood="betabinomial", concentration=kappa, seed=4
        )
        phi, psi = (
            torch.from_numpy(x).float() for x in (adata.obsm["phi_true"], adata.varm["psi_true"])
        )
        found = fit_concentration(lfa.data.observed_entries(adata), phi, psi)
        assert found == pytest.approx(kappa, rel=0.1)

    def test_is_the_maximum_of_the_likelihood(self, adata, entries):
        phi, psi = (
            torch.from_numpy(x).float() for x in (adata.obsm["phi_true"], adata.varm["psi_true"])
        )
        found = fit_concentration(entries, phi, psi)
        one = torch.ones(entries.n_junctions)
        zero = torch.zeros(3)

        def value(kappa):
            return by_hand(entries, phi, psi, kappa, zero, 0 * one, 0 * one)

        assert value(found) > max(value(found * 0.9), value(found * 1.1))

    def test_of_many_entries_a_part_is_enough(self, monkeypatch):
        adata = lfa.datasets.simulate_splicing(
            200, 60, 2, coverage=0.5, likelihood="betabinomial", concentration=8.0, seed=4
        )
        phi, psi = (
            torch.from_numpy(x).float() for x in (adata.obsm["phi_true"], adata.varm["psi_true"])
        )
        entries = lfa.data.observed_entries(adata)
        monkeypatch.setattr("leafletfa_scvi.inference._em._MAX_ENTRIES_FOR_CONCENTRATION", 5000)
        some, again, other = (fit_concentration(entries, phi, psi, seed) for seed in (0, 0, 1))
        assert some == again != other
        assert some == pytest.approx(8.0, rel=0.2)
