from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pysam
import pytest
from helpers.annotation import LINES, exon, gff, gtf, read, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from leafletfa_scvi.pp.annotate._annotation import read_annotation


def test_tables_of_two_overlapping_genes(tmp_path):
    annotation = read(tmp_path, LINES)
    assert annotation.genes.index.name == "gene_id"
    assert rows(annotation.genes.reset_index()) == [
        ("G1.3", "Alpha", "chr1", 100, 900, "+", "coding", False),
        ("G2", "Beta", "chr1", 301, 800, "-", "", False),
    ]
    assert rows(annotation.introns) == [
        ("chr1", 201, 300, "+", "G1.3"),
        ("chr1", 201, 500, "+", "G1.3"),
        ("chr1", 401, 500, "+", "G1.3"),
        ("chr1", 401, 549, "-", "G2"),
        ("chr1", 621, 699, "-", "G2"),
    ]
    yes, no = True, False
    assert rows(annotation.exons) == [  # first, last, internal
        ("chr1", 100, 200, "+", "G1.3", yes, no, no),
        ("chr1", 301, 400, "+", "G1.3", no, no, yes),
        ("chr1", 301, 400, "-", "G2", no, yes, no),
        ("chr1", 501, 600, "+", "G1.3", no, yes, no),
        ("chr1", 501, 650, "+", "G1.3", no, yes, no),
        ("chr1", 550, 620, "-", "G2", no, no, yes),
        ("chr1", 700, 800, "-", "G2", yes, no, no),
    ]
    assert rows(annotation.transcripts) == [
        ("T1", "G1.3", 100, 200),
        ("T1", "G1.3", 301, 400),
        ("T1", "G1.3", 501, 600),
        ("T2", "G1.3", 100, 200),
        ("T2", "G1.3", 501, 650),
        ("T3", "G2", 301, 400),
        ("T3", "G2", 550, 620),
        ("T3", "G2", 700, 800),
    ]
    for table in (annotation.genes, annotation.introns, annotation.exons, annotation.transcripts):
        assert table["start"].dtype == table["end"].dtype == np.int64
    assert annotation.report["lines"] == 10
    assert annotation.report["exon_lines"] == 8
    assert annotation.report["transcripts"] == 3
    assert annotation.report["introns"] == 5


@pytest.mark.parametrize("kind", ["plain", "gzip", "bgzip", "crlf"])
def test_plain_and_compressed_files_read_the_same(tmp_path, kind):
    path = tmp_path / "a.txt"  # recognized by content
    text = "".join(LINES)
    path.write_bytes((text.replace("\n", "\r\n") if kind == "crlf" else text).encode())
    if kind == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif kind == "bgzip":
        pysam.tabix_compress(str(path), str(tmp_path / "b.txt"))
        path = tmp_path / "b.txt"
    pd.testing.assert_frame_equal(
        read_annotation(str(path)).introns, read(tmp_path, LINES).introns
    )


def test_the_same_structure_from_every_source(tmp_path):
    """Lines as GENCODE, Ensembl, NCBI, gffread and plain GFF3 write them."""
    more = {"gene_id": "G", "gene_name": "N", "gene_type": "t"}
    sources = {
        "gencode.gtf": [
            gtf("gene", "1", 11, 60, "-", **more),
            gtf("exon", "1", 41, 60, "-", transcript_id="T", **more),
            gtf("exon", "1", 11, 20, "-", transcript_id="T", **more),
        ],
        "ensembl.gtf": [
            gtf("exon", "1", 41, 60, "-", gene_id="G", gene_version="3", transcript_id="T",
                gene_name="N", gene_biotype="t"),
            gtf("exon", "1", 11, 20, "-", gene_id="G", gene_version="3", transcript_id="T",
                gene_name="N", gene_biotype="t"),
        ],
        "ncbi.gtf": [
            gtf("gene", "1", 11, 60, "-", gene_id="G", transcript_id="", gene="N",
                gene_biotype="t", note="a; gene_id b"),
            gtf("exon", "1", 41, 60, "-", gene_id="G", transcript_id="T", gene="N"),
            gtf("exon", "1", 11, 20, "-", gene_id="G", transcript_id="T", gene="N"),
        ],
        "unquoted.gtf": [
            "1\t.\texon\t41\t60\t.\t-\t.\tgene_id G; transcript_id T; gene_name N;gene_type t\n",
            "1\t.\texon\t11\t20\t.\t-\t.\ttranscript_id T; gene_id G\n",
        ],
        "gencode.gff3": [
            gff("gene", "1", 11, 60, "-", ID="G", **more),
            gff("transcript", "1", 11, 60, "-", ID="T", Parent="G", transcript_id="T", **more),
            gff("exon", "1", 41, 60, "-", ID="e", Parent="T", transcript_id="T", **more),
            gff("exon", "1", 11, 20, "-", ID="e2", Parent="T", transcript_id="T", **more),
        ],
        "ensembl.gff3": [
            gff("chromosome", "1", 1, 99, ".", ID="chromosome:1"),
            gff("ncRNA_gene", "1", 11, 60, "-", ID="gene:G", Name="N", biotype="t", gene_id="G"),
            gff("lnc_RNA", "1", 11, 60, "-", ID="transcript:T", Parent="gene:G", Name="N-201"),
            gff("exon", "1", 41, 60, "-", Parent="transcript:T", Name="E1"),
            gff("exon", "1", 11, 20, "-", Parent="transcript:T", Name="E2"),
        ],
        "ncbi.gff3": [
            gff("exon", "1", 41, 60, "-", ID="exon-T-1", Parent="rna-T-2", gene="N"),
            gff("exon", "1", 11, 20, "-", ID="exon-T-2", Parent="rna-T-2", gene="N"),
            gff("miRNA", "1", 11, 60, "-", ID="rna-T-2", Parent="rna-T", gene="N"),
            gff("primary_transcript", "1", 11, 60, "-", ID="rna-T", Parent="gene-G", gene="N"),
            gff("gene", "1", 11, 60, "-", ID="gene-G", Name="N", gene="N", gene_biotype="t"),
            "##FASTA\n", ">1\n", "ACGT\n",
        ],
        "gffread.gff3": [
            gff("mRNA", "1", 11, 60, "-", ID="T", geneID="G", gene_name="X"),
            gff("exon", "1", 41, 60, "-", Parent="T", gene_name="N", gene_type="t"),
            gff("exon", "1", 11, 20, "-", Parent="T"),
        ],
    }  # fmt: skip
    for name, lines in sources.items():
        annotation = read(tmp_path, lines, name)
        genes = rows(annotation.genes.reset_index())
        assert genes == [("G", "N", "1", 11, 60, "-", "t", False)], name
        assert rows(annotation.introns) == [("1", 21, 40, "-", "G")], name
        assert rows(annotation.exons) == [
            ("1", 11, 20, "-", "G", False, True, False),
            ("1", 41, 60, "-", "G", True, False, False),
        ], name


