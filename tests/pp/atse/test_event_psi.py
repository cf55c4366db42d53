"""PSI of events in each cell against its definition, cell by cell."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi import pp


def counts(matrix):
    matrix = np.asarray(matrix)
    cells = pd.DataFrame({"type": "a"}, index=[f"cell_{i}" for i in range(len(matrix))])
    junctions = pd.DataFrame(index=[f"j{i}" for i in range(matrix.shape[1])])
    return AnnData(sp.csr_matrix(matrix.astype(np.float32)), cells, junctions)


def events_of(*forms):
    columns = ["inclusion_junctions", "exclusion_junctions"]
    names = pd.Index([f"event_{i}" for i in range(len(forms))], dtype=object)
    return pd.DataFrame(list(forms), names, columns, dtype=object)


def by_definition(adata, events, min_reads):
    """PSI from one cell and event at a time, NaN where there are too few reads."""
    psi = np.full((adata.n_obs, len(events)), np.nan)
    for i in range(adata.n_obs):
        for j, forms in enumerate(events.itertuples(index=False)):
            reads = [
                [float(adata.X[i, adata.var_names.get_loc(name)]) for name in form.split(",")]
                for form in forms
            ]
            if sum(map(sum, reads)) >= min_reads:
                inclusion, exclusion = (sum(form) / len(form) for form in reads)
                psi[i, j] = inclusion / (inclusion + exclusion)
    return psi


def test_forms_count_once():
    adata = counts([[8, 4, 2], [0, 0, 3], [5, 0, 0], [0, 0, 0]])
    psi = pp.event_psi(adata, events_of(("j0,j1", "j2")))
    np.testing.assert_allclose(psi.X.ravel(), [6 / 8, 0, 1, np.nan])
    assert psi.layers["inclusion"].toarray().ravel().tolist() == [6, 0, 2.5, 0]
    assert psi.layers["exclusion"].toarray().ravel().tolist() == [2, 3, 0, 0]
    assert list(psi.obs["type"]) == ["a"] * 4
    assert psi.X.dtype == np.float32


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_cells=st.integers(0, 6),
    n_events=st.integers(0, 5),
    min_reads=st.integers(1, 12),
    limit=st.sampled_from([1, 7, 1 << 21]),
)
def test_psi_is_its_definition(seed, n_cells, n_events, min_reads, limit):
    rng = np.random.default_rng(seed)
    adata = counts(rng.poisson(1.5, (n_cells, 7)) * rng.integers(0, 2, (n_cells, 7)))
    forms = []
    for _ in range(n_events):
        names = rng.permutation(adata.var_names)
        sizes = rng.integers(1, 4, 2)
        forms.append((",".join(names[: sizes[0]]), ",".join(names[-sizes[1] :])))
    events = events_of(*forms)
    expected = by_definition(adata, events, min_reads)
    with pytest.MonkeyPatch.context() as patch:  # results do not depend on blocks of cells
        patch.setattr("leafletfa_scvi.data._blocks.BLOCK", limit)
        dense = pp.event_psi(adata, events, min_reads=min_reads)
        sparse = pp.event_psi(adata, events, min_reads=min_reads, sparse=True)
    np.testing.assert_allclose(dense.X, expected, rtol=1e-6)
    assert sparse.X.format == "csr"
    stored = sparse.X.copy()
    stored.data[:] = 1
    np.testing.assert_array_equal(stored.toarray() == 1, ~np.isnan(expected))
    np.testing.assert_allclose(
        sparse.X.toarray()[~np.isnan(expected)], expected[~np.isnan(expected)], rtol=1e-6
    )
    for result in (dense, sparse):
        assert list(result.var_names) == list(events.index)
        assert result.layers["inclusion"].has_canonical_format


def test_counts_of_a_splicing_data_set_and_large_counts():
    adata = counts([[2**23, 2**23 - 1, 1, 0], [0, 1, 0, 2]])
    adata.var["atse_id"] = "a"
    data_set = pp.splicing_from_counts(adata)
    events = events_of(("j0,j1", "j2"), ("j0", "j1,j2,j3"))
    psi = pp.event_psi(data_set, events, min_reads=3)
    expected = by_definition(adata, events, 3)
    np.testing.assert_allclose(psi.X, expected, rtol=1e-6)
    assert np.isnan(psi.X).sum() == 1
    assert list(psi.obs_names) == list(adata.obs_names)


def test_result_is_written_and_read(tmp_path):
    adata = counts([[8, 4, 2], [0, 0, 3]])
    events = events_of(("j0,j1", "j2"))
    for sparse in (False, True):
        psi = pp.event_psi(adata, events, sparse=sparse)
        psi.write_h5ad(tmp_path / "psi.h5ad")
        again = anndata.read_h5ad(tmp_path / "psi.h5ad")
        assert again.var["inclusion_junctions"].tolist() == ["j0,j1"]
        stored = again.X.toarray() if sparse else again.X
        np.testing.assert_allclose(stored.ravel(), [0.75, 0])


def test_errors():
    adata = counts([[1, 2]])
    with pytest.raises(KeyError, match=r"Event 'event_1' has junctions .*'j9'.*2 in all"):
        pp.event_psi(adata, events_of(("j0", "j1"), ("j9,j0", "j1"), ("j7", "j0")))
    with pytest.raises(KeyError, match="Expected a column 'exclusion_junctions'"):
        pp.event_psi(adata, events_of(("j0", "j1")).drop(columns="exclusion_junctions"))
    with pytest.raises(KeyError, match="event_0"):
        pp.event_psi(adata, events_of(("j0", "")))
    with pytest.raises(ValueError, match="Expected min_reads to be a number from 1"):
        pp.event_psi(adata, events_of(("j0", "j1")), min_reads=0)
    events = events_of(("j0", "j1"), ("j1", "j0"))
    events.index = ["a", "a"]
    with pytest.raises(ValueError, match=r"unique names in events.index, found 'a' twice"):
        pp.event_psi(adata, events)
    adata.X[0, 0] = 0.5
    with pytest.raises(ValueError, match="fractional"):
        pp.event_psi(adata, events_of(("j0", "j1")))
