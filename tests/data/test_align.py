"""Bringing data to the junctions of a reference, without a dense array in between."""

from __future__ import annotations

import tracemalloc

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from leafletfa_scvi.data import align_junctions, observed_entries, reorder_junctions


@pytest.mark.parametrize("layout", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, "dense"])
def test_values_are_aligned_by_name(small, layout):
    expected = small.to_df("cell_by_junction_matrix")
    query = small[:, ::-2].copy()
    for name in query.layers:
        values = query.layers[name].toarray()
        query.layers[name] = values if layout == "dense" else layout(values)
    names = small.var_names
    out = align_junctions(query, names)
    expected.loc[:, ~names.isin(query.var_names)] = 0
    np.testing.assert_array_equal(out.to_df("cell_by_junction_matrix"), expected)
    assert list(out.var_names) == list(names)
    assert list(out.obs_names) == list(small.obs_names)
    assert query.n_vars < small.n_vars


def test_unknown_junctions_are_dropped_and_X_may_be_missing(small):
    query = small.copy()
    del query.X
    out = align_junctions(query, ["elsewhere", small.var_names[3]])
    assert out.X is None
    layer = out.layers["cell_by_cluster_matrix"].toarray()
    assert not layer[:, 0].any()
    np.testing.assert_array_equal(
        layer[:, 1], small.layers["cell_by_cluster_matrix"].toarray()[:, 3]
    )


def test_annotation_with_missing_values_can_be_written(small, tmp_path):
    small.var["differs"] = np.arange(small.n_vars) % 2 == 0
    out = align_junctions(small[:, 1:].copy(), small.var_names)
    out.write_h5ad(tmp_path / "query.h5ad")
    differs = ad.read_h5ad(tmp_path / "query.h5ad").var["differs"]
    assert differs.isna().tolist() == [True] + [False] * (small.n_vars - 1)
    assert differs.iloc[1:].tolist() == small.var["differs"].iloc[1:].tolist()
    whole = align_junctions(small, small.var_names[::-1])
    assert whole.var["differs"].dtype == bool


def test_memory_is_proportional_to_entries(small):
    names = [*small.var_names, *(f"more_{i}" for i in range(200_000))]
    tracemalloc.start()
    align_junctions(small, names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Bytes; a dense layer alone takes 4 per value. Names take part of it, more with pandas 3 and
    # pyarrow.
    assert peak < 3 * small.n_obs * len(names)


def test_reordered_entries_equal_those_of_reordered_data(small, monkeypatch):
    monkeypatch.setattr("leafletfa_scvi.data._blocks.BLOCK", 500)
    order = np.random.default_rng(0).permutation(small.n_vars)
    wanted = observed_entries(small)
    found = reorder_junctions(observed_entries(small[:, order]), order)
    for name in ("indptr", "column", "count", "total"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == getattr(wanted, name).dtype


def test_inconsistent_sparse_layers_are_refused(small):
    small.layers["cell_by_cluster_matrix"].indices[5] = -1
    with pytest.raises(ValueError, match="'cell_by_cluster_matrix' is not a valid CSR"):
        align_junctions(small, small.var_names[::-1])
