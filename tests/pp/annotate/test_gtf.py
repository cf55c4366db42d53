"""Text of GTF and GFF3 files: marks and compression are skipped, damage is named."""

from __future__ import annotations

import gzip
import random
import warnings

import pandas as pd
import pytest
from helpers.annotation import LINES, exon, gff, read

from leafletfa_scvi.pp.annotate._annotation import read_annotation

EXONS = "".join(
    f'chr1\ts\texon\t{start}\t{start + 99}\t.\t+\t.\tgene_id "G"; transcript_id "T";\r\n'
    for start in (101, 301)
)


@pytest.mark.parametrize("header", ["##description: x\r\n", ""], ids=["header", "no header"])
@pytest.mark.parametrize("name", ["a.gtf", "a.gtf.gz"])
def test_a_byte_order_mark_is_skipped(tmp_path, header, name):
    pack = gzip.compress if name.endswith("gz") else bytes
    plain, marked = tmp_path / name, tmp_path / f"marked_{name}"
    plain.write_bytes(pack((header + EXONS).encode()))
    marked.write_bytes(pack((header + EXONS).encode("utf-8-sig")))
    one, other = read_annotation(plain), read_annotation(marked)
    pd.testing.assert_frame_equal(one.introns, other.introns)
    pd.testing.assert_frame_equal(one.genes, other.genes)
    assert one.introns[["chrom", "start", "end"]].to_numpy().tolist() == [["chr1", 201, 300]]


GOOD = LINES[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\t1\t10\n", "line 2: 3 columns"),
        (GOOD[:30] + "\n", "line 2: "),
        (GOOD.replace("100", "x"), "line 2: start 'x' and end '200'"),
        (GOOD.replace("100", "201"), "line 2: start 201 and end 200"),
        (GOOD.replace("100", "0"), "line 2: start 0"),
        (GOOD.replace("200", "3000000000"), "line 2: start 100 and end 3000000000"),
        (GOOD.replace("+", "plus"), "line 2: strand 'plus'"),
        (GOOD.replace("gene_id", "gen"), "line 2: the exon has no gene_id"),
        (GOOD.replace("G1.3", ""), "line 2: the exon has no gene_id"),
        (GOOD.replace("exon", "gene").replace("gene_id", "g"), "line 2: the gene has no gene_id"),
    ],
)
def test_malformed_lines_are_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, [GOOD, line, GOOD])
    assert str(tmp_path / "a.gtf") in str(error.value)


def test_invalid_attributes(tmp_path):
    with pytest.raises(ValueError, match="line 1: attributes 'no' in column 9 are neither"):
        read(tmp_path, ["chr1\t.\texon\t1\t2\t.\t+\t.\tno\n"])
    with pytest.raises(ValueError, match="line 1: the exon has no gene_id or Parent"):
        read(tmp_path, ["chr1\t.\texon\t1\t2\t.\t+\t.\tID=no\n"])


