from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import main


@pytest.fixture
def run(capsys):
    """Run the command: exit code, stdout, stderr."""

    def run(*args) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Folder of a data set of 3 + 3 donors whose groups differ, and of a model fitted to it."""
    folder = tmp_path_factory.mktemp("fitted")
    adata = lfa.datasets.simulate_cohort(
        (3, 3), n_cells=150, n_atses=60, n_programs=2, coverage=0.6, shift=0.6, seed=1
    )
    adata.obs["part"] = pd.Categorical(np.arange(adata.n_obs) % 4)
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=2)
    model.train(method="em", accelerator="cpu")
    model.export_posterior(adata)
    model.save(folder / "model")
    for key in [key for key in adata.uns if key.startswith("_scvi")]:
        del adata.uns[key]
    adata.write_h5ad(folder / "data.h5ad")
    return folder


@pytest.fixture
def data(folder, tmp_path) -> Path:
    """Copy of the data set of ``folder``."""
    return Path(shutil.copy(folder / "data.h5ad", tmp_path / "data.h5ad"))
