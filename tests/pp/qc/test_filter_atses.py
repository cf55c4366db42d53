"""Criteria of ATSEs: which stay, what the record says, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from leafletfa_scvi.data import check_splicing
from leafletfa_scvi.pp._counts import splicing_from_counts
from leafletfa_scvi.pp.qc._filter_atses import filter_atses

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


@pytest.fixture
def atses():
    """Four ATSEs: a (well covered), b (three junctions), c (one cell), d (constitutive)."""
    counts = np.array(
        [
            [3, 2, 1, 1, 0, 0, 0, 9, 0],
            [2, 3, 0, 0, 1, 0, 0, 9, 0],
            [1, 4, 0, 0, 0, 0, 0, 9, 1],
            [5, 0, 0, 0, 0, 40, 2, 0, 0],
        ]
    )
    var = pd.DataFrame(
        {
            "event_type": ["alternative_5ss"] * 2 + ["cassette_exon"] * 3 + ["complex"] * 4,
            "annotation_status": ["both"] * 5 + ["both", "five_prime", "both", "none"],
        },
        index=[f"j{i}" for i in range(9)],
    )
    return splicing_from_counts(counts, list("aabbbccdd"), var=var)


@pytest.mark.filterwarnings("ignore:.*no observed entry")
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "abcd"),
        ({"min_cells": 2}, "abd"),
        ({"min_cells": 2, "min_cell_reads": 2}, "ad"),
        ({"min_reads": 4}, "acd"),
        ({"min_mean_reads": 5}, "acd"),
        ({"min_mean_reads": 5.1}, "cd"),
        ({"min_junctions": 3}, "b"),
        ({"max_junctions": 2}, "acd"),
        ({"min_minor_usage": 0.05}, "ab"),
        ({"event_types": ["cassette_exon", "complex"]}, "bcd"),
        ({"annotation_status": "either"}, "abc"),
        ({"annotation_status": "both"}, "ab"),
        ({"min_cells": 9}, ""),
    ],
)
def test_criteria_of_atses(atses, options, wanted):
    before = atses.copy()
    filtered = filter_atses(atses, **options)
    assert "".join(filtered.var["atse_id"].unique()) == wanted
    whole = before[:, before.var["atse_id"].isin(list(wanted))]
    assert filtered.var_names.equals(whole.var_names)
    for name in (JUNCTION, CLUSTER):
        np.testing.assert_array_equal(
            filtered.layers[name].toarray(), whole.layers[name].toarray()
        )
        assert (atses.layers[name] != before.layers[name]).nnz == 0
    for name in ("indptr", "indices"):
        np.testing.assert_array_equal(
            getattr(filtered.layers[JUNCTION], name), getattr(filtered.layers[CLUSTER], name)
        )
    assert "atse_qc" not in atses.uns["splicing"]
    if wanted:
        check_splicing(filtered)


def test_layouts_are_put_on_one_pattern(small):
    wanted = filter_atses(small, min_cells=20)
    assert 0 < wanted.n_vars < small.n_vars
    dense, sparse = small.copy(), small.copy()
    for name in (JUNCTION, CLUSTER):
        dense.layers[name] = small.layers[name].toarray()
        sparse.layers[name] = small.layers[name].tocsc()
    sparse.layers[JUNCTION].eliminate_zeros()
    shuffled = small[:, np.random.default_rng(0).permutation(small.n_vars)].copy()
    for other in (dense, sparse, shuffled):
        filtered = filter_atses(other, min_cells=20)[:, wanted.var_names].copy()
        for name in (JUNCTION, CLUSTER):
            assert (filtered.layers[name] != wanted.layers[name]).nnz == 0
            assert filtered.layers[name].nnz == wanted.layers[CLUSTER].nnz


def test_record_of_atses(atses):
    filtered = filter_atses(atses, event_types=["alternative_5ss", "complex"], min_minor_usage=0.1)
    record = filtered.uns["splicing"]["atse_qc"]
    assert record["dropped"]["event_types"] == {"atses": 1, "reads": 3}
    assert record["dropped"]["min_minor_usage"] == {"atses": 2, "reads": 70}
    assert (record["atses_before"], record["atses_kept"]) == (4, 1)
    assert record["reads_before"] == 93
    assert record["order"][0] == "event_types"


def test_errors_of_atses(atses):
    for options, message in (
        ({"min_junctions": 3, "max_junctions": 2}, "max_junctions to be a number from 3, found 2"),
        ({"min_cell_reads": 0}, "min_cell_reads to be a number from 1, found 0"),
        ({"event_types": "complex"}, "event_types to be a sequence of names"),
        ({"event_types": ["retained_intron"]}, "none occurs"),
    ):
        with pytest.raises(ValueError, match=message):
            filter_atses(atses, **options)
    with pytest.raises(KeyError, match="'cluster'"):
        filter_atses(atses, atse_key="cluster")
    atses.var.loc["j0", "event_type"] = "complex"
    with pytest.raises(ValueError, match="differs within the ATSE of junction 'j0'"):
        filter_atses(atses, event_types=["complex"])
    atses.var = atses.var[["atse_id"]]
    for options in ({"event_types": ["complex"]}, {"annotation_status": "both"}):
        with pytest.raises(KeyError, match="has no column"):
            filter_atses(atses, **options)
    del atses.layers[JUNCTION]
    with pytest.raises(KeyError, match=JUNCTION):
        filter_atses(atses)


def test_chen(chen):
    filtered = filter_atses(chen, min_cells=400, min_minor_usage=0.05)
    assert 0 < filtered.n_vars < chen.n_vars
    assert (filtered.var["atse_id"].value_counts() >= 2).all()
    check_splicing(filtered)
