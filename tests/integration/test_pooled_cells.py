"""Cells that are too sparse to be fitted, pooled by expression and placed on the programs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scvi

import leafletfa_scvi as lfa
from leafletfa_scvi import LeafletFAModel
from leafletfa_scvi._warnings import IdentifiabilityWarning


def fitted(adata):
    scvi.settings.seed = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only .* of all", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*no observed entry", category=UserWarning)
        LeafletFAModel.setup_anndata(adata)
    model = LeafletFAModel(adata, 3)
    model.train(method="em", accelerator="cpu")
    return model


def correlation(truth, found):
    return lfa.tl.match_programs(truth, np.asarray(found))["correlation"].mean()


def test_programs_of_metacells_are_found_where_those_of_cells_are_not():
    cells = lfa.datasets.simulate_splicing(
        2500, 150, 3, coverage=0.025, mean_depth=2, frac_differential=0.4, seed=0
    )
    phi, psi = cells.obsm["phi_true"], cells.varm["psi_true"]
    rng = np.random.default_rng(0)
    signal = np.sqrt(phi) @ rng.normal(size=(3, 10))
    cells.obsm["X_pca"] = signal + 0.5 * signal.std(0) * rng.normal(size=signal.shape)

    with pytest.warns(IdentifiabilityWarning, match="expected to correlate"):
        alone = fitted(cells)
    assert correlation(phi, alone.get_cell_activities()) < 0.3

    metacells = lfa.pp.metacells(cells, 30, use_rep="X_pca")
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentifiabilityWarning)
        model = fitted(metacells)
    assert correlation(psi, model.get_splicing_programs()) > 0.6
    members = metacells.uns["splicing"]["metacells"]["cells"]["metacell"]
    assert correlation(phi, model.get_cell_activities().loc[members]) > 0.8

    # The same by labels in obs.
    cells.obs["SEACell"] = members.to_numpy()
    pooled = lfa.pp.pseudobulk(cells, "SEACell")
    y = "cell_by_junction_matrix"
    difference = pooled[metacells.obs_names].layers[y] - metacells.layers[y]
    assert not difference.count_nonzero()

    query = LeafletFAModel.load_query_data(cells, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentifiabilityWarning)
        query.train(accelerator="cpu")
    placed = query.get_cell_activities()
    assert placed.index.equals(cells.obs_names)
    assert correlation(phi, placed) > correlation(phi, alone.get_cell_activities()) + 0.2
