"""What the model is for: planted programs are found, and real cell types show in activities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scvi
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import leafletfa_scvi as lfa

PSI_BOUND, PHI_BOUND = 0.75, 0.88


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


def test_values_are_right_and_not_only_their_pattern(recovered):
    adata = recovered.adata
    order = correlations(recovered, adata)[0]["learned"].to_numpy()
    psi = recovered.get_splicing_programs().to_numpy()[:, order]
    phi = recovered.get_latent_representation()[:, order]
    assert np.abs(psi - adata.varm["psi_true"]).mean() < 0.07
    assert np.abs(phi - adata.obsm["phi_true"]).mean() < 0.08
    expected = adata.obsm["phi_true"] @ adata.varm["psi_true"].T
    assert np.abs(recovered.get_normalized_splicing(return_numpy=True) - expected).mean() < 0.05


def test_imputed_psi_beats_the_junction_mean_where_nothing_was_read(recovered):
    adata = recovered.adata
    missing = (adata.layers["cell_by_cluster_matrix"].toarray() == 0) & adata.var[
        "differs"
    ].to_numpy()
    expected = adata.obsm["phi_true"] @ adata.varm["psi_true"].T
    error = recovered.get_normalized_splicing(return_numpy=True) - expected
    mean_error = expected.mean(0) - expected
    assert (error[missing] ** 2).mean() < 0.25 * (mean_error[missing] ** 2).mean()


def test_shared_parameters_are_recovered(recovered):
    summary = recovered.posterior_summary()
    assert summary.loc["kappa", "mean"] == pytest.approx(20.0, rel=0.15)
    order = correlations(recovered, recovered.adata)[0]["learned"].to_numpy()
    prevalence = recovered.get_program_prevalence().to_numpy()[order]
    truth = recovered.adata.obsm["phi_true"].mean(0)
    np.testing.assert_allclose(prevalence, truth, atol=0.12)


def test_intervals_of_psi_cover_the_truth_about_as_often_as_they_say(recovered):
    order = correlations(recovered, recovered.adata)[0]["learned"].to_numpy()
    truth = recovered.adata.varm["psi_true"]
    lower, upper = (x.to_numpy()[:, order] for x in recovered.get_credible_intervals("psi", 0.9))
    assert 0.8 < ((lower <= truth) & (truth <= upper)).mean() < 0.97


def test_real_cell_types_show_in_the_activities(chen, fit):
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
    assert (predicted == kind).mean() > chance + 0.15
