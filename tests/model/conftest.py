"""Models that tests may read but not change."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import leafletfa_scvi as lfa

EMPTY_CELL = 7
LAYERS = ("cell_by_junction_matrix", "cell_by_cluster_matrix")


@pytest.fixture(scope="session")
def _gaps():
    adata = lfa.datasets.simulate_splicing(90, 40, 3, coverage=0.4, frac_differential=0.6, seed=3)
    unseen = (adata.var["atse_id"] == adata.var["atse_id"].iloc[4]).to_numpy()
    for name in LAYERS:
        dense = adata.layers[name].toarray()
        dense[EMPTY_CELL] = 0
        dense[:, unseen] = 0
        adata.layers[name] = sp.csr_matrix(dense)
    adata.var["unseen"] = unseen
    adata.obs["half"] = np.where(np.arange(90) < 45, "first", "second")
    return adata


@pytest.fixture
def gaps(_gaps):
    """90 simulated cells, one of them empty; junctions of one ATSE, ``var["unseen"]``, too."""
    return _gaps.copy()


@pytest.fixture(scope="session")
def _clear():
    return lfa.datasets.simulate_splicing(80, 60, 2, coverage=0.5, frac_differential=0.7, seed=1)


@pytest.fixture
def clear(_clear):
    """80 simulated cells of 2 programs that a short fit finds; tests may modify the copy."""
    return _clear.copy()


@pytest.fixture(scope="session")
def trained(_gaps, fit):
    """Model of 3 programs of the cells of ``gaps``; for reading only."""
    return fit(_gaps.copy(), 3, max_epochs=100)


@pytest.fixture(scope="session")
def recovered():
    """400 cells with 4 clear programs, fitted with the defaults; for reading only."""
    import scvi

    adata = lfa.datasets.simulate_splicing(
        400, 160, 4, coverage=0.3, frac_differential=0.4, activity_concentration=0.8, seed=0
    )
    scvi.settings.seed = 0
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=4)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model
