"""Recovery of planted programs, and of real cell types from activities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scvi
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import leafletfa_scvi as lfa

PSI_BOUND, PHI_BOUND = 0.9, 0.92


def correlations(model, adata):
    psi = lfa.tl.match_programs(adata.varm["psi_true"], model.get_splicing_programs().to_numpy())
    phi = lfa.tl.match_programs(adata.obsm["phi_true"], model.get_latent_representation())
    return psi, phi


def test_all_planted_programs_are_found(recovered):
    psi, phi = correlations(recovered, recovered.adata)
    assert psi["correlation"].min() > PSI_BOUND
    assert phi["correlation"].min() > PHI_BOUND
    assert psi["learned"].tolist() == phi["learned"].tolist()


def test_a_model_that_learns_nothing_fails_the_same_bounds(recovered):
    adata = recovered.adata.copy()
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=4)
    quiet = {"accelerator": "cpu", "enable_progress_bar": False}
    model.train(max_epochs=1, init="random", em_iterations=0, **quiet)
    psi, phi = correlations(model, adata)
    assert psi["correlation"].max() < PSI_BOUND - 0.2
    assert phi["correlation"].max() < PHI_BOUND - 0.2


def test_values_are_correct_and_not_only_their_order(recovered):
    adata = recovered.adata
    order = correlations(recovered, adata)[0]["learned"].to_numpy()
    psi = recovered.get_splicing_programs().to_numpy()[:, order]
    phi = recovered.get_latent_representation()[:, order]
    assert np.abs(psi - adata.varm["psi_true"]).mean() < 0.035
    assert np.abs(phi - adata.obsm["phi_true"]).mean() < 0.07
    expected = adata.obsm["phi_true"] @ adata.varm["psi_true"].T
    assert np.abs(recovered.get_normalized_splicing(return_numpy=True) - expected).mean() < 0.03


def test_imputed_psi_is_better_than_the_junction_mean(recovered):
    adata = recovered.adata
    missing = (adata.layers["cell_by_cluster_matrix"].toarray() == 0) & adata.var[
        "differs"
    ].to_numpy()
    expected = adata.obsm["phi_true"] @ adata.varm["psi_true"].T
    error = recovered.get_normalized_splicing(return_numpy=True) - expected
    mean_error = expected.mean(0) - expected
    assert (error[missing] ** 2).mean() < 0.25 * (mean_error[missing] ** 2).mean()


def test_global_parameters_are_recovered(recovered):
    summary = recovered.posterior_summary()
    assert summary.loc["kappa_median", "mean"] == pytest.approx(20.0, rel=0.1)
    assert summary.loc["kappa_spread", "mean"] < 0.35  # all junctions have the same
    order = correlations(recovered, recovered.adata)[0]["learned"].to_numpy()
    prevalence = recovered.get_program_prevalence().to_numpy()[order]
    truth = recovered.adata.obsm["phi_true"].mean(0)
    np.testing.assert_allclose(prevalence, truth, atol=0.1)


@pytest.fixture(scope="module")
def point_estimate(recovered):
    """The same data, by EM alone."""
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(recovered.adata)
    model = lfa.LeafletFAModel(recovered.adata, n_programs=4)
    model.train(method="em", accelerator="cpu")
    return model


def covered(model, parameter, truth):
    """Find true values within the intervals of 90 %."""
    order = correlations(model, model.adata)[0]["learned"].to_numpy()
    lower, upper = (x.to_numpy()[:, order] for x in model.get_credible_intervals(parameter, 0.9))
    return (lower <= truth) & (truth <= upper)


@pytest.mark.parametrize("name", ["recovered", "point_estimate"])
def test_coverage_of_intervals_is_near_nominal(name, request):
    """Although the simulated junctions of an ATSE share their reads, which the model ignores."""
    model = request.getfixturevalue(name)
    adata = model.adata
    psi = covered(model, "psi", adata.varm["psi_true"])
    assert 0.85 <= psi.mean() < 0.97
    assert psi[adata.var["differs"].to_numpy()].mean() >= 0.8
    truth = adata.obsm["phi_true"]
    phi = covered(model, "phi", truth)
    assert 0.8 <= phi.mean() < 0.97
    assert 0.78 <= phi[(truth > 0.05) & (truth < 0.95)].mean() < 0.97


def test_the_point_estimate_finds_the_same_programs(point_estimate, recovered):
    psi, phi = correlations(point_estimate, recovered.adata)
    assert psi["correlation"].min() > PSI_BOUND
    assert phi["correlation"].min() > PHI_BOUND


def test_every_program_is_recovered_at_low_coverage():
    """7 % of (cell, ATSE) pairs are observed: 21 ATSEs in a cell."""
    adata = lfa.datasets.simulate_splicing(
        800, 300, 6, coverage=0.07, frac_differential=0.4, seed=1
    )
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=6)
    model.train(method="em", accelerator="cpu")
    psi, phi = correlations(model, adata)
    assert psi["correlation"].min() > 0.6
    assert phi["correlation"].min() > 0.75
    assert psi["learned"].tolist() == phi["learned"].tolist()
    assert model.get_cell_activities().mean().min() > 0.08


def test_activities_separate_real_cell_types(chen, fit):
    total = chen.layers["cell_by_cluster_matrix"]
    coverage = pd.Series(np.asarray((total > 0).sum(0)).ravel(), chen.var["atse_id"].to_numpy())
    atses = coverage.groupby(level=0).max().nlargest(800).index
    some = chen[:, chen.var["atse_id"].isin(atses).to_numpy()].copy()
    model = fit(some, 6, max_epochs=15, em_iterations=60)
    assert np.isfinite(model.get_elbo(5))
    features = np.log(model.get_latent_representation() + 1e-3)
    kind = some.obs["cell_type"].to_numpy()
    predicted = cross_val_predict(LogisticRegression(C=10, max_iter=1000), features, kind, cv=5)
    chance = pd.Series(kind).value_counts(normalize=True).max()
    right = predicted == kind
    assert right.mean() > 0.67 > chance + 0.25
    assert right[kind == "Motor neuron"].mean() > 0.8
