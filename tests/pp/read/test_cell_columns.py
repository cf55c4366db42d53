"""Tables with a column for each cell: leafcutter's counts, and coordinates x cells."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from helpers.junction_files import quick, write
from hypothesis import given
from hypothesis import strategies as st

from leafletfa_scvi.pp import (
    make_splicing_dataset,
    read_counts_table,
    read_leafcutter,
    read_regtools,
)
from leafletfa_scvi.pp.read._counts_table import read_coordinates
from leafletfa_scvi.pp.read._detect import detect_format
from leafletfa_scvi.pp.read._leafcutter import read_perind
from leafletfa_scvi.pp.read._sources import find_sources

if TYPE_CHECKING:
    from pathlib import Path

PERIND = (
    b"chrom s1.bam s2.bam s3.bam\n"
    b"chr1:100:251:clu_1_+ 5/8 0/0 2/2\n"
    b"chr1:100:391:clu_1_+ 3/8 0/0 0/2\n"
    b"chr2:17:99:clu_2_NA 0/0 0/1 0/0\n"
)
NUMERS = (
    b"s1.bam s2.bam s3.bam\n"
    b"chr1:100:251:clu_1_+ 5 0 2\n"
    b"chr1:100:391:clu_1_+ 3 0 0\n"
    b"chr2:17:99:clu_2_NA 0 0 0\n"
)
MARVEL = (
    b"coord.intron\tERR1\tERR2\nchr1:101:250\t5\tNA\nchr1:101:390\t0\t12\nchr1:301:390\tNA\tNA\n"
)


def table(adata):
    """Counts by the names of cells and junctions, without zeros."""
    counts = adata.X.toarray()
    return {
        (cell, junction): int(counts[i, j])
        for i, cell in enumerate(adata.obs_names)
        for j, junction in enumerate(adata.var_names)
        if counts[i, j]
    }


@pytest.mark.parametrize(
    ("name", "data"), [("x_perind.counts.gz", PERIND), ("x_perind_numers.counts.gz", NUMERS)]
)
def test_leafcutter_introns_lie_between_the_exon_bases(name, data, tmp_path: Path) -> None:
    path = write(tmp_path / name, data)
    assert detect_format(path) == "leafcutter"
    for adata in (read_leafcutter(path), read_leafcutter(tmp_path)):
        assert adata.obs_names.tolist() == ["s1.bam", "s2.bam", "s3.bam"]
        assert table(adata) == {
            ("s1.bam", "chr1:101-250:+"): 5,
            ("s1.bam", "chr1:101-390:+"): 3,
            ("s3.bam", "chr1:101-250:+"): 2,
        }
        reading = adata.uns["splicing"]["reading"]
        assert (reading["rows"], reading["rows_without_reads"], reading["reads"]) == (3, 1, 10)
    some = read_leafcutter(path, barcodes=["s3.bam", "s4.bam"])
    assert table(some) == {("s3.bam", "chr1:101-250:+"): 2}
    assert some.uns["splicing"]["reading"]["barcodes_not_found"] == 1


def test_leafcutter_has_the_introns_of_regtools(tmp_path: Path) -> None:
    """The rule of leafcutter's script, from a line of BED12 to the name of the intron."""
    start, end, sizes = 90, 260, (10, 12)
    bed = f"chr1\t{start}\t{end}\tJ\t5\t-\t{start}\t{end}\t0\t2\t10,12\t0,158\n".encode()
    name = f"chr1:{start + sizes[0]}:{end - sizes[1] + 1}:clu_1_-:PR"
    one = read_regtools(write(tmp_path / "c.bed", bed))
    other = read_leafcutter(write(tmp_path / "x_perind.counts", f"chrom c\n{name} 5/5\n".encode()))
    assert table(one) == table(other) != {}