def test_files_without_an_annotation(tmp_path):
    path = tmp_path / "a.gtf"
    with pytest.raises(ValueError, match="no line of feature 'exon' among its 1 lines"):
        read(tmp_path, [LINES[1]])
    with pytest.raises(ValueError, match="no line of feature 'exon'"):
        read(tmp_path, [])
    path.write_bytes(GOOD.encode().replace(b"G1", b"\xff"))
    with pytest.raises(ValueError, match="line 1: .* is not UTF-8"):
        read_annotation(path)
    packed = gzip.compress(random.Random(1).randbytes(1000).hex().encode() * 100)
    for broken in (packed[:-20], packed[:100] + b"x" * 50 + packed[150:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=str(path)):
            read_annotation(path)
    path.write_bytes(gzip.compress("".join(LINES * 1000).encode())[:-30])
    with pytest.raises(ValueError, match="a.gtf is truncated or damaged"):
        read_annotation(path)
    with pytest.raises(FileNotFoundError):
        read_annotation(tmp_path / "none.gtf")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_in_a_line_is_refused(tmp_path, packed):
    """Cut at any byte: what is read has whole lines alone, and all that earlier lines have."""
    path = tmp_path / "a.gtf"
    text = "".join(
        f'1\tx\t{feature}\t{start}\t{start + 50}\t.\t+\t.\tgene_id "G1"; transcript_id "T1";'
        ' gene_name "N";\n'
        for feature, start in (("exon", 1), ("exon", 101), ("exon", 201))
    ).encode()
    ends = {i for i, byte in enumerate(text) if byte == ord("\n")}
    for cut in range(text.index(b"\n") + 2, len(text)):
        data = text[:cut]
        path.write_bytes(gzip.compress(data) if packed else data)
        if cut in ends or cut - 1 in ends:
            assert len(read_annotation(path).exons) == data.count(b"exon")
            continue
        with pytest.raises(ValueError, match=rf"a\.gtf, line {data.count(10) + 1}: "):
            read_annotation(path)


def test_a_gff3_cut_in_a_line_is_refused(tmp_path):
    lines = [
        gff("gene", "c", 1, 90, "+", ID="gene:g"),
        gff("mRNA", "c", 1, 90, "+", ID="rna:t1", Parent="gene:g"),
        gff("exon", "c", 1, 10, "+", ID="e1", Parent="rna:t1"),
        gff("exon", "c", 21, 30, "+", ID="e2", Parent="rna:t1"),
    ]
    text = "".join(lines).encode()
    path = tmp_path / "a.gff3"
    for cut in range(len(text) - len(lines[-1]) + 1, len(text) - 1):
        path.write_bytes(text[:cut])
        with pytest.raises(ValueError, match=r"a\.gff3, line 4: "):
            read_annotation(path)
    path.write_bytes(text[:-1])
    assert len(read_annotation(path).introns) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([gff("exon", "c", 21, 30, "+", Parent="no")], "line 3: Parent 'no' is the ID of no line"),
        ([gff("mRNA", "c", 1, 9, "+", ID="t2", Parent="h")], "line 3: Parent 'h' is the ID of no"),
    ],
)
def test_parents_that_a_file_lacks_are_named(tmp_path, lines, message):
    whole = [
        gff("gene", "c", 1, 90, "+", ID="g"),
        gff("mRNA", "c", 1, 90, "+", ID="t1", Parent="g"),
        *lines,
        gff("exon", "c", 1, 10, "+", Parent="t1"),
    ]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, whole)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('gene_id "', "gene_id ", "attributes are cut off or damaged from"),
        ("; transcript_id", " transcript_id", "attributes are cut off or damaged from"),
        ("transcript_id", "transcrapt_id", "the exon names no transcript, as 2 others do"),
        ("exon", ".", "column 3 is '.'"),
        ("\n", "\t\n", "10 columns"),
        ("100", "1_00", "start '1_00'"),
        ("1", "\0", "a zero byte"),
    ],
)
def test_damaged_lines_are_named(tmp_path, old, new, message):
    good = exon("c", 100, 200, "+", "G1", "T1")
    with pytest.raises(ValueError, match=rf"line 2: .*{message}"):
        read(tmp_path, [good, good.replace(old, new, 1), good])


def ucsc(transcripts):
    return [
        exon("c", start, start + 99, "+", name, name)
        for name, starts in transcripts.items()
        for start in starts
    ]


def test_a_gtf_without_genes_is_named(tmp_path):
    """As of UCSC's table browser; genes of one transcript each are no such file."""
    shared = {"NM_1": (1, 201, 401), "NM_2": (1, 401), "NM_3": (1001, 1201)}
    with pytest.warns(UserWarning, match="gene_id is the same as transcript_id in 3 of 3"):
        read(tmp_path, ucsc(shared))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path, ucsc({"YAL1": (1, 201), "YAL2": (1001, 1201), "YAL3": (2001, 2201)}))
        read(tmp_path, [line.replace('"NM_1"', '"G"', 1) for line in ucsc(shared)])
