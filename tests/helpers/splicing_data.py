"""Small STAR files, and the data contract of a splicing data set."""

from __future__ import annotations

import numpy as np

from leafletfa_scvi.data import check_splicing

JUNCTION, CLUSTER = "cell_by_junction_matrix", "cell_by_cluster_matrix"


LENIENT = {
    "min_reads": 1,
    "min_cells": 1,
    "min_usage": 0.0,
    "min_intron": 1,
    "max_intron": 10**9,
}


def star_line(start, end, count, strand="1", chrom="chr1") -> str:
    return f"{chrom}\t{start}\t{end}\t{strand}\t1\t0\t{count}\t0\t30\n"


def assert_contract(adata) -> None:
    """Checks of the data contract, written without the code of the package."""
    y = adata.layers[JUNCTION].toarray().astype(int)
    n = adata.layers[CLUSTER].toarray().astype(int)
    for _, columns in adata.var.groupby("atse_id", observed=True).indices.items():
        assert len(columns) > 1
        total = np.repeat(y[:, columns].sum(axis=1)[:, None], len(columns), axis=1)
        np.testing.assert_array_equal(n[:, columns], total)
    pattern = adata.layers[CLUSTER]
    assert pattern.data.min() > 0
    np.testing.assert_array_equal(pattern.indices, adata.layers[JUNCTION].indices)
    np.testing.assert_array_equal(pattern.indptr, adata.layers[JUNCTION].indptr)
    np.testing.assert_array_equal(adata.X.toarray(), y)
    assert (adata.var["start"] <= adata.var["end"]).all()
    named = adata.var[["chrom", "start", "end", "strand"]].astype(str)
    names = named["chrom"] + ":" + named["start"] + "-" + named["end"] + ":" + named["strand"]
    assert adata.var_names.tolist() == names.tolist()
    check_splicing(adata)
