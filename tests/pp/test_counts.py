from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.data import check_splicing
from leafletfa_scvi.pp import splicing_from_counts

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"

COUNTS = np.array([[3, 0, 1, 0], [0, 0, 0, 2], [0, 0, 0, 0]])
ATSE = ["a", "b", "a", "c"]
TOTALS = np.array([[4, 0, 4, 0], [0, 0, 0, 2], [0, 0, 0, 0]])


def frame(**kwargs):
    return pd.DataFrame(COUNTS, index=["x", "y", "z"], columns=["p", "q", "r", "s"], **kwargs)


def assert_splicing(adata, counts, totals):
    """Both layers and X hold what is expected, on the pattern of observed entries."""
    pattern = sp.csr_matrix(totals)
    for matrix, wanted, dtype in (
        (adata.layers[JUNCTION], counts, np.int32),
        (adata.layers[CLUSTER], totals, np.int32),
        (adata.X, counts, np.float32),
    ):
        assert isinstance(matrix, sp.csr_matrix)
        assert matrix.dtype == dtype
        np.testing.assert_array_equal(matrix.toarray(), wanted)
        np.testing.assert_array_equal(matrix.indptr, pattern.indptr)
        np.testing.assert_array_equal(matrix.indices, pattern.indices)


FORMATS = ["csr_matrix", "csc_matrix", "coo_matrix", "lil_matrix", "csr_array", "coo_array"]


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
@pytest.mark.parametrize("kind", ["list", "array", "frame", "sparse frame", *FORMATS])
def test_every_kind_of_matrix(kind, dtype):
    counts = COUNTS.astype(dtype)
    if kind == "list":
        counts = counts.tolist()
    elif kind == "frame":
        counts = pd.DataFrame(counts)
    elif kind == "sparse frame":
        counts = pd.DataFrame.sparse.from_spmatrix(sp.csc_matrix(counts))
    elif kind in FORMATS:
        counts = getattr(sp, kind)(counts)
    adata = splicing_from_counts(counts, ATSE)
    assert_splicing(adata, COUNTS, TOTALS)
    assert adata.var["atse_id"].tolist() == ATSE
    assert adata.uns["splicing"]["source"] == "splicing_from_counts"


@pytest.mark.filterwarnings("ignore:.*no observed entry")
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_atses=st.integers(1, 6), n_junctions=st.integers(1, 12))
def test_totals_are_sums_within_atses(seed, n_atses, n_junctions):
    rng = np.random.default_rng(seed)
    atse = rng.integers(0, n_atses, n_junctions)
    counts = rng.poisson(0.5, (7, n_junctions))
    same = atse[:, None] == atse
    adata = splicing_from_counts(sp.coo_array(counts), atse)
    assert_splicing(adata, counts, counts @ same)
    if counts.any():
        check_splicing(adata)


def test_input_is_left_alone_and_duplicates_are_summed():
    counts = sp.coo_matrix((np.array([200, 100, 0], np.uint8), ([0, 0, 1], [1, 1, 0])), (2, 2))
    adata = splicing_from_counts(counts, ["a", "a"])
    assert_splicing(adata, [[0, 300], [0, 0]], [[300, 300], [0, 0]])
    assert counts.nnz == 3
    row = sp.csr_matrix((np.array([2, 5]), [1, 0], [0, 2]), shape=(1, 2))
    splicing_from_counts(row, ["a", "a"])
    assert row.indices.tolist() == [1, 0]


def test_names():
    adata = splicing_from_counts(COUNTS, ATSE)
    assert adata.obs_names.tolist() == ["cell_0", "cell_1", "cell_2"]
    assert adata.var_names.tolist() == ["junction_0", "junction_1", "junction_2", "junction_3"]
    adata = splicing_from_counts(frame(), ATSE)
    assert adata.obs_names.tolist() == ["x", "y", "z"]
    assert adata.var_names.tolist() == ["p", "q", "r", "s"]
    obs = pd.DataFrame({"type": [1, 2, 3]}, index=["u", "v", "w"])
    assert splicing_from_counts(COUNTS, ATSE, obs=obs).obs["type"].to_dict() == {
        "u": 1, "v": 2, "w": 3,
    }  # fmt: skip


def test_annotation_and_labels_are_aligned_by_name():
    order = [2, 0, 3, 1]
    var = pd.DataFrame({"gene": list("PQRS")}, index=list("pqrs")).iloc[order]
    obs = pd.DataFrame({"type": [1, 2, 3]}, index=list("xyz")).iloc[::-1]
    labels = pd.Series([*ATSE, "unused"], index=list("pqrst")).iloc[[4, *order]]
    adata = splicing_from_counts(frame(), labels, obs, var)
    assert_splicing(adata, COUNTS, TOTALS)
    assert adata.var["gene"].tolist() == list("PQRS")
    assert adata.var["atse_id"].tolist() == ATSE
    assert adata.obs["type"].tolist() == [1, 2, 3]
    assert "atse_id" not in var
    by_var = splicing_from_counts(COUNTS[:, order], labels, var=var)
    assert_splicing(by_var, COUNTS[:, order], TOTALS[:, order])
    in_order = pd.Series(ATSE, index=list("dcba"))
    assert_splicing(splicing_from_counts(COUNTS, in_order), COUNTS, TOTALS)