def test_marvel_has_the_introns_of_star(tmp_path: Path) -> None:
    path = write(tmp_path / "SJ.txt", MARVEL)
    assert detect_format(path) == "counts_table"
    quoted = MARVEL.replace(b"coord.intron\tERR1", b'"coord.intron"\t"ERR1"')
    quoted = re.sub(rb"(chr1:\d+:\d+)", rb'"\1"', quoted)
    for data in (MARVEL, quoted, MARVEL.replace(b"coord.intron\t", b""), MARVEL[12:]):
        adata = read_counts_table(write(tmp_path / "other.txt.gz", data))
        assert table(adata) == {("ERR1", "chr1:101-250:?"): 5, ("ERR2", "chr1:101-390:?"): 12}
        assert adata.obs_names.tolist() == ["ERR1", "ERR2"]
    empty = read_counts_table(write(tmp_path / "gaps.txt", MARVEL.replace(b"NA", b"")))
    assert table(empty) == table(adata)
    frame = pd.DataFrame({"a": [1, 0], "b": [0, 7]}, ["chr1:5-90:+", "chr1:5-120:-"])
    frame.to_csv(tmp_path / "own.tsv", sep="\t")
    adata = read_counts_table(tmp_path / "own.tsv")
    assert table(adata) == {("a", "chr1:5-90:+"): 1, ("b", "chr1:5-120:-"): 7}


def test_a_table_makes_a_data_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"chr1:{a}:{b}" for a, b in ((201, 400), (201, 600), (451, 600))]
    counts = rng.integers(1, 20, (3, 40))
    pd.DataFrame(counts, pd.Index(names, name="coord.intron")).to_csv(
        tmp_path / "SJ.txt", sep="\t"
    )
    adata = make_splicing_dataset(tmp_path / "SJ.txt", unstranded="keep")
    np.testing.assert_array_equal(adata.layers["cell_by_junction_matrix"].toarray(), counts.T)
    assert adata.var["atse_id"].nunique() == 1


def test_numerators_are_read_once(tmp_path: Path) -> None:
    write(tmp_path / "x_perind.counts.gz", PERIND)
    write(tmp_path / "x_perind_numers.counts.gz", NUMERS)
    with pytest.warns(UserWarning, match=r"x_perind\.counts\.gz \(the same counts"):
        (source,) = find_sources(tmp_path).sources
    assert source.path.endswith("x_perind_numers.counts.gz")
    write(tmp_path / "s1.junc", b"chr1\t100\t250\t.\t5\t+\n")
    with pytest.raises(ValueError, match=r"leafcutter's counts.*s1\.junc.*counted twice"):
        find_sources(tmp_path)
    with pytest.warns(UserWarning, match="the same counts"):
        assert len(find_sources(tmp_path, "leafcutter").sources) == 1


WRONG = [
    (read_perind, PERIND.replace(b"3/8", b"9/8"), 3, r"s1\.bam\) has 9 of 8 reads"),
    (read_perind, PERIND.replace(b"3/8", b"3"), 3, r"column 2 \(s1\.bam\) is '3': expected reads"),
    (read_perind, PERIND.replace(b" 0/2", b""), 3, "has 3 columns: expected 4"),
    (read_perind, PERIND.replace(b" 0/2", b" 0/2 1/2"), 3, "has 5 columns: expected 4"),
    (read_perind, PERIND.replace(b" 0/2", b" 0//2"), 3, "is '0//2': expected reads/total"),
    (read_perind, PERIND.replace(b" 0/2", b" /2"), 3, "is '/2': expected reads/total"),
    (read_perind, PERIND.replace(b":391:", b":251:"), 3, "repeats the junction .* of line 2"),
    (read_perind, PERIND.replace(b":391:", b":101:"), 3, "expected chrom:start:end:clu_number"),
    (read_perind, PERIND.replace(b"clu_1_+", b"clu_1_x"), 2, "expected chrom:start:end:clu_numb"),
    (read_perind, PERIND.replace(b"chrom ", b"intron "), 1, "column 1 is 'intron': expected 'ch"),
    (read_perind, PERIND.replace(b"s2", b"s1"), 1, "columns 2 and 3 are both the cell 's1.bam'"),
    (read_perind, NUMERS.replace(b"s1.bam ", b""), 1, "names 2 columns, and the first row has 4"),
    (read_perind, NUMERS.replace(b" 5 0", b" 5  0"), 1, "the first row has 5"),
    (read_perind, NUMERS.replace(b" 3 0", b" 3  0"), 3, "has 5 columns"),
    (read_perind, NUMERS.replace(b" 3 0", b" 3.0 0"), 3, r"is '3\.0': expected a whole number"),
    (read_perind, NUMERS.replace(b" 3 0", b" 3000000000 0"), 3, "is '3000000000': expected"),
    (read_perind, NUMERS.replace(b" 3 0", b" " + b"9" * 30 + b" 0"), 3, "is '9999"),
    (read_perind, NUMERS[:-1], 4, "has no line end"),
    (read_perind, NUMERS.replace(b"chr2", b"\xff"), 4, "is not UTF-8 text"),
    (read_perind, NUMERS.replace(b"s1", b"\xff"), 1, "is not UTF-8 text"),
    (read_coordinates, MARVEL.replace(b"12", b"-1"), 3, r"\(ERR2\) is '-1': expected a whole"),
    (read_coordinates, MARVEL.replace(b"12", b"NaN"), 3, r"\(ERR2\) is 'NaN': expected a whole"),
    (read_coordinates, MARVEL.replace(b":390\t0", b":100\t0"), 3, "expected chrom:start:end or"),
    (read_coordinates, MARVEL.replace(b"ERR2", b""), 1, "column 3 has no name"),
]


