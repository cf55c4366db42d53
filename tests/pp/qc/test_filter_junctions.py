from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from leafletfa_scvi.data import check_splicing
from leafletfa_scvi.pp._counts import splicing_from_counts
from leafletfa_scvi.pp.qc._filter_atses import filter_atses
from leafletfa_scvi.pp.qc._filter_junctions import filter_junctions

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


@pytest.fixture
def junctions():
    """Six junctions, each with a weakness of its own except the first."""
    var = pd.DataFrame(
        {
            "chrom": pd.Categorical(["chr1"] * 5 + ["chrM"]),
            "start": [101, 101, 101, 101, 101, 101],
            "end": [250, 150, 9_000, 260, 270, 280],
            "strand": "+",
            "motif": pd.Categorical(
                ["GT-AG", "GT-AG", "GC-AG", "non-canonical", "unknown", "AT-AC"]
            ),
            "annotation_status": ["both", "both", "five_prime", "none", "both", "three_prime"],
            "known_junction": [True, False, False, False, True, False],
        }
    )
    var.index = [f"{c}:{s}-{e}:+" for c, s, e in zip(var.chrom, var.start, var.end, strict=True)]
    counts = sp.csr_matrix(
        np.array(
            [
                [5, 9, 1, 0, 0, 2],
                [5, 0, 1, 3, 0, 2],
                [5, 0, 0, 3, 0, 2],
                [5, 0, 0, 0, 0, 2],
            ],
            np.int32,
        )
    )
    obs = pd.DataFrame({"sample": ["a", "a", "b", None]}, index=list("wxyz"))
    adata = anndata.AnnData(counts, obs=obs, var=var)
    adata.uns["splicing"] = {"reading": {"rows": 11}}
    return adata


def kept(junctions, **options):
    before = junctions.copy()
    filtered = filter_junctions(junctions, **options)
    assert (junctions.X != before.X).nnz == 0
    assert junctions.uns["splicing"] == {"reading": {"rows": 11}}
    assert filtered.X.dtype == np.int32
    names = list(junctions.var_names)
    return [names.index(name) for name in filtered.var_names]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0, 1, 2, 3, 5]),
        ({"min_reads": 0, "min_cells": 0}, [0, 1, 2, 3, 4, 5]),
        ({"min_reads": 6}, [0, 1, 3, 5]),
        ({"min_cells": 2}, [0, 2, 3, 5]),
        ({"min_cells": 5}, []),
        ({"min_samples": 2}, [0, 3, 5]),
        ({"min_length": 51}, [0, 2, 3, 5]),
        ({"min_length": 50, "max_length": 160}, [0, 1, 3]),
        ({"motifs": ("GT-AG", "non-canonical")}, [0, 1, 3]),
        ({"canonical_only": True}, [0, 1, 2, 5]),
        ({"annotation_status": "both"}, [0, 1]),
        ({"annotation_status": "either"}, [0, 1, 2, 5]),
        ({"known_only": True}, [0]),
        ({"exclude_contigs": ["chrM", "ERCC-1"]}, [0, 1, 2, 3]),
    ],
)
def test_criteria_of_junctions(junctions, options, wanted):
    assert kept(junctions, **options) == wanted
    as_text = junctions.copy()
    for name in ("chrom", "motif"):
        as_text.var[name] = as_text.var[name].astype(object)
    assert kept(as_text, **options) == wanted


def test_record_counts_what_goes_once(junctions, tmp_path):
    filtered = filter_junctions(junctions, canonical_only=True, min_cells=2, min_reads=3)
    record = filtered.uns["splicing"]["junction_qc"]
    assert record["order"] == ["canonical_only", "min_reads", "min_cells"]
    assert record["dropped"] == {
        "canonical_only": {"junctions": 2, "reads": 6},
        "min_reads": {"junctions": 1, "reads": 2},
        "min_cells": {"junctions": 1, "reads": 9},
    }
    assert (record["junctions_before"], record["junctions_kept"]) == (6, 2)
    assert (record["reads_before"], record["reads_kept"]) == (45, 28)
    assert filtered.uns["splicing"]["reading"] == {"rows": 11}
    filtered.write_h5ad(tmp_path / "a.h5ad")
    filtered = anndata.read_h5ad(tmp_path / "a.h5ad")
    again = filter_junctions(filtered, exclude_contigs=["chrM"]).uns["splicing"]["junction_qc"]
    assert (again["junctions_before"], again["junctions_kept"]) == (6, 1)
    assert again["dropped"]["canonical_only"] == {"junctions": 2, "reads": 6}
    assert again["dropped"]["exclude_contigs"] == {"junctions": 1, "reads": 8}
    assert sum(x["reads"] for x in again["dropped"].values()) + again["reads_kept"] == 45
    assert filtered.uns["splicing"]["junction_qc"]["junctions_kept"] == 2


def test_no_junctions(junctions):
    empty = filter_junctions(junctions[:, :0].copy())
    assert empty.shape == (4, 0)
    assert empty.uns["splicing"]["junction_qc"]["junctions_before"] == 0


def test_errors_of_junctions(junctions, small):
    bare = junctions.copy()
    bare.var = bare.var[["chrom", "start"]]
    for options, message in (
        ({"canonical_only": True}, "'motif'.*FASTA"),
        ({"motifs": ("GT-AG",)}, "'motif'"),
        ({"annotation_status": "either"}, "'annotation_status'.*annotate_junctions"),
        ({"known_only": True}, "'known_junction'.*annotate_junctions"),
        ({"max_length": 10}, "'end'"),
        ({"min_samples": 2, "sample_key": "donor"}, "'donor'"),
    ):
        with pytest.raises(KeyError, match=message):
            filter_junctions(bare, **options)
    for options, message in (
        ({"annotation_status": "all"}, "annotation_status='all'"),
        ({"motifs": "GT-AG"}, r"\('GT-AG',\)"),
        ({"motifs": ("GTAG",)}, "'GTAG'"),
        ({"min_reads": -1}, "min_reads=-1"),
        ({"min_length": 100, "max_length": 50}, "max_length=50: expected at least 100"),
    ):
        with pytest.raises(ValueError, match=message):
            filter_junctions(junctions, **options)
    junctions.var["annotation_status"] = "unanno"
    with pytest.raises(ValueError, match="'unanno' for junction 'chr1:101-250"):
        filter_junctions(junctions, annotation_status="both")
    junctions.X = junctions.X * 0.5
    with pytest.raises(ValueError, match="adata.X holds the fractional value"):
        filter_junctions(junctions)
    with pytest.raises(ValueError, match="filter_atses"):
        filter_junctions(small)


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
        ({"min_junctions": 3, "max_junctions": 2}, "max_junctions=2"),
        ({"min_cell_reads": 0}, "min_cell_reads=0"),
        ({"event_types": "complex"}, "expected a sequence"),
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
