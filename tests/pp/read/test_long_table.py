"""Long tables of junction counts: any columns, separators and order of rows, text or Parquet."""

from __future__ import annotations

import gzip
import re
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from helpers.junction_files import quick
from helpers.parts import counts
from hypothesis import given
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.pp._text import read_blocks
from leafletfa_scvi.pp.read import _long_columns
from leafletfa_scvi.pp.read._detect import detect_format
from leafletfa_scvi.pp.read._long_columns import table_columns_of
from leafletfa_scvi.pp.read._long_table import read_rows

if TYPE_CHECKING:
    from pathlib import Path

TABLE = (
    "cell\tchrom\tstart\tend\tstrand\tcount\n"
    "CC\tchr1\t101\t250\t+\t5\n"
    "AA\tchr1\t101\t250\t+\t0\n"
    "AA\tchr2\t7\t90\t.\t4\n"
    "AA\tchr1\t101\t350\t+\t3\n"
)
COUNTS = {
    ("CC", "chr1", 101, 250, "+"): 5,
    ("AA", "chr2", 7, 90, "?"): 4,
    ("AA", "chr1", 101, 350, "+"): 3,
}


def write(path: Path, text: str) -> Path:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.tsv.gz", "t.csv.gz", "t", "t.parquet"])
def test_rows_become_counts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = pd.DataFrame([line.split("\t") for line in TABLE.splitlines()[1:]])
    frame.columns = TABLE.splitlines()[0].split("\t")
    frame = frame.astype({"start": int, "end": int, "count": int})
    if name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="," if ".csv" in name else "\t", index=False)
    part = read_rows(path)
    assert counts(part) == COUNTS
    assert part.cells == ("AA", "CC")
    assert part.report == {
        "rows": 4,
        "rows_kept": 3,
        "rows_without_reads": 1,
        "reads": 12,
        "barcodes": 2,
    }
    assert detect_format(path) == "long_table"
    for adata in (lfa.pp.read_long_table(path), lfa.pp.read_junctions(path)):
        assert adata.obs_names.tolist() == ["AA", "CC"]
        assert adata.obs["sample"].tolist() == ["t", "t"]
        assert adata.var_names.tolist() == ["chr1:101-250:+", "chr1:101-350:+", "chr2:7-90:?"]
        assert adata.X.toarray().tolist() == [[0, 3, 4], [5, 0, 0]]


def test_columns_have_any_name_and_place(tmp_path: Path) -> None:
    text = "n,gene,to,bc,from,seq\n5,G1,250,CC,100,1\n4,,90,AA,6,2\n3,G2,350,AA,100,1\n"
    path = write(tmp_path / "t.csv", text)
    columns = {"cell": "bc", "chrom": "seq", "start": "from", "end": "to", "count": "n"}
    adata = lfa.pp.read_long_table(path, columns=columns, zero_based=True)
    assert adata.var_names.tolist() == ["1:101-250:?", "1:101-350:?", "2:7-90:?"]
    assert adata.X.toarray().tolist() == [[0, 3, 4], [5, 0, 0]]
    same = lfa.pp.read_junctions(
        path, format="long_table", table_columns=columns, table_zero_based=True
    )
    assert same.var_names.tolist() == adata.var_names.tolist()
    frame = pd.read_csv(path).astype({"n": float})
    frame.to_parquet(tmp_path / "t.parquet")
    read = table_columns_of(columns, zero_based=True)
    assert counts(read_rows(tmp_path / "t.parquet", read)) == counts(read_rows(path, read))


def test_a_header_that_begins_as_one_of_bed(tmp_path: Path) -> None:
    text = "#chrom\tstart\tend\tstrand\tbarcode\treads\nchr1\t101\t250\t-\tAA\t5\n"
    path = write(tmp_path / "t.bed", text)
    assert detect_format(path) == "long_table"
    assert counts(read_rows(path)) == {("AA", "chr1", 101, 250, "-"): 5}


def test_quotes_of_r_are_no_part_of_names(tmp_path: Path) -> None:
    text = '"cell","chrom","start","end","count"\n"AA","chr1",101,250,5\n'
    path = write(tmp_path / "t.csv", text)
    assert counts(read_rows(path)) == {("AA", "chr1", 101, 250, "?"): 5}