def test_several_parents_and_escapes_in_gff3(tmp_path):
    lines = [
        gff("gene", "c", 1, 90, "+", ID="g", Name="a%2Cb"),
        gff("gene", "c", 1, 90, "+", ID="h"),
        gff("mRNA", "c", 1, 90, "+", ID="t1", Parent="g"),
        gff("mRNA", "c", 1, 90, "+", ID="t2", Parent="g,h"),
        gff("exon", "c", 1, 10, "+", Parent="t1,t2"),
        gff("exon", "c", 21, 30, "+", Parent="t1"),
        gff("exon", "c", 41, 90, "+", Parent="t1,t2"),
    ]
    annotation = read(tmp_path, lines)
    assert rows(annotation.introns) == [
        ("c", 11, 20, "+", "g"),
        ("c", 11, 40, "+", "g"),
        ("c", 11, 40, "+", "h"),
        ("c", 31, 40, "+", "g"),
    ]
    assert annotation.genes["gene_name"].to_dict() == {"g": "a,b", "h": "h"}
    assert annotation.report["introns"] == 3


@pytest.mark.parametrize("turn", [1, -1])
def test_the_line_of_the_gene_names_it(tmp_path, turn):
    lines = [
        gtf("gene", "c", 1, 90, "+", gene_id="g", gene_name="B", gene_type="b"),
        exon("c", 1, 10, "+", "g", "t", gene_name="A", gene_type="a"),
        exon("c", 1, 10, "+", "g", "u", gene_name="C", gene_type="c"),
        exon("c", 1, 10, "+", "h", "v", gene_name="E"),
        exon("c", 1, 10, "+", "h", "w", gene_name="D"),
        gtf("exon", "c", 1, 10, "+", gene_id="h", transcript_id="x", gene="A"),
    ]
    genes = read(tmp_path, lines[::turn]).genes
    assert genes["gene_name"].to_dict() == {"g": "B", "h": "D"}
    assert genes["gene_type"].to_dict() == {"g": "b", "h": ""}


def test_parents_in_a_circle_end(tmp_path):
    lines = [
        gff("mRNA", "c", 1, 9, "+", ID="a", Parent="b"),
        gff("mRNA", "c", 1, 9, "+", ID="b", Parent="a"),
        gff("exon", "c", 1, 9, "+", Parent="a"),
    ]
    assert list(read(tmp_path, lines).genes.index) == ["b"]


def test_exons_that_touch_or_overlap_are_one(tmp_path):
    lines = [
        exon("1", 10, 20, "+", "G", "T"),
        exon("1", 21, 30, "+", "G", "T"),  # touches
        exon("1", 12, 14, "+", "G", "T"),  # lies within
        exon("1", 28, 40, "+", "G", "T"),  # overlaps
        exon("1", 42, 50, "+", "G", "T"),  # one base apart
    ]
    annotation = read(tmp_path, lines)
    assert rows(annotation.introns) == [("1", 41, 41, "+", "G")]
    assert [row[1:3] for row in rows(annotation.exons)] == [(10, 40), (42, 50)]
    assert annotation.report["exon_lines_joined"] == 3


