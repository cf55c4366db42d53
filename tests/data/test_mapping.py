"""Mappings of junctions: tables, files and their errors, and data sets under other names."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi.data import hide_junctions, read_mapping, read_pairs, rename_junctions

SOURCE = pd.Index(["a", "b", "c", "d"])
TARGET = pd.Index(["A", "B", "C"])
TABLE = pd.DataFrame(
    {"source": list("abd"), "target": ["A", None, "B"], "reason": [None, "x", None]}
)


def test_tables_dicts_and_files_are_the_same(tmp_path):
    expected = {"a": "A", "d": "B"}
    for name, sep in (("m.csv", ","), ("m.TSV", "\t"), ("m.txt.gz", "\t"), ("m.csv.gz", ",")):
        TABLE.to_csv(tmp_path / name, sep=sep, index=False)
    TABLE.to_parquet(tmp_path / "m.parquet")
    files = [tmp_path / x for x in ("m.csv", "m.TSV", "m.txt.gz", "m.csv.gz", "m.parquet")]
    for mapping in (TABLE, expected, *files, str(files[0]), TABLE.set_index("reason")):
        found = read_mapping(mapping, SOURCE, TARGET)
        assert found.to_dict() == expected


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        (
            {"a": "A", "b": "A"},
            ValueError,
            "each target once in mapping, found 'A' with 'a' and 'b'",
        ),
        ({"a": ["A", "B"]}, ValueError, "each source once in mapping, found 'a' with 'A' and 'B'"),
        ({"a": "A", "b": "Z", "c": "Y"}, ValueError, "reference's 3 junctions.*'Z' and 1 more"),
        ({"x": "A"}, ValueError, "sources of mapping among the junctions of adata, such as 'a'"),
        ({"A": "a", "B": "b"}, ValueError, "swap"),
        ({}, ValueError, "mapping to have pairs, found none in 0 rows"),
        ({"a": None}, ValueError, "found none in 1 rows"),
        (pd.DataFrame({"source": ["a"]}), KeyError, "'target' in mapping, found \\['source'\\]"),
        (
            pd.DataFrame([["a", "A", "B"]], columns=["source", "target", "target"]),
            ValueError,
            "one column 'target' in mapping, found several",
        ),
        (3, TypeError, "mapping to be a DataFrame, a dict or the path of a file, found a int"),
        ("none.csv", FileNotFoundError, r"none\.csv"),
    ],
)
def test_mappings_that_are_refused(mapping, error, message):
    with pytest.raises(error, match=message):
        read_mapping(mapping, SOURCE, TARGET)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.xlsx", b"PK", r"to end with \.csv, \.tsv"),
        ("m.csv", b"", "cannot be read as a table"),
        ("m.csv", b"\xff\xfe\x00\x81", "cannot be read as a table"),
        ("m.parquet", b"source,target\n", "m.parquet cannot be read as a table"),
        ("m.csv.gz", b"source,target\n", "cannot be read as a table"),
        (
            "m.csv.gz",
            gzip.compress(b"source,target\na,A\n", mtime=0)[:-5],
            "cannot be read as a table",
        ),
        ("m.csv", b"source,target\na,A\nb,B,C,D\n", "cannot be read as a table"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / name, "mapping")


def test_a_file_without_the_columns(tmp_path):
    (tmp_path / "m.tsv").write_text("source,target\na,A\n")
    with pytest.raises(KeyError, match=r"'source' in mapping \(.*m\.tsv\)"):
        read_pairs(tmp_path / "m.tsv", "mapping")


def test_names_and_coordinates_are_those_of_the_target():
    names = ["chr1:1-9:+", "chr1:21-29:+"]
    var = pd.DataFrame({"chrom": ["chr1"] * 2, "start": [1, 21], "gene_id": ["g", "h"]}, names)
    adata = AnnData(sp.csr_matrix(np.ones((2, 2), np.float32)), var=var)
    before = adata.copy()
    found = rename_junctions(adata, pd.Series({names[0]: "2:101-109:-", "more": "x"}))
    assert found.var_names.tolist()[0] == "2:101-109:-"
    assert found.var["source_junction"].tolist() == names
    assert found.var["chrom"].iloc[0] == "2"
    assert found.var["start"].iloc[0] == 101
    assert found.var["start"].isna().tolist() == [False, True]
    assert found.var["gene_id"].tolist() == ["g", "h"]
    assert "strand" not in found.var
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert found.X is adata.X


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_hidden_junctions_have_no_totals(form):
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    adata = AnnData(layers={"n": form(values)}, var=pd.DataFrame(index=list("abc")))
    hide_junctions(adata, ["b"], "n")
    assert adata.to_df("n").to_numpy().tolist() == [[0, 0, 2], [3, 0, 5]]
    assert adata.layers["n"].dtype == np.int32
    if sp.issparse(adata.layers["n"]):
        assert adata.layers["n"].nnz == 3
