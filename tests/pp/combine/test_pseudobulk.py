from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from leafletfa_scvi.data import check_splicing
from leafletfa_scvi.pp._counts import splicing_from_counts
from leafletfa_scvi.pp.combine._pseudobulk import metacells, pseudobulk

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


def dense(adata):
    return (adata.layers[name].toarray() for name in (JUNCTION, CLUSTER))


@pytest.fixture
def adata():
    counts = [[1, 2, 0, 0], [0, 0, 3, 0], [4, 0, 0, 0], [0, 0, 0, 0], [7, 7, 7, 7]]
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(
                ["b", "a", "b", "c", None], categories=["c", "b", "a", "unused"]
            ),
            "donor": ["d1", "d2", "d1", "d1", "d1"],
            "age": [30, 40, 30, 30, 30],
            "depth": [1.0, 2.0, 3.0, 4.0, 5.0],
        },
        index=list("vwxyz"),
    )
    return splicing_from_counts(counts, ["p", "p", "q", "q"], obs=obs)


def test_known_answer(adata):
    before = adata.copy()
    bulk = pseudobulk(adata, "type")
    assert bulk.obs_names.tolist() == ["c", "b", "a"]
    y, n = dense(bulk)
    assert y.tolist() == [[0, 0, 0, 0], [5, 2, 0, 0], [0, 0, 3, 0]]
    assert n.tolist() == [[0, 0, 0, 0], [7, 7, 0, 0], [0, 0, 3, 3]]
    assert bulk.layers[JUNCTION].nnz == bulk.layers[CLUSTER].nnz == 4
    assert bulk.obs["n_cells"].tolist() == [1, 2, 1]
    assert bulk.obs["type"].tolist() == ["c", "b", "a"]
    assert bulk.obs.columns.tolist() == ["type", "donor", "age", "n_cells"]
    assert bulk.uns["splicing"]["pseudobulk"]["cells_without_group"] == 1
    pd.testing.assert_frame_equal(bulk.var, adata.var)
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_several_columns_and_small_groups(adata, tmp_path):
    bulk = pseudobulk(adata, ["donor", "type"], min_cells=2)
    assert bulk.obs_names.tolist() == ["d1_b"]
    assert bulk.obs["age"].tolist() == [30]
    assert "depth" not in bulk.obs
    record = bulk.uns["splicing"]["pseudobulk"]
    assert (record["groups_dropped"], record["cells_in_groups_dropped"]) == (2, 2)
    bulk.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").obs_names.tolist() == ["d1_b"]


def test_totals_summed_are_totals_recomputed(small):
    rng = np.random.default_rng(0)
    small.obs["group"] = rng.choice(list("abc"), small.n_obs)
    small = small[:, rng.permutation(small.n_vars)].copy()
    bulk = pseudobulk(small, "group")
    check_splicing(bulk)
    again = splicing_from_counts(
        bulk.layers[JUNCTION], bulk.var["atse_id"].to_numpy(), bulk.obs, bulk.var
    )
    for name in (JUNCTION, CLUSTER):
        assert (again.layers[name] != bulk.layers[name]).nnz == 0
        np.testing.assert_array_equal(again.layers[name].indices, bulk.layers[name].indices)
    assert bulk.X.sum() == small.X.sum()


def test_one_group_for_each_cell_changes_nothing(small):
    small.obs["name"] = [f"{i:03d}" for i in range(small.n_obs)]
    layers = {name: small.layers[name].toarray() for name in (JUNCTION, CLUSTER)}
    small.layers[JUNCTION] = small.layers[JUNCTION].toarray()
    small.layers[CLUSTER] = small.layers[CLUSTER].tocsc()
    bulk = pseudobulk(small, "name")
    for name, wanted in layers.items():
        np.testing.assert_array_equal(bulk.layers[name].toarray(), wanted)
    assert set(small.obs) - {"name"} <= set(bulk.obs)


def test_totals_above_the_reads_are_kept(adata):
    adata.layers[CLUSTER] *= 2
    _, n = dense(pseudobulk(adata, "type"))
    assert n.tolist() == [[0, 0, 0, 0], [14, 14, 0, 0], [0, 0, 6, 6]]


def test_errors(adata):
    with pytest.raises(KeyError, match="no column 'kind': found"):
        pseudobulk(adata, "kind")
    with pytest.raises(ValueError, match=r"No group of \['type'\] has 3 cells: .* 3 has 2"):
        pseudobulk(adata, "type", min_cells=3)
    with pytest.raises(ValueError, match="empty"):
        pseudobulk(adata, [])
    adata.obs["x"], adata.obs["y"] = ["a_b", "a", "c", "c", "c"], ["c", "b_c", "d", "d", "d"]
    with pytest.raises(ValueError, match="named 'a_b_c': choose another sep"):
        pseudobulk(adata, ["x", "y"])
    assert pseudobulk(adata, ["x", "y"], sep="/").n_obs == 3
    adata.obs["one"] = "all"
    adata.layers[CLUSTER].data[:] = 16_000_000
    with pytest.raises(ValueError, match="of group 'all' and junction 'junction_0' is 48,000,000"):
        pseudobulk(adata, "one")
    del adata.layers[JUNCTION]
    with pytest.raises(KeyError, match=JUNCTION):
        pseudobulk(adata, "type")