@pytest.mark.parametrize("wrap", [np.array, sp.coo_matrix, pd.DataFrame])
@pytest.mark.parametrize(
    ("value", "kind"), [(-1, "negative"), (0.5, "fractional"), (np.nan, "non-finite")]
)
def test_bad_counts(wrap, value, kind):
    counts = COUNTS.astype(float)
    counts[1, 3] = value
    message = rf"counts holds the {kind} value {value:g} for cell 'c1' and junction 'j3'"
    obs, var = pd.DataFrame(index=["c0", "c1", "c2"]), pd.DataFrame(index=["j0", "j1", "j2", "j3"])
    counts = wrap(counts)
    if isinstance(counts, pd.DataFrame):
        counts.index, counts.columns = obs.index, var.index
    with pytest.raises(ValueError, match=message):
        splicing_from_counts(counts, ATSE, obs, var)


def test_bad_labels():
    with pytest.raises(ValueError, match="3 labels: expected 4"):
        splicing_from_counts(COUNTS, ATSE[:3])
    with pytest.raises(ValueError, match="no label for junction 'junction_1', 2 in all"):
        splicing_from_counts(COUNTS, ["a", None, "b", np.nan])
    with pytest.raises(ValueError, match="no label for junction 'q', 1 in all"):
        splicing_from_counts(frame(), pd.Series(list("aab"), index=list("prs")))
    with pytest.raises(ValueError, match=r"no label for junction 'p', 4 .*to_numpy"):
        splicing_from_counts(frame(), pd.Series(ATSE))
    with pytest.raises(ValueError, match="junction 's' more than once"):
        splicing_from_counts(frame(), pd.Series(list("aabbc"), index=list("pqrss")))


def test_bad_annotation():
    obs = pd.DataFrame(index=["c0", "c1", "c1"])
    with pytest.raises(ValueError, match="cell 'c1' occurs more than once"):
        splicing_from_counts(COUNTS, ATSE, obs=obs)
    with pytest.raises(ValueError, match="junction 'p' occurs more than once"):
        splicing_from_counts(frame().set_axis(list("pqrp"), axis=1), ATSE)
    with pytest.raises(ValueError, match="obs has 2 rows: expected 3, one per cell"):
        splicing_from_counts(COUNTS, ATSE, obs=obs[:2])
    with pytest.raises(ValueError, match="obs has no row for cell 'x' of counts, 3 in all"):
        splicing_from_counts(frame(), ATSE, obs=obs)
    for counts in (COUNTS[0], COUNTS.astype(str)):
        with pytest.raises(ValueError, match="expected a matrix of numbers"):
            splicing_from_counts(counts, ATSE)
    with pytest.raises(ValueError, match="16,777,217: totals beyond"):
        splicing_from_counts(np.array([[1 << 24, 1]]), ["a", "a"])


def test_labels_in_var_are_not_replaced():
    counts, labels = [[3, 1, 0], [0, 0, 2]], ["a", "a", "b"]
    var = pd.DataFrame({"atse_id": ["a", "x", "y"]}, index=["j1", "j2", "j3"])
    with pytest.raises(ValueError, match="'j2' has 'x' there and 'a' in atse_id, 2 differ"):
        splicing_from_counts(counts, labels, var=var)
    for column in (labels, pd.Categorical(labels)):
        adata = splicing_from_counts(counts, labels, var=var.assign(atse_id=column))
        assert adata.var["atse_id"].tolist() == labels


def test_result_is_saved_and_read(tmp_path):
    adata = splicing_from_counts(frame(), [1, 2, 1, 3])
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert_splicing(back, COUNTS, TOTALS)
    assert back.var["atse_id"].tolist() == ["1", "2", "1", "3"]


def test_matrices_share_no_memory():
    adata = splicing_from_counts(COUNTS, ATSE)
    adata.layers[JUNCTION].eliminate_zeros()
    np.testing.assert_array_equal(adata.layers[CLUSTER].toarray(), TOTALS)
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)


def test_chen(chen):
    adata = splicing_from_counts(chen.layers[JUNCTION], chen.var["atse_id"], chen.obs, chen.var)
    assert (adata.layers[CLUSTER] != chen.layers[CLUSTER]).nnz == 0
    assert (adata.layers[JUNCTION] != chen.layers[JUNCTION]).nnz == 0
    assert adata.layers[JUNCTION].nnz == 3_965_894