@pytest.mark.parametrize(("reader", "data", "line", "message"), WRONG)
def test_errors_name_file_and_line(reader, data, line, message, tmp_path: Path) -> None:
    path = write(tmp_path / "x", data)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}, line {line}: .*{message}"):
        reader(path)


def test_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is empty: expected leafcutter"):
        read_perind(write(tmp_path / "x", b""))
    for data in (b"chrom a b\n", b"a b\n"):
        counts = read_perind(write(tmp_path / "x", data))
        assert counts.cells == ("a", "b")
        assert counts.n_junctions == 0
    with pytest.raises(ValueError, match="none of the barcodes listed"):
        read_perind(write(tmp_path / "x", NUMERS), barcodes=["s9"])


@st.composite
def tables(draw):
    """Junctions, strands, cells and counts."""
    places = st.tuples(
        st.sampled_from(["chr1", "chr10", "KI270742.1", "2"]),
        st.integers(2, 10**9),
        st.integers(0, 10**6),
        st.sampled_from("+-?"),
    )
    junctions = draw(st.lists(places, min_size=1, max_size=8, unique=True))
    n_cells = draw(st.integers(1, 5))
    count = st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 2**31 - 1))
    row = st.lists(count, min_size=n_cells, max_size=n_cells)
    counts = draw(st.lists(row, min_size=len(junctions), max_size=len(junctions)))
    return junctions, [f"c{i}" for i in range(n_cells)], counts


def read_back(counts):
    """What the reader returned, by the names of cells and junctions."""
    contigs = [counts.contigs[i] for i in counts.contig]
    names = list(zip(contigs, counts.start, counts.end, counts.strand, strict=True))
    entries = zip(counts.cell, counts.junction, counts.count, strict=True)
    return {(counts.cells[c], *names[j]): n for c, j, n in entries}


@quick
@given(tables(), st.sampled_from(["numers", "ratios", "coordinates"]), st.booleans())
def test_what_is_written_is_read(tmp_path: Path, data, kind: str, zipped: bool) -> None:
    junctions, cells, counts = data
    lines, expected = [], {}
    for (contig, start, length, strand), row in zip(junctions, counts, strict=True):
        end = start + length
        if kind == "coordinates":
            lines.append("\t".join([f"{contig}:{start}-{end}:{strand}", *map(str, row)]))
        else:
            of = {"?": "NA"}.get(strand, strand)
            fields = [f"{n}/{min(n + 3, 2**31 - 1)}" if kind == "ratios" else str(n) for n in row]
            lines.append(" ".join([f"{contig}:{start - 1}:{end + 1}:clu_7_{of}", *fields]))
        for cell, n in zip(cells, row, strict=True):
            if n:
                expected[cell, contig, start, end, "?+-".index(strand)] = n
    corner = {"ratios": ["chrom"], "numers": [], "coordinates": ["coord.intron"]}[kind]
    mark = "\t" if kind == "coordinates" else " "
    text = "".join(f"{line}\n" for line in [mark.join([*corner, *cells]), *lines]).encode()
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(text) if zipped else text)
    found = (read_coordinates if kind == "coordinates" else read_perind)(path)
    assert found.cells == tuple(cells)
    assert read_back(found) == expected