def test_metacells_of_clear_clusters():
    rng = np.random.default_rng(0)
    center = np.repeat(np.arange(4), 10)
    counts = np.column_stack([center + 1, np.ones(40, int)])
    obs = pd.DataFrame(
        {"donor": pd.Categorical(["a"] * 20 + ["b"] * 20)}, index=[f"c{i}" for i in range(40)]
    )
    adata = splicing_from_counts(counts, ["p", "p"], obs=obs)
    adata.obsm["X_pca"] = rng.normal(size=(40, 2)) * 0.01 + 10 * center[:, None]
    cells = metacells(adata, 10, use_rep="X_pca", groupby="donor")
    assert cells.obs_names.tolist() == [
        "a_metacell_1", "a_metacell_2", "b_metacell_1", "b_metacell_2"
    ]  # fmt: skip
    assert cells.obs["n_cells"].tolist() == [10] * 4
    assert cells.obs["donor"].tolist() == ["a", "a", "b", "b"]
    y, n = dense(cells)
    assert y.tolist() == [[10, 10], [20, 10], [30, 10], [40, 10]]
    assert n.tolist() == [[20, 20], [30, 30], [40, 40], [50, 50]]
    np.testing.assert_allclose(cells.obsm["X_pca"][:, 0], 10 * np.arange(4), atol=0.1)
    mapping = cells.uns["splicing"]["metacells"]["cells"]["metacell"]
    assert mapping["c0"] == "a_metacell_1"
    assert mapping["c39"] == "b_metacell_2"
    check_splicing(cells)
    whole = metacells(adata, 20, use_rep="X_pca")
    assert whole.obs_names.tolist() == ["metacell_1", "metacell_2"]
    assert "groupby" not in whole.uns["splicing"]["metacells"]


def test_metacells_are_reproducible_and_saved(small, tmp_path):
    small.obs["half"] = pd.Categorical(["x", None] * 40)
    a, b = (metacells(small, 7, use_rep="phi_true", groupby="half", seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(a.obs, b.obs)
    assert a.n_obs == round(40 / 7)
    mapping = a.uns["splicing"]["metacells"]["cells"]["metacell"]
    assert (mapping == "").sum() == 40
    assert (
        mapping[mapping != ""].value_counts().loc[a.obs_names].tolist()
        == a.obs["n_cells"].tolist()
    )
    a.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad").uns["splicing"]["metacells"]["cells"]
    assert back["metacell"].tolist() == mapping.tolist()


def test_metacells_of_equal_cells(small):
    small.obsm["flat"] = np.zeros((small.n_obs, 2))
    assert metacells(small, 5, use_rep="flat").n_obs == 1
    small.obsm["own"] = np.arange(small.n_obs)[:, None].astype(float)
    assert metacells(small, 1, use_rep="own").n_obs == small.n_obs


def test_errors_of_metacells(small):
    with pytest.raises(KeyError, match="no 'X_PHI': found 'phi_true'.*export_posterior"):
        metacells(small)
    with pytest.raises(KeyError, match="'donor'"):
        metacells(small, use_rep="phi_true", groupby="donor")
    with pytest.raises(ValueError, match="n_cells_per_metacell to be a number from 1, found 0"):
        metacells(small, 0, use_rep="phi_true")
    small.obs["none"] = pd.Categorical([None] * 80, categories=["a"])
    with pytest.raises(ValueError, match="No cell has a value"):
        metacells(small, use_rep="phi_true", groupby="none")
    small.obsm["phi_true"][3] = np.nan
    with pytest.raises(ValueError, match="not finite for cell 'cell_3'"):
        metacells(small, use_rep="phi_true")


def test_stored_zeros_are_not_observed(adata):
    for name in (JUNCTION, CLUSTER):
        full = np.ones(adata.shape)
        rows, columns = np.nonzero(full)
        values = adata.layers[name].toarray()[rows, columns]
        adata.layers[name] = sp.csr_matrix((values, (rows, columns)), shape=adata.shape)
    assert adata.layers[CLUSTER].nnz == 20
    bulk = pseudobulk(adata, "type")
    assert bulk.layers[JUNCTION].nnz == bulk.layers[CLUSTER].nnz == 4
