"""Totals of a data set on the ATSEs of a reference, against sums taken one by one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from helpers.splicing_data import CLUSTER, JUNCTION
from hypothesis import given, settings
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.data import align_junctions, check_splicing


def data_set(counts, labels, names, hidden=None):
    """Totals are sums within labels, and ``hidden`` reads of each (cell, ATSE)."""
    counts = np.asarray(counts)
    totals = np.zeros_like(counts)
    for i, label in enumerate(labels):
        inside = [j for j, other in enumerate(labels) if other == label]
        totals[:, i] = counts[:, inside].sum(axis=1)
        if hidden:
            totals[:, i] += hidden.get(label, 0)
    layers = {JUNCTION: sp.csr_matrix(counts), CLUSTER: sp.csr_matrix(totals)}
    var = pd.DataFrame({"atse_id": list(labels)}, index=list(names))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return AnnData(layers[JUNCTION].astype(np.float32), obs, var, layers=layers)


def slow(adata, names, atse):
    """The rules of the documentation, without hidden reads."""
    counts = adata.to_df(JUNCTION)
    sums = defaultdict(int)
    for cell in adata.obs_names:
        for name, a in zip(names, atse, strict=True):
            sums[cell, a] += int(counts.loc[cell, name]) if name in counts else 0
    return [[sums[cell, a] for a in atse] for cell in adata.obs_names]


@st.composite
def two_data_sets(draw):
    pool = [f"j{i}" for i in range(9)]
    label = st.sampled_from("abc")
    mine, theirs = (draw(st.lists(st.sampled_from(pool), min_size=1, unique=True)) for _ in "xy")
    n_cells = draw(st.integers(1, 4))
    counts = [[draw(st.integers(0, 5)) for _ in mine] for _ in range(n_cells)]
    labels = draw(st.lists(label, min_size=len(mine), max_size=len(mine)))
    codes = draw(st.lists(st.integers(0, 3), min_size=len(theirs), max_size=len(theirs)))
    return data_set(counts, labels, mine), theirs, pd.factorize(np.array(codes))[0]


@settings(deadline=None, max_examples=60)
@given(two_data_sets(), st.sampled_from(["theirs", "none", "some"]), st.sampled_from([1, 3, 1000]))
def test_totals_are_sums_over_the_junctions_of_the_reference(sets, labels, block):
    adata, names, atse = sets
    wanted = np.array(slow(adata, names, atse))
    if labels == "none":
        del adata.var["atse_id"]
    if labels != "theirs":  # foreign reads cannot be told from those of removed junctions
        foreign = ~adata.var_names.isin(names)
        if foreign.any():
            adata = adata[:, ~foreign].copy()
        if not adata.n_vars:
            return
        if labels == "some":  # of a junction that stays: one that is dropped leaves all labeled
            adata.var.loc[adata.var_names[0], "atse_id"] = None
        for column in range(adata.n_vars):
            same = atse == atse[names.index(adata.var_names[column])]
            total = wanted[:, int(same.argmax())]
            layer = adata.layers[CLUSTER].tolil()
            layer[:, column] = total[:, None]
            adata.layers[CLUSTER] = layer.tocsr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leafletfa_scvi.data._blocks.BLOCK", block)
        before = adata.copy()
        out = align_junctions(adata, names, atse)
    np.testing.assert_array_equal(out.layers[CLUSTER].toarray(), wanted)
    assert (out.layers[CLUSTER].data > 0).all()
    np.testing.assert_array_equal(out.X.toarray(), out.layers[JUNCTION].toarray())
    for layer in (JUNCTION, CLUSTER):
        assert (adata.layers[layer] != before.layers[layer]).nnz == 0
    again = align_junctions(out, names, atse)
    np.testing.assert_array_equal(again.layers[CLUSTER].toarray(), wanted)


class TestReadsOfRemovedJunctions:
    """Where totals are above the sum of counts, old totals were right and stay."""

    NAMES = ("a1", "a2", "a3", "b1", "b2")
    ATSE = np.array([0, 0, 0, 1, 1])

    def aligned(self, adata, **options):
        return align_junctions(adata, self.NAMES, self.ATSE, **options).layers[CLUSTER].toarray()

    def test_of_the_same_atses(self):
        adata = data_set([[1, 2, 3, 0, 4], [0] * 5], "AAABB", self.NAMES, {"A": 5, "B": 7})
        for key in ("atse_id", None):
            found = self.aligned(adata, atse_key=key)
            np.testing.assert_array_equal(found, adata.layers[CLUSTER].toarray())

    def test_may_be_those_of_a_junction_that_is_missing(self):
        adata = data_set([[1, 2, 3, 0, 4], [0, 2, 0, 0, 0]], "AAABB", self.NAMES)
        some = adata[:, ["a2", "a3", "b1", "b2"]].copy()
        for key in ("atse_id", None):
            found = self.aligned(some, atse_key=key)
            # In the second cell no read was at a1, so that it is known to have none.
            assert found.tolist() == [[0, 6, 6, 4, 4], [2, 2, 2, 0, 0]]

    def test_and_of_junctions_that_the_reference_lacks(self):
        names = ["x", *self.NAMES[1:]]
        adata = data_set([[9, 2, 3, 0, 4]], "AAABB", names, {"A": 5})
        assert self.aligned(adata).tolist() == [[0, 10, 10, 4, 4]]
        # Unknown ATSEs: the reads of x cannot be told from others.
        assert self.aligned(adata, atse_key=None).tolist() == [[0, 5, 5, 4, 4]]

    def test_of_an_atse_that_two_have_or_that_has_two(self):
        joined = data_set([[1, 2, 3, 0, 4]], "AAAAA", self.NAMES, {"A": 5})
        assert self.aligned(joined).tolist() == [[6, 6, 6, 4, 4]]
        split = data_set([[1, 2, 3, 0, 4]], "ACCBB", self.NAMES, {"A": 5})
        assert self.aligned(split).tolist() == [[6, 6, 6, 4, 4]]


@pytest.mark.parametrize("layout", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float16])
def test_layouts_and_dtypes(layout, dtype):
    if dtype == np.float16 and layout is not np.asarray:
        return  # scipy has no such matrices
    adata = data_set([[100, 90, 0], [3, 0, 0]], "AAB", ["a", "b", "x"])
    for name in (JUNCTION, CLUSTER):
        adata.layers[name] = layout(adata.layers[name].toarray().astype(dtype))
    adata.X = None
    out = align_junctions(adata, ["b", "c", "a"], np.array([0, 0, 0]))
    layer = out.layers[CLUSTER]
    assert sp.issparse(layer) == (layout is not np.asarray)
    values = layer.toarray() if sp.issparse(layer) else layer
    assert values.tolist() == [[190, 190, 190], [3, 3, 3]]


@pytest.mark.parametrize("value", [np.nan, -1, 0.5])
def test_bad_values_are_named(value):
    adata = data_set([[3, 1]], "AA", "ab")
    adata.layers[JUNCTION] = adata.layers[JUNCTION].astype(float)
    adata.layers[JUNCTION].data[1] = value
    with pytest.raises(
        ValueError, match=r"cell_by_junction_matrix.* for cell 'c0' and junction 'b'"
    ):
        align_junctions(adata, ["a", "c"], np.array([0, 0]))


def test_swapped_layers_are_refused():
    adata = data_set([[3, 1]], "AA", "ab")
    adata.layers[JUNCTION], adata.layers[CLUSTER] = adata.layers[CLUSTER], adata.layers[JUNCTION]
    with pytest.raises(ValueError, match="swapped"):
        align_junctions(adata, ["a", "c"], np.array([0, 0]))


def test_without_totals_counts_are_aligned():
    adata = data_set([[3, 1]], "AA", "ab")
    del adata.layers[CLUSTER]
    out = align_junctions(adata, ["b", "c"], np.array([0, 0]))
    assert out.layers[JUNCTION].toarray().tolist() == [[1, 0]]


def test_gtex_made_apart(data_dir):
    """Totals of the second data set on the first hold its counts at those junctions only."""
    files = sorted((data_dir / "gtex_chr10").glob("*.bed.gz"))
    annotation = lfa.pp.read_annotation(data_dir / "gtex_chr10" / "chr10.gtf.gz")
    one, other = (
        lfa.pp.make_splicing_dataset(lfa.pp.read_junc(part), gtf=annotation)
        for part in (files[:6], files[6:])
    )
    codes = one.var["atse_id"].cat.codes.to_numpy(np.int64)
    out = align_junctions(other, one.var_names, codes)
    counts = other.to_df(JUNCTION).reindex(columns=one.var_names, fill_value=0)
    wanted = counts.T.groupby(codes).transform("sum").T
    np.testing.assert_array_equal(out.to_df(CLUSTER), wanted)
    out.var["atse_id"] = one.var["atse_id"]
    check_splicing(out)
    # Of reads that filters left, every total is at most that of all reads.
    exact = lfa.pp.make_splicing_dataset(files[6:], reference=one)
    assert (out.to_df(CLUSTER) <= exact.to_df(CLUSTER)).all(axis=None)


@pytest.mark.parametrize("observed", [None, [True, False, True, True]])
@pytest.mark.parametrize("block", [1, 1000])
def test_what_is_not_observed_remains_so(observed, block, monkeypatch):
    """A total of 0 beside others of its ATSE says nothing; one of an ATSE without reads does."""
    monkeypatch.setattr("leafletfa_scvi.data._blocks.BLOCK", block)
    adata = data_set([[3, 0, 2, 0], [3, 0, 2, 0], [0, 0, 1, 4]], "AABB", ["a1", "a2", "b1", "b2"])
    total = adata.layers[CLUSTER].toarray()
    total[0, 1] = 0
    adata.layers[CLUSTER] = sp.csr_matrix(total)
    observed = None if observed is None else np.array(observed)
    joined = np.zeros(4, int)  # the ATSEs of the data set are one in the reference
    out = align_junctions(adata, adata.var_names, joined, observed=observed)
    second = 5 if observed is None else 0
    wanted = [[5, 0, 5, 5], [5, second, 5, 5], [5, second, 5, 5]]
    assert out.layers[CLUSTER].toarray().tolist() == wanted
