"""Matrices of IsoQuant, written from its lines as it converts them, and files that do not fit."""

from __future__ import annotations

import gzip
import re
import warnings
from typing import TYPE_CHECKING

import pytest
from helpers.junction_files import quick
from helpers.parts import counts
from hypothesis import given
from hypothesis import strategies as st

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read._isoquant import read_intron_counts

if TYPE_CHECKING:
    from pathlib import Path

NAME = "OUT.splice_junction_grouped_barcode_counts"
# Contig, first and last base, strand, read group, include and exclude.
ROWS = [
    ("chr1", 101, 250, "+", "CC", 5, 1),
    ("chr1", 101, 250, "+", "AA", 0, 2),
    ("chr1", 101, 350, "+", "AA", 3, 0),
    ("HLA-A*01:01", 301, 390, "+-", "AA", 4, 0),
    ("chr2", 7, 90, "-", "g 1", 0, 9),
]
COUNTS = {
    ("CC", "chr1", 101, 250, "+"): 5,
    ("AA", "chr1", 101, 350, "+"): 3,
    ("AA", "HLA-A*01:01", 301, 390, "?"): 4,
}


def write_text(path: Path, text: str, gz: bool = False) -> Path:
    if gz:
        path = path.with_name(f"{path.name}.gz")
    path.write_bytes(gzip.compress(text.encode()) if gz else text.encode())
    return path


def write_lines(folder: Path, rows) -> Path:
    head = "chr\tstart\tend\tstrand\tflags\tgene_ids\tgroup_id\tinclude_counts\texclude_counts\n"
    lines = [f"{c}\t{s}\t{e}\t{d}\tI\tG\t{g}\t{i}\t{x}\n" for c, s, e, d, g, i, x in rows]
    return write_text(folder / f"{NAME}.linear.tsv", head + "".join(lines))


def write_matrices(folder: Path, rows, name: str = NAME, gz: bool = False) -> Path:
    """Junctions in order of appearance, groups in order of names, a line for each count."""
    junctions = list(dict.fromkeys("{}:{}-{}:{}".format(*row[:4]) for row in rows))
    groups = sorted({row[4] for row in rows})
    for k, kind in ((6, "exclude"), (5, "include")):
        entries = [
            f"{junctions.index('{}:{}-{}:{}'.format(*row[:4])) + 1} "
            f"{groups.index(row[4]) + 1} {row[k]}\n"
            for row in rows
            if row[k]
        ]
        head = "%%MatrixMarket matrix coordinate real general\n"
        size = f"{len(junctions)} {len(groups)} {len(entries)}\n"
        path = folder / f"{name}.{kind}.matrix.mtx"
        path = write_text(path, head + size + "".join(entries), gz)
    write_text(folder / f"{name}.features.tsv", "".join(f"{j}\tG\n" for j in junctions), gz)
    write_text(folder / f"{name}.barcodes.tsv", "".join(f"{g}\n" for g in groups), gz)
    return path


def write_columns(folder: Path, rows) -> Path:
    """A column of include,exclude for each group."""
    groups = sorted({row[4] for row in rows})
    table: dict[str, dict[str, tuple[int, int]]] = {}
    for *place, group, include, exclude in rows:
        table.setdefault("{}:{}-{}:{}".format(*place), {})[group] = (include, exclude)
    lines = [
        "\t".join([name, *("{},{}".format(*of.get(group, (0, 0))) for group in groups)])
        for name, of in table.items()
    ]
    text = "\n".join(["\t".join(["intron_id", *groups]), *lines, ""])
    return write_text(folder / f"{NAME}.tsv", text)


@pytest.mark.parametrize("gz", [False, True])
def test_include_becomes_the_count(tmp_path: Path, gz: bool) -> None:
    path = write_matrices(tmp_path, ROWS, gz=gz)
    part = read_intron_counts(path, "OUT")
    assert counts(part) == COUNTS
    assert part.cells == ("AA", "CC", "g 1")
    assert part.report == {
        "rows": 4,
        "rows_kept": 3,
        "rows_without_reads": 1,
        "reads": 12,
        "barcodes": 3,
    }
    for adata in (
        lfa.pp.read_isoquant(path),
        lfa.pp.read_junctions(path),
        lfa.pp.read_isoquant(tmp_path),
        lfa.pp.read_junctions(tmp_path),
    ):
        assert adata.obs_names.tolist() == ["AA", "CC", "g 1"]
        assert adata.var_names.tolist() == [
            "HLA-A*01:01:301-390:?",
            "chr1:101-250:+",
            "chr1:101-350:+",
        ]
        assert adata.X.toarray().tolist() == [[4, 0, 3], [0, 5, 0], [0, 0, 0]]


