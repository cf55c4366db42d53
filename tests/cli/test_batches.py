"""Batches on the command line."""

from __future__ import annotations

import anndata
import pytest

import leafletfa_scvi as lfa

FAST = ("-k", 2, "--method", "em", "--accelerator", "cpu")


@pytest.fixture
def data(tmp_path):
    adata = lfa.datasets.simulate_splicing(120, 40, 2, coverage=0.6, n_batches=2, frac_batch=0.3)
    adata.write_h5ad(tmp_path / "data.h5ad")
    return tmp_path / "data.h5ad"


def test_fit_save_and_query(data, run, tmp_path):
    output, folder = tmp_path / "fitted.h5ad", tmp_path / "model"
    code, out, err = run(
        "fit", data, "-o", output, "--save-model", folder, "--batch", "batch", *FAST
    )
    assert code == 0, err
    assert "Junctions that they shift" in out
    fitted = anndata.read_h5ad(output)
    model = lfa.LeafletFAModel.load(folder, adata=fitted)
    assert model.batch_names == ["batch_0", "batch_1"]
    assert model.get_batch_effects()["shift"].abs().max() > 0.5
    placed = tmp_path / "placed.h5ad"
    code, _, err = run("query", data, "--reference", folder, "-o", placed)
    assert code == 0, err
    assert anndata.read_h5ad(placed).obsm["X_PHI"].shape == (120, 2)


def test_choose_k(data, run, tmp_path):
    code, _, err = run(
        "choose-k", data, "-k", "2", "--seeds", 1, "--batch", "batch", "--accelerator", "cpu",
        "-o", tmp_path / "k",
    )  # fmt: skip
    assert code == 0, err


def test_a_missing_column_is_refused(data, run, tmp_path):
    code, _, err = run("fit", data, "-o", tmp_path / "x.h5ad", "--batch", "plate", *FAST)
    assert code != 0
    assert "Expected batches in adata.obs['plate'], found no such column" in " ".join(err.split())
    assert not (tmp_path / "x.h5ad").exists()
