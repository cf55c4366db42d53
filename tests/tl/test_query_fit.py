"""Whether query cells belong to the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom, binom, kstest

import leafletfa_scvi as lfa
from leafletfa_scvi.model._cells import cell_posterior
from leafletfa_scvi.tl._cell_fit import (
    _leave_out,
    _predictive_concentration,
    cell_fit,
    squared_residual_variance,
)
from leafletfa_scvi.tl._expected_log_likelihood import ExpectedLogLikelihood

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


class TestExpectedLogLikelihood:
    @pytest.mark.parametrize("total", [1, 2, 7, 33, 400])
    def test_mean_is_the_sum_over_all_counts(self, total):
        rng = np.random.default_rng(total)
        p, kappa = rng.uniform(0.001, 0.999, 40), np.exp(rng.uniform(-1, 8, 40))
        n = np.full(40, float(total))
        mean = ExpectedLogLikelihood(500).mean(n, p, kappa)
        for i in range(40):
            law = betabinom(total, kappa[i] * p[i], kappa[i] * (1 - p[i]))
            value = law.logpmf(np.arange(total + 1))
            assert mean[i] == pytest.approx(np.exp(value) @ value, abs=0.01)

    def test_values_do_not_depend_on_the_largest_total(self):
        rng = np.random.default_rng(0)
        n, p = rng.integers(1, 21, 500).astype(float), rng.uniform(0.001, 0.999, 500)
        kappa = np.exp(rng.uniform(-1, 8, 500))
        alone = ExpectedLogLikelihood(20).mean(n, p, kappa)
        for others in (25, 60, 400):
            among = ExpectedLogLikelihood(others).mean(n, p, kappa)
            np.testing.assert_allclose(among, alone, atol=2e-5)

    def test_binomial_and_more_reads_than_the_grid(self):
        n = np.array([50.0, 6_000.0, 6_000.0])
        mean = ExpectedLogLikelihood(6_000).mean(
            n, np.array([0.3, 0.3, 0.3]), np.array([np.inf, np.inf, 10.0])
        )
        laws = binom(50, 0.3), binom(6_000, 0.3), betabinom(6_000, 3.0, 7.0)
        want = [np.exp(v) @ v for v in (w.logpmf(np.arange(w.args[0] + 1)) for w in laws)]
        np.testing.assert_allclose(mean, want, atol=0.02)


def test_variance_of_squared_residuals():
    rng = np.random.default_rng(0)
    n, p, kappa = rng.integers(1, 60, 50), rng.uniform(0.01, 0.99, 50), rng.uniform(0.5, 90, 50)
    found = squared_residual_variance(n.astype(float), p, kappa)
    for i in range(50):
        law = betabinom(n[i], kappa[i] * p[i], kappa[i] * (1 - p[i]))
        y = np.arange(n[i] + 1)
        square = (y - law.mean()) ** 2 / law.var()
        assert found[i] == pytest.approx(law.pmf(y) @ (square - 1) ** 2, rel=1e-6, abs=1e-9)
    found = squared_residual_variance(np.array([9.0]), np.array([0.2]), np.array([np.inf]))
    assert found[0] == pytest.approx(binom(9, 0.2).stats("k") + 2, rel=1e-4)


class TestLeaveOut:
    def test_it_undoes_the_update_of_a_conjugate_posterior(self):
        """Binomial counts and one program: the posterior without the cell is known."""
        rng = np.random.default_rng(0)
        n = rng.integers(1, 9, 200).astype(float)
        before = rng.uniform(5, 60, (2, 200))
        y = rng.binomial(n.astype(int), rng.beta(*before)).astype(float)
        a, b = before[0] + y, before[1] + n - y
        p, spread = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
        left, left_spread = _leave_out(y, n, p, spread, np.full(200, np.inf))
        # The Beta(a, b) has the variance of a + b + 1 reads, so that n of them are h = n / that.
        want = before[0] / before.sum(0)
        assert np.abs(left - want).max() < 0.1 * np.abs(p - want).max()
        np.testing.assert_allclose(
            left_spread, want * (1 - want) / (before.sum(0) + 1), rtol=0.35, atol=2e-3
        )

    def test_what_is_left_is_a_probability(self):
        y, n = np.array([5.0, 0.0, 5.0]), np.array([5.0, 5.0, 5.0])
        p, spread = np.array([0.01, 0.99, 0.999]), np.array([0.009, 0.009, 0.1])
        left, left_spread = _leave_out(y, n, p, spread, np.full(3, 20.0))
        assert ((left > 0) & (left < 1)).all()
        assert np.isfinite(left_spread).all()

    def test_predictive_concentration_has_the_variance_of_a_mixture(self):
        rng = np.random.default_rng(0)
        p, spread, kappa = 0.3, 0.004, 12.0
        size = p * (1 - p) / spread - 1
        each = rng.beta(size * p, size * (1 - p), 400_000)
        psi = rng.beta(kappa * each, kappa * (1 - each))
        found = _predictive_concentration(np.array([p]), np.array([spread]), np.array([kappa]))
        assert psi.var() == pytest.approx(p * (1 - p) / (found[0] + 1), rel=0.02)


@pytest.fixture(scope="module")
def planted(fit):
    """Reference of two of three programs, and new cells of all three."""
    adata = lfa.datasets.simulate_splicing(
        560, 100, 3, coverage=0.5, frac_differential=0.7, activity_concentration=0.1, seed=2
    )
    phi = adata.obsm["phi_true"]
    missing = phi[:, 2] > 0.6
    belongs = np.flatnonzero(phi[:, 2] < 0.05)
    half = len(belongs) // 2
    reference = fit(adata[belongs[:half]].copy(), 2, max_epochs=40)
    cells = np.r_[belongs[half:], np.flatnonzero(missing)]
    new = adata[cells].copy()
    new.obs["missing"] = missing[cells]
    query = lfa.LeafletFAModel.load_query_data(new, reference)
    query.train(max_epochs=20, **QUIET)
    return reference, query


class TestQueryFit:
    def test_cells_of_a_missing_program_are_found_and_others_are_not(self, planted):
        reference, query = planted
        found = lfa.tl.query_fit(query, reference=reference)
        missing = query.adata.obs["missing"].to_numpy()
        assert missing.sum() > 30
        assert (~missing).sum() > 100
        assert (found["p_value"] < 0.05)[missing].mean() > 0.9
        assert (found["p_value"] < 0.05)[~missing].mean() < 0.12
        assert found["z"][missing].median() > found["z"][~missing].quantile(0.95)
        assert found.attrs["calibration"] == "reference cells"
        assert found.attrs["n_reference_cells"] == reference.adata.n_obs
        assert kstest(found["p_value"][~missing], "uniform").pvalue > 1e-4

    def test_own_reads_of_reference_cells_are_taken_out(self, planted):
        """Then these cells fit as new ones do; with their own reads they fit better."""
        reference, query = planted
        cells = cell_posterior(reference, None, None)
        left_out = cell_fit(reference, cells)
        kept = cell_fit(reference, replace(cells, position=np.full(len(cells.names), -1)))
        assert (kept["log_likelihood"] > left_out["log_likelihood"]).mean() > 0.9
        new = lfa.tl.query_fit(query)["z"][~query.adata.obs["missing"].to_numpy()].mean()
        z, biased = ((x["excess"] / x["sd"]).mean() for x in (left_out, kept))
        assert abs(z - new) < abs(biased - new)

    def test_log_likelihoods(self, planted):
        reference, query = planted
        found = lfa.tl.query_fit(query)
        assert found.attrs["calibration"] == "posterior predictive"
        fits = ~query.adata.obs["missing"].to_numpy()
        assert (found["log_likelihood"] > found["null_log_likelihood"])[fits].mean() > 0.8
        assert abs(found["z"][fits].median()) < 1.0
        counts = query.adata.layers["cell_by_junction_matrix"].sum(1)
        np.testing.assert_array_equal(found["n_reads"], np.asarray(counts).ravel())
        observed = (query.adata.layers["cell_by_cluster_matrix"] > 0).sum(1)
        np.testing.assert_array_equal(found["n_observed"], np.asarray(observed).ravel())
        assert list(found.index) == list(query.adata.obs_names)

    def test_a_cell_does_not_depend_on_others(self, planted):
        reference, query = planted
        all_cells = lfa.tl.query_fit(reference, query.adata)
        few = lfa.tl.query_fit(reference, query.adata[[7, 3]].copy())
        pd.testing.assert_frame_equal(few, all_cells.iloc[[7, 3]], rtol=1e-3)

    def test_cells_without_reads_have_no_p_value(self, planted):
        reference, query = planted
        new = query.adata[:5].copy()
        for layer in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
            dense = new.layers[layer].toarray()
            dense[2] = 0
            new.layers[layer] = type(new.layers[layer])(dense)
        found = lfa.tl.query_fit(reference, new)
        assert found["n_observed"].iloc[2] == 0
        assert list(found["p_value"].isna()) == [False, False, True, False, False]
        assert found["z"].isna().sum() == 1

    def test_reference_cells_are_drawn_if_there_are_many(self, planted):
        reference, query = planted
        found = lfa.tl.query_fit(query, reference=reference, n_reference_cells=50)
        assert found.attrs["n_reference_cells"] == 50
        assert found["p_value"].min() >= 1 / 51

    def test_a_reference_made_from_programs_has_no_cells(self, planted):
        reference, query = planted
        model = lfa.LeafletFAModel.from_programs(
            reference.get_splicing_programs(),
            prevalence=reference.get_program_prevalence(),
            concentration=5.0,
            activity_concentration=1.0,
        )
        found = lfa.tl.query_fit(model, query.adata)
        assert found.attrs["calibration"] == "posterior predictive"
        with pytest.raises(ValueError, match="made from programs and has none. Leave reference"):
            lfa.tl.query_fit(query, reference=model)

    def test_saved_reference_without_data(self, planted, tmp_path):
        reference, query = planted
        reference.save(str(tmp_path / "model"))
        loaded = lfa.LeafletFAModel.load(str(tmp_path / "model"), adata=False)
        found = lfa.tl.query_fit(loaded, query.adata)
        assert found.attrs["calibration"] == "posterior predictive"
        with pytest.raises(ValueError, match="Expected reference with its AnnData"):
            lfa.tl.query_fit(query, reference=loaded)
        with pytest.raises(ValueError, match="Expected adata"):
            lfa.tl.query_fit(loaded)

    def test_errors(self, planted, fit):
        reference, query = planted
        with pytest.raises(TypeError, match="Expected query_model to be a LeafletFAModel"):
            lfa.tl.query_fit(query.adata)
        with pytest.raises(TypeError, match="Expected reference to be a LeafletFAModel"):
            lfa.tl.query_fit(query, reference=query.adata)
        with pytest.raises(TypeError, match="Expected adata to be an AnnData"):
            lfa.tl.query_fit(query, "cells.h5ad")
        with pytest.raises(ValueError, match="n_reference_cells"):
            lfa.tl.query_fit(query, reference=reference, n_reference_cells=3)
        other = fit(query.adata[:60].copy(), 3)
        with pytest.raises(ValueError, match="same programs, found 3 and 2"):
            lfa.tl.query_fit(query, reference=other)
        extended = lfa.LeafletFAModel.load_query_data(
            query.adata.copy(), reference, n_extra_programs=1
        )
        extended.train(max_epochs=1, **QUIET)
        with pytest.raises(ValueError, match="query_model has 1 more, which were learned from"):
            lfa.tl.query_fit(extended, reference=reference)
        assert lfa.tl.query_fit(extended).attrs["calibration"] == "posterior predictive"
        untrained = lfa.LeafletFAModel.load_query_data(query.adata.copy(), reference)
        with pytest.raises(RuntimeError, match="not trained"):
            lfa.tl.query_fit(untrained, reference=reference)