def test_cells_are_kept_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", TABLE)
    some = lfa.pp.read_long_table(path, barcodes=["AA", "TT"])
    assert some.obs_names.tolist() == ["AA"]
    assert some.X.sum() == 7
    reading = some.uns["splicing"]["reading"]
    assert reading["barcodes_left_out"] == reading["barcodes_not_found"] == 1
    assert reading["reads_of_other_barcodes"] == 5
    with pytest.raises(ValueError, match="holds none of the barcodes listed, such as 'TT'"):
        lfa.pp.read_long_table(path, barcodes=["TT"])


def test_a_table_without_rows_has_no_cell(tmp_path: Path) -> None:
    head = TABLE.splitlines()[0] + "\n"
    part = read_rows(write(tmp_path / "t.tsv", head))
    assert (part.cells, part.n_junctions) == ((), 0)


entry = st.tuples(
    st.sampled_from(["AC", "G T", "A_1", "É"]),
    st.sampled_from(["chr1", "2", "HLA-A*01:01"]),
    st.integers(1, 2**31 - 10**6),
    st.integers(0, 10**5),
    st.sampled_from(["+", "-", ".", "?"]),
)


@quick
@given(
    data=st.dictionaries(entry, st.integers(0, 10**8), min_size=1, max_size=20),
    order=st.permutations(["cell", "chrom", "start", "end", "strand", "count", "gene"]),
    sep=st.sampled_from("\t,"),
    size=st.sampled_from([40, 200, 1 << 20]),
    zero_based=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, data, order, sep, size, zero_based) -> None:
    expected: dict[tuple[str, str, int, int, str], int] = {}
    rows = []
    for (cell, chrom, start, length, strand), n in data.items():
        key = (cell, chrom, start, start + length, strand.replace(".", "?"))
        if key in expected:
            continue
        expected[key] = n
        first = start - zero_based
        rows.append([cell, chrom, first, start + length, strand, n, "G"])
    names = ["cell", "chrom", "start", "end", "strand", "count", "gene"]
    frame = pd.DataFrame(rows, columns=names)[order]
    folder = tmp_path_factory.mktemp("tables")
    text = write(folder / "t", frame.to_csv(sep=sep, index=False))
    frame.to_parquet(folder / "t.parquet")
    columns = table_columns_of(None, zero_based)
    expected = {key: n for key, n in expected.items() if n}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_long_columns, "read_blocks", lambda path: read_blocks(path, size))
        patch.setattr(_long_columns, "_BATCH", 3)
        parts = [read_rows(path, columns) for path in (text, folder / "t.parquet")]
    assert [counts(part) for part in parts] == [expected] * 2
    assert [part.cells for part in parts] == [tuple(sorted({row[0] for row in rows}))] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tstart\t", "\tbegin\t", r"line 1 has the columns \['cell', 'chrom', 'begin'.*'start'"),
        ("\tstrand\t", "\tstart\t", "line 1 has the column 'start' twice"),
        ("\tstrand\t", "\tbarcode\t", "columns 'cell' and 'barcode', either of which may be"),
        ("CC\tchr1\t101", "CC\tchr1\t1e2", r"line 2: column 3 \(start\) is '1e2'"),
        ("CC\tchr1\t101", "CC\tchr1\t0", r"line 2: column 3 \(start\) is '0': .*from 1 to"),
        ("CC\tchr1\t101", "CC\tchr1\t251", "line 2: start 251, end 250: expected an intron that"),
        ("\t5\n", "\t5.0\n", r"line 2: column 6 \(count\) is '5\.0': expected a whole number"),
        ("\t5\n", "\t-5\n", r"line 2: column 6 \(count\) is '-5'"),
        ("\t5\n", "\t\n", r"line 2: column 6 \(count\) is ''"),
        ("\t5\n", "\n", "line 2: has 5 columns, and the header 6"),
        ("CC\tchr1", "1\tCC\tchr1", "line 2: has 7 columns, .*Write it without row names"),
        ("+\t5\n", "x\t5\n", r"line 2: column 5 \(strand\) is 'x'"),
        ("CC\t", "\t", r"line 2: column 1 \(cell\) is ''"),
        ("+\t3\n", "+\t3", "line 5: has no line end"),
        (
            "AA\tchr1\t101\t350",
            "CC\tchr1\t101\t250",
            r"line 5: repeats the junction chr1:101-250:\+ of the cell 'CC' of line 2",
        ),
    ],
)
def test_errors_name_file_and_line(old, new, message, tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", TABLE)
    assert old in TABLE
    path = write(path, TABLE.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{message}"):
        read_rows(path)


def test_an_unread_last_column_does_not_hide_a_short_line(tmp_path: Path) -> None:
    text = "cell,chrom,start,end,count,gene\nAA,chr1,101,250,5\nAA,chr1,101,350,5,G,H\n"
    with pytest.raises(ValueError, match="line 2: has 5 columns, and the header 6"):
        read_rows(write(tmp_path / "t", text))


def test_an_empty_file_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is empty: expected a long table"):
        read_rows(write(tmp_path / "t", "\n"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("count", [5.0, 2.5], r"row 2: count is '2\.5': expected a whole number from 0"),
        ("count", [5.0, np.nan], "row 2: count is .*: expected no missing value"),
        ("count", ["5", "2"], "row 1: count is '?5'?.*: expected a whole number"),
        ("start", [0, 1], "row 1: start is '?0'?.*: expected a whole number from 1"),
        ("start", [101, 351], "row 2: end is '?350'?.*: expected no end before the start"),
        ("cell", ["AA", None], "row 2: cell is .*: expected no missing value"),
        ("cell", ["", "AA"], "row 1: cell is .*: expected some text"),
        ("strand", ["+", "x"], "row 2: strand is 'x'"),
        (
            "end",
            [250, 250],
            r"row 2: repeats the junction chr1:101-250:\+ of the cell 'AA' of row",
        ),
    ],
)
def test_errors_of_parquet_name_the_row(column, value, message, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "cell": ["AA", "AA"],
            "chrom": ["chr1", "chr1"],
            "start": [101, 101],
            "end": [250, 350],
            "strand": ["+", "+"],
            "count": [5, 3],
        }
    )
    frame[column] = value
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}, {message}"):
        read_rows(path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + b"x" * 50)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged or no Parquet"):
        read_rows(path)


