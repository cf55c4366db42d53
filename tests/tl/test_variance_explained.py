"""Variance that programs explain, in a fit and for the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.tl import variance_explained


@pytest.fixture(scope="module")
def fitted(fit):
    adata = lfa.datasets.simulate_splicing(
        300, 60, 3, coverage=0.5, concentration=np.inf, frac_differential=0.5, seed=3
    )
    model = fit(adata, 3, method="em", max_epochs=None, em_iterations=100)
    return adata, model, variance_explained(model)


def test_shares_are_those_of_the_expected_psi(fitted):
    adata, model, result = fitted
    y = adata.layers["cell_by_junction_matrix"].toarray().astype(float)
    n = adata.layers["cell_by_cluster_matrix"].toarray().astype(float)
    p = model.get_normalized_splicing(return_numpy=True)
    mean = y.sum(0) / n.sum(0)
    with np.errstate(invalid="ignore"):
        psi = np.where(n > 0, y / n, 0)
    total, residual = (n * (psi - mean) ** 2).sum(0), (n * (psi - p) ** 2).sum(0)
    found = result.junctions
    assert list(found.index) == list(adata.var_names)
    np.testing.assert_allclose(found["explained"], 1 - residual / total, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["variance"], total / n.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(found["n_reads"], n.sum(0))
    np.testing.assert_array_equal(found["n_entries"], (n > 0).sum(0))
    assert result.total["explained"] == pytest.approx(1 - residual.sum() / total.sum(), rel=1e-4)
    atse = adata.var["atse_id"].to_numpy()
    for name in atse[:5]:
        own = atse == name
        expected = 1 - residual[own].sum() / total[own].sum()
        assert result.atses.loc[name, "explained"] == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert result.atses.loc[name, "n_junctions"] == own.sum()


def test_parts_of_programs_sum_to_what_is_explained(fitted):
    _, model, result = fitted
    for table in (result.junctions, result.atses):
        np.testing.assert_allclose(
            table[model.program_names].sum(1), table["explained"], atol=1e-6
        )
    assert list(result.programs.index) == model.program_names
    assert result.programs.sum() == pytest.approx(result.total["explained"])
    assert (result.programs > 0.01).all()


def test_atses_that_differ_are_explained_and_the_rest_is_noise(fitted):
    adata, _, result = fitted
    differs = adata.var.groupby("atse_id")["differs"].first().reindex(result.atses.index)
    assert result.atses.loc[differs, "explained"].median() > 0.3
    assert result.atses.loc[~differs, "explained"].median() < 0.1
    assert result.atses.loc[~differs, "noise"].median() == pytest.approx(1.0, abs=0.1)
    assert result.total["explained"] < 0.8
    assert result.total["explained_of_rest"] == pytest.approx(1.0, abs=0.12)


def test_junctions_without_reads_or_variation_have_no_share(fit, small):
    for layer in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
        dense = small.layers[layer].toarray()
        first = small.var["atse_id"] == small.var["atse_id"].iloc[0]
        dense[:, first] = 0
        small.layers[layer] = dense
    del small.var["atse_id"]
    with pytest.warns(UserWarning, match="no observed entry"):
        model = fit(small, 2, method="em", max_epochs=None, em_iterations=100)
    result = variance_explained(model)
    y = small.layers["cell_by_junction_matrix"]
    n = small.layers["cell_by_cluster_matrix"]
    varies = [len(np.unique(y[n[:, j] > 0, j] / n[n[:, j] > 0, j])) > 1 for j in range(y.shape[1])]
    assert not any(np.array(varies)[first])
    np.testing.assert_array_equal(result.junctions["explained"].notna(), varies)
    assert result.atses is None
    assert isinstance(result.total, pd.Series)


def test_models_that_are_not_ready(small, tmp_path, fit):
    lfa.LeafletFAModel.setup_anndata(small)
    with pytest.raises(RuntimeError, match="not trained"):
        variance_explained(lfa.LeafletFAModel(small, 2))
