"""Criteria of junctions: which stay, what the record says, what is refused."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers.junction_files import SJ, write

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.qc._filter_junctions import filter_junctions


@pytest.fixture
def junctions():
    """Six junctions, each with its own weakness except the first."""
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


def test_record_counts_each_dropped_junction_once(junctions, tmp_path):
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
        ({"annotation_status": "all"}, "annotation_status to be .*, found 'all'"),
        ({"motifs": "GT-AG"}, r"\('GT-AG',\)"),
        ({"motifs": ("GTAG",)}, "'GTAG'"),
        ({"min_reads": -1}, "min_reads to be a number from 0, found -1"),
        ({"min_length": 100, "max_length": 50}, "max_length to be a number from 100, found 50"),
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


def test_samples_that_no_table_names(tmp_path):
    """The message speaks of what a user of files can do: there is no ``sample_key`` there."""
    star = write(tmp_path / "a.SJ.out.tab", SJ)
    with pytest.raises(KeyError, match=r"table of files with a column sample"):
        lfa.pp.make_splicing_dataset(star, min_samples=2)
