from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from leafletfa_scvi._constants import CELL_METRICS, JUNCTION_METRICS
from leafletfa_scvi.pp._counts import splicing_from_counts
from leafletfa_scvi.pp.qc._metrics import qc_metrics

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"

COUNTS = np.array([[3, 1, 0, 0, 0], [0, 2, 0, 4, 0], [0, 0, 0, 0, 0]])


@pytest.fixture
def adata():
    return splicing_from_counts(COUNTS, ["p", "p", "q", "q", "r"])


def test_known_answer(adata):
    assert qc_metrics(adata) is None
    obs, var = adata.obs, adata.var
    assert obs["n_junctions"].tolist() == [2, 2, 0]
    assert obs["junction_reads"].tolist() == [4, 6, 0]
    assert obs["n_atses"].tolist() == [1, 2, 0]
    assert obs["atse_reads"].tolist() == [4, 6, 0]
    assert obs["reads_per_atse"].tolist()[:2] == [4, 3]
    assert np.isnan(obs["reads_per_atse"].iloc[2])
    np.testing.assert_allclose(obs["pct_atses_observed"], [100 / 3, 200 / 3, 0])
    assert var["n_cells"].tolist() == [1, 2, 0, 1, 0]
    assert var["reads"].tolist() == [3, 3, 0, 4, 0]
    np.testing.assert_allclose(var["mean_psi"], [0.375, 0.625, 0, 1, np.nan])
    np.testing.assert_allclose(var["pooled_psi"], [0.5, 0.5, 0, 1, np.nan])
    assert var["atse_n_cells"].tolist() == [2, 2, 1, 1, 0]
    assert var["atse_reads"].tolist() == [6, 6, 4, 4, 0]
    assert var["atse_n_junctions"].tolist() == [2, 2, 2, 2, 1]
    np.testing.assert_allclose(var["atse_entropy"], [1, 1, 0, 0, np.nan])
    np.testing.assert_allclose(var["atse_minor_usage"], [0.5, 0.5, 0, 0, np.nan])
    assert list(JUNCTION_METRICS) == [name for name in var if name != "atse_id"]


def test_tables_are_returned(adata):
    before = adata.copy()
    obs, var = qc_metrics(adata, inplace=False)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    qc_metrics(adata)
    qc_metrics(adata)  # again, over its own columns
    pd.testing.assert_frame_equal(adata.obs[list(obs)], obs)
    assert [name for name in CELL_METRICS if name != "pct_reads_known"] == list(obs)
    pd.testing.assert_frame_equal(adata.var[list(var)], var)


def test_junction_counts_alone():
    var = pd.DataFrame({"known_junction": [True, False, True, True, True]})
    var.index = [f"j{i}" for i in range(5)]
    adata = anndata.AnnData(sp.csr_matrix(COUNTS), var=var)
    qc_metrics(adata)
    assert list(adata.obs) == ["n_junctions", "junction_reads", "pct_reads_known"]
    assert list(adata.var) == ["known_junction", "n_cells", "reads"]
    np.testing.assert_allclose(adata.obs["pct_reads_known"], [75, 200 / 3, np.nan])


def test_against_dense_sums(small):
    rng = np.random.default_rng(0)
    small = small[:, rng.permutation(small.n_vars)].copy()
    y, n = (small.layers[name].toarray().astype(float) for name in (JUNCTION, CLUSTER))
    for layout in (sp.csr_matrix, sp.csc_matrix, np.asarray):
        small.layers[JUNCTION], small.layers[CLUSTER] = layout(y), layout(n)
        obs, var = qc_metrics(small, inplace=False)
        first = ~small.var["atse_id"].duplicated().to_numpy()
        np.testing.assert_array_equal(obs["n_atses"], (n[:, first] > 0).sum(1))
        np.testing.assert_array_equal(obs["atse_reads"], n[:, first].sum(1))
        np.testing.assert_array_equal(obs["junction_reads"], y.sum(1))
        psi = np.where(n > 0, y / np.maximum(n, 1), np.nan)
        np.testing.assert_allclose(var["mean_psi"], np.nanmean(psi, axis=0))
        np.testing.assert_allclose(var["pooled_psi"], y.sum(0) / n.sum(0))
        np.testing.assert_array_equal(var["atse_n_cells"], (n > 0).sum(0))


def test_saving(small, tmp_path):
    qc_metrics(small)
    small.write_h5ad(tmp_path / "a.h5ad")
    assert set(JUNCTION_METRICS) <= set(anndata.read_h5ad(tmp_path / "a.h5ad").var)


def test_errors(adata):
    with pytest.raises(KeyError, match="'cluster' is missing"):
        qc_metrics(adata, atse_key="cluster")
    adata.layers[JUNCTION] = adata.layers[JUNCTION] * 0.3
    with pytest.raises(ValueError, match=f"layers.'{JUNCTION}'. holds the fractional value"):
        qc_metrics(adata)
    with pytest.raises(ValueError, match="found none of these"):
        qc_metrics(anndata.AnnData(obs=adata.obs, var=adata.var))


def test_chen(chen):
    obs, var = qc_metrics(chen, inplace=False)
    assert (obs["atse_reads"] == obs["junction_reads"]).all()
    assert var["atse_n_junctions"].min() >= 2
    totals = chen.layers[CLUSTER]
    assert var["atse_n_cells"].sum() == (totals.data > 0).sum()
