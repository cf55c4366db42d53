"""Posterior means, intervals and likelihoods against independent computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import beta, betabinom, binom

from leafletfa_scvi.ops._reference import MISASSIGNMENT_RATE

pytestmark = pytest.mark.filterwarnings("ignore:.*no observed entry:UserWarning")
JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


def counts(adata):
    return adata.layers[JUNCTION].toarray(), adata.layers[CLUSTER].toarray()


def kappas(model):
    """Mean concentration of each junction, log-normal in the guide."""
    state = model.module.state_dict()
    loc, scale = (state[f"_guide.kappa.{x}"].double().numpy() for x in ("loc", "log_scale"))
    return np.exp(loc + np.exp(scale) ** 2 / 2)


@pytest.fixture
def expected(trained):
    return trained.get_latent_representation() @ trained.get_splicing_programs().to_numpy().T


@pytest.fixture
def shrunk(trained, expected):
    y, n = counts(trained.adata)
    kappa = kappas(trained)
    return (kappa * expected + y) / (kappa + n)


class TestPrograms:
    def test_shape_names_and_range(self, trained):
        psi = trained.get_splicing_programs()
        assert psi.shape == (137, 3)
        assert list(psi.index) == list(trained.adata.var_names)
        assert list(psi.columns) == ["SP_1", "SP_2", "SP_3"] == trained.program_names
        assert ((psi > 0) & (psi < 1)).all(axis=None)

    def test_prevalence_is_descending_and_sums_to_one(self, trained):
        prevalence = trained.get_program_prevalence()
        assert list(prevalence.index) == trained.program_names
        assert prevalence.is_monotonic_decreasing
        assert prevalence.sum() == pytest.approx(1, abs=1e-5)

    def test_programs_of_high_prevalence_have_high_activities(self, recovered):
        activity = recovered.get_cell_activities().mean()
        assert activity.is_monotonic_decreasing
        np.testing.assert_allclose(recovered.get_program_prevalence(), activity, atol=0.12)

    @pytest.mark.parametrize("seed", range(3))
    def test_order_is_by_prevalence_for_any_initialization(self, small, fit, seed):
        model = fit(small, 5, seed=seed, max_epochs=3, init="random")
        assert model.get_program_prevalence().is_monotonic_decreasing


class TestNormalizedSplicing:
    def test_is_phi_times_psi(self, trained, expected):
        found = trained.get_normalized_splicing()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert list(found.index) == list(trained.adata.obs_names)
        assert list(found.columns) == list(trained.adata.var_names)
        array = trained.get_normalized_splicing(return_numpy=True)
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, found)

    def test_shrunk_towards_the_cells_own_reads(self, trained, shrunk, expected):
        found = trained.get_normalized_splicing(shrink=True, return_numpy=True)
        np.testing.assert_allclose(found, shrunk, atol=1e-5)
        _, n = counts(trained.adata)
        np.testing.assert_allclose(found[n == 0], expected[n == 0], atol=1e-6)
        assert np.abs(found - expected)[n > 0].max() > 0.1

    def test_the_binomial_does_not_shrink(self, small, fit):
        model = fit(small, 2, max_epochs=2, options={"likelihood": "binomial"})
        plain = model.get_normalized_splicing()
        pd.testing.assert_frame_equal(model.get_normalized_splicing(shrink=True), plain)

    @pytest.mark.parametrize("shrink", [False, True])
    def test_observed_only_is_the_table_at_observed_entries(self, trained, shrink):
        dense = trained.get_normalized_splicing(shrink=shrink, return_numpy=True)
        sparse = trained.get_normalized_splicing(shrink=shrink, observed_only=True)
        assert isinstance(sparse, sp.csr_matrix)
        _, n = counts(trained.adata)
        stored = sp.csr_matrix((np.ones(sparse.nnz), sparse.indices, sparse.indptr), sparse.shape)
        np.testing.assert_array_equal(stored.toarray() > 0, n > 0)
        np.testing.assert_allclose(sparse.toarray(), np.where(n > 0, dense, 0), atol=1e-5)

    @pytest.mark.parametrize("shrink", [False, True])
    @pytest.mark.parametrize("at", [[3], [90, 2, 11], list(range(136, -1, -1)), [5, 9, 5], []])
    def test_junctions_in_the_requested_order(self, trained, at, shrink):
        names = trained.junction_names[at]
        dense = trained.get_normalized_splicing(shrink=shrink)
        found = trained.get_normalized_splicing(junction_list=list(names), shrink=shrink)
        pd.testing.assert_frame_equal(found, dense.iloc[:, at], rtol=1e-4)
        sparse = trained.get_normalized_splicing(
            junction_list=names, shrink=shrink, observed_only=True
        )
        _, n = counts(trained.adata)
        want = np.where(n > 0, dense, 0)[:, at]
        np.testing.assert_allclose(sparse.toarray(), want, atol=1e-5)

    def test_one_junction_by_its_name_alone(self, trained):
        name = trained.junction_names[8]
        assert list(trained.get_normalized_splicing(junction_list=name).columns) == [name]

    def test_an_unknown_junction_is_named(self, trained):
        with pytest.raises(KeyError, match=r"1 of 2 junctions.*'nowhere'"):
            trained.get_normalized_splicing(junction_list=[trained.junction_names[0], "nowhere"])

    @pytest.mark.parametrize("shrink", [False, True])
    def test_requested_cells(self, trained, gaps, shrink):
        options = {"shrink": shrink, "junction_list": trained.junction_names[[7, 1]]}
        whole = trained.get_normalized_splicing(**options)
        for data in (None, gaps):
            found = trained.get_normalized_splicing(data, [30, 4], **options)
            pd.testing.assert_frame_equal(found, whole.iloc[[30, 4]])
        some = gaps[[8, 2, 3]].copy()
        pd.testing.assert_frame_equal(
            trained.get_normalized_splicing(some, **options), whole.iloc[[8, 2, 3]]
        )

    def test_new_cells_are_shrunk_towards_their_own_reads(self, trained, gaps):
        some = gaps[20:30].copy()
        some.obs_names = [f"new_{i}" for i in range(10)]
        phi = trained.get_latent_representation(some)
        y, n = counts(some)
        kappa = kappas(trained)
        p = phi @ trained.get_splicing_programs().to_numpy().T
        found = trained.get_normalized_splicing(some, shrink=True)
        np.testing.assert_allclose(found, (kappa * p + y) / (kappa + n), atol=1e-5)


class TestCredibleIntervals:
    @pytest.mark.parametrize("parameter", ["psi", "phi"])
    def test_ordered_nested_and_around_the_median(self, trained, parameter):
        inner = trained.get_credible_intervals(parameter, 0.5)
        outer = trained.get_credible_intervals(parameter, 0.95)
        psi = parameter == "psi"
        mean = trained.get_splicing_programs() if psi else trained.get_cell_activities()
        for interval in (inner, outer):
            assert interval.lower.index.equals(mean.index)
            assert interval.upper.columns.equals(mean.columns)
        assert (outer.lower <= inner.lower).all(axis=None)
        assert (inner.upper <= outer.upper).all(axis=None)
        assert (inner.lower < inner.upper).all(axis=None)
        assert (outer.lower >= 0).all(axis=None)
        assert (outer.upper <= 1).all(axis=None)
        assert ((outer.lower <= mean) & (mean <= outer.upper)).all(axis=None)

    @pytest.mark.parametrize("level", [0.5, 0.9])
    @pytest.mark.parametrize("parameter", ["psi", "phi"])
    def test_ends_are_quantiles_of_the_wider_of_two_posteriors(self, trained, parameter, level):
        """A Beta of the posterior mean, and the variance of the guide or of the curvature."""
        state = {k: v.double().numpy() for k, v in trained.module.state_dict().items()}
        if parameter == "psi":
            a, b = (np.exp(state[f"_guide.psi_log_{k}"]) for k in ("inclusion", "exclusion"))
        else:
            a = np.exp(state["_guide.phi_log"])
            b = a.sum(1, keepdims=True) - a
        guide, curvature = beta(a, b), state[f"_guide.{parameter}_variance"]
        mean, variance = guide.mean(), np.maximum(guide.var(), curvature)
        assert (curvature > 1.1 * guide.var()).mean() > 0.1
        if parameter == "psi":  # of which some are known less well by the guide
            assert (curvature < 0.9 * guide.var()).mean() > 0.05
        least = 0.1 / np.minimum(mean, 1 - mean)  # neither parameter is lowered below 0.1
        size = np.maximum(mean * (1 - mean) / variance - 1, least)
        size = np.minimum(size, a + b)
        wide = beta(size * mean, size * (1 - mean))
        lower, upper = (x.to_numpy() for x in trained.get_credible_intervals(parameter, level))
        tail = (1 - level) / 2
        np.testing.assert_allclose(upper, wide.ppf(1 - tail), rtol=1e-3, atol=1e-4)
        near = np.zeros(mean.shape, bool)
        if parameter == "phi":  # two standard deviations
            near = mean < 2 * wide.std()
            assert near.any()
            assert (lower[near & (mean < 1.99 * wide.std())] == 0).all()
            near |= mean < 2.01 * wide.std()
        want = wide.ppf(tail)
        np.testing.assert_allclose(lower[~near], want[~near], rtol=1e-3, atol=1e-4)

    def test_intervals_of_phi_follow_the_requested_cells(self, trained, gaps):
        whole = trained.get_credible_intervals("phi", 0.8)
        for some in (
            trained.get_credible_intervals("phi", 0.8, indices=[9, 1]),
            trained.get_credible_intervals("phi", 0.8, adata=gaps[[9, 1]].copy()),
        ):
            pd.testing.assert_frame_equal(some.lower, whole.lower.iloc[[9, 1]])
            pd.testing.assert_frame_equal(some.upper, whole.upper.iloc[[9, 1]])

    def test_a_cell_with_more_reads_has_narrower_intervals(self, trained):
        lower, upper = trained.get_credible_intervals("phi")
        width = (upper - lower).mean(axis=1).to_numpy()
        entries = (counts(trained.adata)[1] > 0).sum(1)
        assert width[entries == 0] > np.quantile(width, 0.95)
        assert np.corrcoef(width, entries)[0, 1] < -0.2

    @pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 90])
    def test_a_level_out_of_range(self, trained, level):
        with pytest.raises(ValueError, match="level"):
            trained.get_credible_intervals("psi", level)
        with pytest.raises(ValueError, match="level"):
            trained.posterior_summary(level)

    def test_an_unknown_parameter(self, trained):
        with pytest.raises(ValueError, match="'psi' or 'phi'"):
            trained.get_credible_intervals("kappa")


class TestLogLikelihood:
    def by_hand(self, model, adata, activities):
        psi = model.get_splicing_programs().to_numpy(np.float64)
        y, n = counts(adata)
        mean = activities.astype(np.float64) @ psi.T
        p = MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * mean
        q = MISASSIGNMENT_RATE + (1 - 2 * MISASSIGNMENT_RATE) * (1 - mean)
        kappa = model.module.site_mean("kappa")
        if kappa is None:
            value = binom.logpmf(y, n, p)
        else:
            value = betabinom.logpmf(y, n, kappas(model) * p, kappas(model) * q)
        return np.where(n > 0, value, 0).sum(1)

    def test_is_the_sum_of_beta_binomial_terms(self, trained):
        found = trained.get_log_likelihood()
        want = self.by_hand(trained, trained.adata, trained.get_latent_representation())
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-3)
        assert found.index.equals(trained.adata.obs_names.astype(object))
        assert found.iloc[7] == 0

    def test_is_the_sum_of_binomial_terms(self, small, fit):
        model = fit(small, 2, max_epochs=2, options={"likelihood": "binomial"})
        want = self.by_hand(model, small, model.get_latent_representation())
        np.testing.assert_allclose(model.get_log_likelihood(), want, rtol=1e-4, atol=1e-3)

    def test_new_cells_and_selected_cells(self, trained, gaps):
        whole = trained.get_log_likelihood()
        pd.testing.assert_series_equal(
            trained.get_log_likelihood(gaps, [4, 2]), whole.iloc[[4, 2]]
        )
        gaps.obs_names = [f"new_{i}" for i in range(90)]
        want = self.by_hand(trained, gaps, trained.get_latent_representation(gaps))
        np.testing.assert_allclose(trained.get_log_likelihood(gaps), want, rtol=1e-4, atol=1e-3)
