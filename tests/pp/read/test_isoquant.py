"""Intron counts of IsoQuant, by the description of its output and lines of its issues."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from helpers.junction_files import quick, write
from hypothesis import given
from hypothesis import strategies as st

from leafletfa_scvi.pp import read_isoquant, read_junctions
from leafletfa_scvi.pp.read._detect import detect_format
from leafletfa_scvi.pp.read._isoquant import read_intron_counts

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "chr\tstart\tend\tstrand\tflags\tgene_ids\tgroup_id\tinclude_counts\texclude_counts\n"
GROUPED = HEADER + (
    "chr1\t101\t250\t+\tIU\tG1\tCC\t5\t1\n"
    "chr1\t101\t250\t+\tIU\tG1\tAA\t0\t2\n"
    "chr1\t101\t250\t+\tISC\tG1,G2\tCC\t2\t0\n"
    "chr1\t301\t390\t+-\tIM\tG1,G3\tAA\t4\t0\n"
)


def test_groups_are_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "OUT.intron_grouped_counts.tsv", GROUPED.encode())
    assert detect_format(path) == "isoquant"
    for adata in (read_isoquant(path), read_junctions(path)):
        assert adata.obs_names.tolist() == ["AA", "CC"]
        assert adata.var_names.tolist() == ["chr1:101-250:+", "chr1:301-390:?"]
        assert adata.X.toarray().tolist() == [[0, 4], [7, 0]]
        assert adata.uns["splicing"]["reading"]["rows_without_reads"] == 1
    some = read_isoquant(path, barcodes=["CC", "GG"])
    assert some.X.toarray().tolist() == [[7]]
    assert some.uns["splicing"]["reading"]["reads_of_other_barcodes"] == 4


def test_without_groups_a_file_is_a_cell(tmp_path: Path) -> None:
    line = "1\t30943324\t30943931\t-\tICM\tENSMUSG00000117310,ENSMUSG00000026064\tNA\t342\t15\n"
    counts = read_intron_counts(write(tmp_path / "x.tsv", line.encode()), "cell_7")
    assert (counts.cells, counts.count.tolist()) == (("cell_7",), [342])
    assert detect_format(tmp_path / "x.tsv") == "isoquant"
    empty = read_intron_counts(write(tmp_path / "x.tsv", HEADER.encode()), "cell_7")
    assert (empty.cells, empty.n_junctions) == (("cell_7",), 0)


def test_exons_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "OUT.exon_grouped_counts.tsv", GROUPED.encode())
    with pytest.raises(ValueError, match=r"OUT\.exon_grouped_counts\.tsv has counts of exons"):
        read_isoquant(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("\t250\t+\tISC", "\t50\t+\tISC", 4, "start 101, end 50: expected an intron"),
        ("ISC\tG1,G2", "IU\tG1", 4, r"repeats the junction chr1:101-250:\+ of line 2"),
        ("\t+-\t", "\tx\t", 5, r"column 4 \(strand\) is 'x'"),
        ("\t5\t1\n", "\t5.0\t1\n", 2, r"column 8 \(include_counts\) is '5\.0'"),
        ("\t5\t1\n", "\t5\n", 2, "has 8 columns: expected 9"),
        ("\t4\t0\n", "\t4\t0", 5, "has no line end"),
    ],
)
def test_errors_name_file_and_line(old, new, line, message, tmp_path: Path) -> None:
    path = write(tmp_path / "x", GROUPED.replace(old, new).encode())
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}, line {line}: .*{message}"):
        read_intron_counts(path, "c")


entry = st.tuples(
    st.sampled_from(["chr1", "2", "KI270742.1"]),
    st.integers(1, 10**6),
    st.integers(0, 10**5),
    st.sampled_from("+-."),
    st.sampled_from(["AC", "GT", "A_1"]),
)


@quick
@given(st.dictionaries(entry, st.integers(0, 10**9), min_size=1, max_size=12))
def test_what_is_written_is_read(tmp_path: Path, data) -> None:
    lines = [
        f"{contig}\t{start}\t{start + length}\t{strand}\tI\tG\t{group}\t{n}\t1\n"
        for (contig, start, length, strand, group), n in data.items()
    ]
    path = write(tmp_path / "x.gz", (HEADER + "".join(lines)).encode())
    counts = read_intron_counts(path, "c")
    found = {
        (
            counts.contigs[counts.contig[j]],
            counts.start[j],
            counts.end[j] - counts.start[j],
            ".+-"[counts.strand[j]],
            counts.cells[c],
        ): n
        for c, j, n in zip(counts.cell, counts.junction, counts.count, strict=True)
    }
    assert found == {key: n for key, n in data.items() if n}