def test_pseudoautosomal_genes_are_two(tmp_path):
    lines = [
        exon(chrom, start, start + 9, "+", "PAR", "T", gene_name="Par")
        for chrom in ("chrY", "chrX")
        for start in (101, 201)
    ] + [exon("chr10", 101, 110, "+", "PAR_chrY", "U")]
    annotation = read(tmp_path, lines)
    genes = annotation.genes
    assert genes["chrom"].to_dict() == {"PAR_chrY": "chr10", "PAR": "chrX", "PAR_chrY_": "chrY"}
    assert genes.loc[["PAR", "PAR_chrY_"], "gene_name"].tolist() == ["Par", "Par"]
    assert rows(annotation.introns) == [
        ("chrX", 111, 200, "+", "PAR"),
        ("chrY", 111, 200, "+", "PAR_chrY_"),
    ]
    assert annotation.report["genes_renamed"] == 1


def test_a_gene_id_on_both_strands_and_contigs(tmp_path):
    lines = [
        exon(chrom, start, start + 9, strand, "G", "T")
        for chrom in ("2", "10")
        for strand in "-+"
        for start in (101, 201)
    ]
    genes = read(tmp_path, lines).genes
    assert list(zip(genes.index, genes["chrom"], genes["strand"], strict=True)) == [
        ("G", "2", "+"),
        ("G_minus", "2", "-"),
        ("G_10", "10", "+"),
        ("G_10_minus", "10", "-"),
    ]


def test_without_strand_or_transcript_there_are_no_introns(tmp_path):
    lines = [
        exon("1", 1, 10, ".", "G", "T"),
        exon("1", 21, 30, ".", "G", "T"),
        exon("1", 1, 10, "+", "H", ""),
        exon("1", 21, 30, "+", "H", ""),
    ]
    annotation = read(tmp_path, lines)
    assert annotation.introns.empty
    assert list(annotation.introns) == ["chrom", "start", "end", "strand", "gene_id"]
    assert annotation.genes["strand"].to_dict() == {"G": "?", "H": "+"}
    assert annotation.report["transcripts_without_strand"] == 1
    assert annotation.report["exon_lines_without_transcript"] == 2


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_lines_does_not_matter(tmp_path_factory, rng):
    folder = tmp_path_factory.mktemp("order")
    lines = LINES + [line.replace("chr1", "chrX").replace("+", "-") for line in LINES[1:]]
    wanted = read(folder, lines)
    rng.shuffle(lines)
    found = read(folder, lines)
    for name in ("genes", "introns", "exons"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(wanted, name))
    assert found.report == wanted.report


def slow_introns(path):
    """Introns of a GTF whose exons neither touch nor overlap, line by line."""
    exons = {}
    for line in gzip.open(path, "rt") if path.suffix == ".gz" else open(path):
        fields = line.split("\t")
        if len(fields) == 9 and fields[2] == "exon":
            values = fields[8].split('"')
            gene = values[values.index(next(v for v in values if v.endswith("gene_id "))) + 1]
            name = values[
                values.index(next(v for v in values if v.endswith("transcript_id "))) + 1
            ]
            key = fields[0], fields[6], gene, name
            exons.setdefault(key, []).append((int(fields[3]), int(fields[4])))
    found = set()
    for (chrom, strand, gene, _), blocks in exons.items():
        blocks.sort()
        for (_, left), (right, _) in zip(blocks, blocks[1:], strict=False):
            found.add((chrom, left + 1, right - 1, strand, gene))
    return found


def test_gencode_files(data_dir):
    paths = [
        data_dir / "gtex_chr10" / "chr10.gtf.gz",
        data_dir / "tasic2016" / "gencode.vM10.annotation.subset.gtf",
    ]
    for path in paths:
        annotation = read_annotation(path)
        found = rows(annotation.introns)
        assert len(found) == len(set(found))
        assert set(found) == slow_introns(path)
        assert annotation.genes.index.is_unique
        assert set(annotation.exons["gene_id"]) <= set(annotation.genes.index)
    genes = annotation.genes
    assert genes.loc["ENSMUSG00000027273.13", "gene_name"] == "Snap25"
    assert len(genes) == 9
    assert annotation.report["lines"] == 773


def test_brie_events(data_dir):
    """Fifty cassette exons: three introns and three exons of each gene."""
    path = data_dir / "brie_ss2" / "mouse_SE.lenient_50events.gff3"
    annotation = read_annotation(path)
    assert len(annotation.genes) == 50
    assert annotation.genes.loc["ENSMUSG00000048911", "gene_name"] == "Rnf24"
    assert annotation.genes.loc["ENSMUSG00000048911", "gene_type"] == "protein_coding"
    for table in (annotation.introns, annotation.exons):
        assert (table.groupby("gene_id").size() == 3).all()
    counts = annotation.exons.groupby("gene_id")[["first", "last", "internal"]].sum()
    assert (counts == 1).all(axis=None)
    chosen = annotation.introns[annotation.introns["gene_id"] == "ENSMUSG00000048911"]
    assert chosen[["start", "end"]].to_numpy().tolist() == [
        [131304332, 131304685],
        [131304332, 131305651],
        [131304775, 131305651],
    ]