def test_groups_are_kept_by_name(tmp_path: Path) -> None:
    path = write_matrices(tmp_path, ROWS)
    some = lfa.pp.read_isoquant(path, barcodes=["AA", "TT"])
    assert some.obs_names.tolist() == ["AA"]
    assert some.X.sum() == 7
    reading = some.uns["splicing"]["reading"]
    assert reading["barcodes_left_out"] == 2
    assert reading["barcodes_not_found"] == 1
    assert reading["reads_of_other_barcodes"] == 5
    with pytest.raises(ValueError, match="holds none of the barcodes listed, such as 'TT'"):
        lfa.pp.read_isoquant(path, barcodes=["TT"])


def test_columns_of_groups(tmp_path: Path) -> None:
    path = write_columns(tmp_path, ROWS)
    for adata in (lfa.pp.read_isoquant(path), lfa.pp.read_junctions(path)):
        assert adata.obs_names.tolist() == ["AA", "CC", "g 1"]
        assert adata.X.toarray().tolist() == [[4, 0, 3], [0, 5, 0], [0, 0, 0]]
    path.write_text(path.read_text().replace("3,0", "3"))
    with pytest.raises(ValueError, match=r"line 3: column 2 \(AA\) is '3': expected include,excl"):
        lfa.pp.read_isoquant(path)


junction = st.tuples(
    st.sampled_from(["chr1", "2", "HLA-A*01:01:01"]),
    st.integers(1, 10**6),
    st.integers(0, 10**5),
    st.sampled_from(["+", "-", ".", "+-"]),
)
number = st.one_of(st.integers(0, 3), st.integers(0, 10**9))


@quick
@given(
    data=st.dictionaries(
        st.tuples(junction, st.sampled_from(["AC", "GT", "A_1", "x y"])),
        st.tuples(number, number).filter(any),
        min_size=1,
        max_size=12,
    ),
    gz=st.booleans(),
)
def test_all_formats_of_a_run_are_the_same(tmp_path_factory, data, gz: bool) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows = [
        (contig, start, start + length, strand, group, *pair)
        for ((contig, start, length, strand), group), pair in data.items()
    ]
    strand_of = {"+": "+", "-": "-"}
    expected: dict[tuple[str, str, int, int, str], int] = {}
    for contig, start, end, strand, group, include, _ in rows:
        key = (group, contig, start, end, strand_of.get(strand, "?"))
        if include:
            expected[key] = expected.get(key, 0) + include
    paths = [write_lines(folder, rows), write_matrices(folder, rows, gz=gz)]
    if len({row[:3] for row in rows}) == len({row[:4] for row in rows}):
        paths.append(write_columns(folder, rows))
    parts = [read_intron_counts(path, "c") for path in paths]
    assert all(counts(part) == expected for part in parts)
    assert {part.cells for part in parts} == {tuple(sorted({row[4] for row in rows}))}


def test_entries_of_one_intron_are_summed(tmp_path: Path) -> None:
    path = write_matrices(tmp_path, [*ROWS, ("chr1", 101, 250, "+", "CC", 2, 0)])
    assert counts(read_intron_counts(path, "c")) == {
        **COUNTS,
        ("CC", "chr1", 101, 250, "+"): 7,
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("features.tsv", "chr2:7-90:-", "chr2:7-90", "line 4: column 1 is 'chr2:7-90': expected"),
        ("features.tsv", "chr2:7-90:-", "chr2:97-90:-", "line 4: column 1 is"),
        ("features.tsv", "chr2:7-90:-", "chr2:0-90:-", "line 4: column 1 is"),
        ("features.tsv", "101-350", "101-250", "line 2: repeats the junction .* of line 1"),
        ("features.tsv", "chr2:7-90:-\tG\n", "", r"4 rows, and .*features\.tsv 3 junctions"),
        ("features.tsv", "chr2:7-90:-\tG\n", "chr2:7-90:-\tG", "line 4: has no line end"),
        ("features.tsv", "chr2:7-90:-\tG\n", "\n", "line 4: is blank"),
        ("barcodes.tsv", "CC\n", "AA\n", "line 2: repeats the read group 'AA' of line 1"),
        ("barcodes.tsv", "CC\n", "", r"3 columns, and .*barcodes\.tsv beside it 2 lines"),
        ("barcodes.tsv", "g 1\n", "g ", "line 3: has no line end"),
        ("include.matrix.mtx", "1 2 5\n", "1 2 5.5\n", r"line 3: column 3 \(count\) is '5\.5'"),
        ("include.matrix.mtx", "1 2 5\n", "1 4 5\n", r"line 3: column 2 \(column\) is '4'"),
        ("include.matrix.mtx", "1 2 5\n", "", "2 entries: expected 3"),
        ("include.matrix.mtx", "real", "complex", "line 1: is .*expected a matrix"),
    ],
)
def test_errors_name_file_and_line(file, old, new, message, tmp_path: Path) -> None:
    path = write_matrices(tmp_path, ROWS)
    damaged = tmp_path / f"{NAME}.{file}"
    text = damaged.read_text()
    assert old in text
    damaged.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}.*{message}"):
        read_intron_counts(path, "c")