def test_without_pyarrow_parquet_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(_long_columns, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'leafletfa-scvi\[parquet\]'"):
        read_rows(path)


def test_wrong_columns_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", TABLE)
    with pytest.raises(ValueError, match="to be any of cell, chrom, .*, found 'barcode'"):
        lfa.pp.read_long_table(path, columns={"barcode": "cell"})
    with pytest.raises(ValueError, match="'x' is given for both 'cell' and 'chrom'"):
        lfa.pp.read_long_table(path, columns={"cell": "x", "chrom": "x"})
    with pytest.raises(ValueError, match="expected 'stranded' for the strand"):
        lfa.pp.read_long_table(path, columns={"strand": "stranded"})
    with pytest.raises(TypeError, match="Expected the names of columns as a dict"):
        lfa.pp.read_long_table(path, columns=["cell"])  # type: ignore[arg-type]
    other = write(tmp_path / "x.SJ.out.tab", "chr1\t101\t250\t1\t1\t1\t5\t0\t30\n")
    with pytest.raises(ValueError, match="concern long tables, but no input is one"):
        lfa.pp.read_junctions(other, table_zero_based=True)


def test_a_data_set_is_that_of_other_formats(tmp_path: Path) -> None:
    rows = "CC,chr1,101,250,+,1\nAA,chr1,101,250,+,5\nAA,chr1,101,350,+,3\n"
    path = write(tmp_path / "t.csv", "cell,chrom,start,end,strand,count\n" + rows)
    table = "coord.intron\tAA\tCC\nchr1:101-250:+\t5\t1\nchr1:101-350:+\t3\t0\n"
    columns = write(tmp_path / "columns.txt", table)
    one, two = (
        lfa.pp.make_splicing_dataset(one, min_reads=1, min_cells=1) for one in (path, columns)
    )
    for layer in ("cell_by_junction_matrix", "cell_by_cluster_matrix"):
        assert (one.layers[layer] != two.layers[layer]).nnz == 0
    assert one.var_names.tolist() == two.var_names.tolist()
    assert one.var["atse_id"].tolist() == two.var["atse_id"].tolist()