@pytest.mark.parametrize("file", ["features.tsv", "barcodes.tsv"])
def test_missing_files_are_named(tmp_path: Path, file: str) -> None:
    path = write_matrices(tmp_path, ROWS)
    (tmp_path / f"{NAME}.{file}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"There is no file .*{file}, nor"):
        read_intron_counts(path, "c")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OUT.intron_retention_grouped_barcode_counts", "counts of retained introns"),
        ("OUT.old_exon_grouped_barcode_counts", "counts of exons"),
    ],
)
def test_other_counts_of_a_run_are_no_junctions(tmp_path: Path, name: str, message: str) -> None:
    other = write_matrices(tmp_path, ROWS[:1], name=name)
    with pytest.raises(ValueError, match=f"is not an input .IsoQuant's {message}"):
        lfa.pp.read_isoquant(other)
    linear = write_lines(tmp_path, ROWS).rename(tmp_path / f"{name}.linear.tsv")
    with pytest.raises(ValueError, match=r"by its name: expected IsoQuant's counts of"):
        lfa.pp.read_junctions(linear)
    linear.unlink()
    write_matrices(tmp_path, ROWS)
    with pytest.warns(UserWarning, match=rf"Skipped: .*{name}\.include.*{message}"):
        adata = lfa.pp.read_junctions(tmp_path)
    assert adata.X.sum() == 12


def test_exclude_is_no_input(tmp_path: Path) -> None:
    path = write_matrices(tmp_path, ROWS)
    exclude = path.with_name(path.name.replace("include", "exclude"))
    with pytest.raises(ValueError, match=r"span introns without splicing them; include\.matrix"):
        lfa.pp.read_junctions(exclude)


def test_one_run_is_read_once(tmp_path: Path) -> None:
    write_matrices(tmp_path, ROWS)
    write_matrices(tmp_path, ROWS, name=NAME.replace("barcode", "file_name"))
    with pytest.raises(ValueError, match="the same reads in other groups, .*Name one"):
        lfa.pp.read_isoquant(tmp_path)


def test_cells_of_several_runs_have_their_names(tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        write_matrices(tmp_path / run, ROWS, name=NAME.replace("OUT", run))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adata = lfa.pp.read_junctions([tmp_path / "a", tmp_path / "b"])
    assert adata.obs_names.tolist() == ["a_AA", "a_CC", "a_g 1", "b_AA", "b_CC", "b_g 1"]
    assert adata.obs["sample"].tolist() == ["a"] * 3 + ["b"] * 3


def test_a_data_set_is_that_of_the_same_counts(tmp_path: Path) -> None:
    rows = [
        ("chr1", 101, 250, "+", "AA", 5, 4),
        ("chr1", 101, 350, "+", "AA", 3, 6),
        ("chr1", 101, 250, "+", "CC", 0, 2),
        ("chr1", 101, 350, "+", "CC", 2, 0),
        ("chr1", 701, 950, "+", "CC", 9, 0),
    ]
    adata = lfa.pp.make_splicing_dataset(write_matrices(tmp_path, rows), min_reads=1, min_cells=1)
    assert adata.var_names.tolist() == ["chr1:101-250:+", "chr1:101-350:+"]
    assert adata.layers["cell_by_junction_matrix"].toarray().tolist() == [[5, 3], [0, 2]]
    assert adata.layers["cell_by_cluster_matrix"].toarray().tolist() == [[8, 8], [2, 2]]


def test_a_lost_group_is_no_name_of_a_group(tmp_path: Path) -> None:
    path = write_columns(tmp_path, ROWS)
    path.write_text(path.read_text().replace("intron_id\tAA\t", "intron_id\t"))
    with pytest.raises(ValueError, match="line 1: names 3 columns, and the first row has 4"):
        lfa.pp.read_isoquant(path)


def test_reads_without_a_barcode_are_no_cell(tmp_path: Path) -> None:
    rows = [*ROWS, ("chr1", 101, 250, "+", "NA", 8, 0)]
    for path in (write_lines(tmp_path, rows), write_matrices(tmp_path, rows)):
        part = read_intron_counts(path, "c")
        assert (part.cells, counts(part)) == (("AA", "CC", "g 1"), COUNTS)
        assert part.report["reads_without_barcode"] == 8
        assert part.report["reads"] == 12
        some = read_intron_counts(path, "c", barcodes=["AA"])
        assert some.report["barcodes_left_out"] == 2
        assert some.report["reads_of_other_barcodes"] == 5
    part = read_intron_counts(write_columns(tmp_path, rows), "c")
    assert (part.cells, counts(part)) == (("AA", "CC", "g 1"), COUNTS)
    assert part.report["reads_without_barcode"] == 8
