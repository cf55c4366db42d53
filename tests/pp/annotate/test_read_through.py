"""Read-through genes: how files state them, how sites show them, and who gets their junctions."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from helpers.annotation import exon, gff, gtf, read

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.annotate._annotate import annotate
from leafletfa_scvi.pp.annotate._annotation import read_annotation

# Two genes one after the other, and R, which runs from the first into the second.
A = [(101, 200), (301, 400), (501, 600)]
B = [(1101, 1200), (1301, 1400), (1501, 1600)]
R = [(101, 200), (301, 400), (1301, 1400), (1501, 1650)]
EXTRA = [(101, 200), (351, 400), (1301, 1400)]  # 201-350 of R alone, one site of A


def lines(tag="", gene_line="", **transcripts):
    found = [gtf("gene", "1", 101, 1650, "+", gene_id="R") + gene_line] if gene_line else []
    given = transcripts or {"R": R}
    for gene, name, exons in [
        ("A", "a", A),
        ("B", "b", B),
        *(("R", n, e) for n, e in given.items()),
    ]:
        more = tag if gene == "R" else ""
        found += [exon("1", *span, "+", gene, name)[:-1] + more + "\n" for span in exons]
    return found


def of(annotation):
    return set(annotation.genes.index[annotation.genes["is_read_through"]])


def test_tags_of_gencode_on_genes_and_transcripts(tmp_path):
    gene = 'gene_id "{}"; tag "basic"; tag "readthrough_gene"; tag "overlapping_locus";\n'
    rows = [
        "1\t.\tgene\t11\t90\t.\t+\t.\t" + gene.format("G"),
        exon("1", 11, 20, "+", "G", "g"),
        *(exon("1", 11, 20, "+", "T", f"t{i}", tag="basic")[:-1] + text for i, text in enumerate(
            [' tag "readthrough_transcript";\n', ' tag "readthrough_transcript"; level 2;\n']
        )),
        exon("1", 11, 20, "+", "M", "m1", tag="readthrough_transcript"),
        exon("1", 11, 20, "+", "M", "m2", tag="basic"),
        exon("1", 11, 20, "+", "N", "n", note="tag readthrough_transcript"),
    ]  # fmt: skip
    found = read(tmp_path, rows)
    assert of(found) == {"G", "T"}  # M has a transcript that is none, N only a note
    assert found.report["genes_read_through"] == 2
    assert "genes_read_through_by_sites" not in found.report


@pytest.mark.parametrize(
    ("name", "rows"),
    {
        "gencode.gff3": [
            gff("gene", "1", 1, 9, "+", ID="R", gene_id="R", tag="basic,readthrough_gene"),
            gff("transcript", "1", 1, 9, "+", ID="r", Parent="R"),
            gff("exon", "1", 1, 9, "+", Parent="r"),
        ],
        "transcripts.gff3": [
            gff("gene", "1", 1, 9, "+", ID="gene:R"),
            gff("mRNA", "1", 1, 9, "+", ID="r", Parent="gene:R", tag="readthrough_transcript,x"),
            gff("exon", "1", 1, 9, "+", Parent="r"),
        ],
        "ensembl.gff3": [
            gff("gene", "1", 1, 9, "+", ID="gene:R", gene_id="R",
                description="novel transcript%2C COMMD3-BMI1 readthrough"),
            gff("mRNA", "1", 1, 9, "+", ID="r", Parent="gene:R"),
            gff("exon", "1", 1, 9, "+", Parent="r"),
        ],
        "ncbi.gtf": [
            gtf("gene", "1", 1, 9, "+", gene_id="R", description="A-B readthrough (NMD)"),
            exon("1", 1, 9, "+", "R", "r"),
        ],
    }.items(),
)  # fmt: skip
def test_every_source_that_states_it(tmp_path, name, rows):
    other = "gtf" if name.endswith("gtf") else "gff3"
    plain = {
        "gtf": [exon("1", 1, 9, "+", "X", "x")],
        "gff3": [
            gff("gene", "1", 1, 9, "+", ID="X", description="reads through, or not"),
            gff("exon", "1", 1, 9, "+", Parent="X"),
        ],
    }[other]
    assert of(read(tmp_path, rows + plain, name)) == {"R"}


def test_sites_show_it_where_the_file_does_not(tmp_path):
    found = read(tmp_path, lines())
    assert of(found) == {"R"}
    assert found.report["genes_read_through_by_sites"] == 1
    # A gene with the sites of one other, or of two that overlap, is none.
    assert of(read(tmp_path, [*lines(r=A)])) == set()
    overlapping = [exon("1", *span, "+", "C", "c") for span in [(301, 400), (501, 1350)]]
    again = [line for line in lines() if '"B"' not in line] + overlapping
    assert of(read(tmp_path, again)) == set()
    # Nor where the file states others.
    tagged = exon("1", 5001, 5100, "+", "S", "s", tag="readthrough_transcript")
    assert of(read(tmp_path, [*lines(), tagged])) == {"S"}


TAG = ' tag "readthrough_transcript";'


@pytest.mark.parametrize(
    ("junction", "gene_id", "joins"),
    [
        ((201, 300), "A", False),  # an intron of A and of R
        ((1401, 1500), "B", False),
        ((401, 1300), "R", False),  # the intron that joins them
        ((201, 350), "A", False),  # an intron of R alone, within A and at one of its sites
        ((201, 500), "A", False),
        ((401, 1500), "R", False),  # no intron, but both sites are those of R
        ((201, 1100), "A,B", True),  # R does not have 1100
        ((601, 1300), "A,B", True),  # 601 is a site of no gene, after the last base of A
        ((602, 1300), "B", False),
        ((201, 1250), "A,B", True),  # 1250 is of no gene, and in B
        ((555, 1300), "A,B", True),
        ((201, 900), "A", False),  # in no gene
        ((1201, 1700), "B", False),
        ((150, 170), "A", False),
        ((700, 900), "R", False),  # within R alone
    ],
)
def test_genes_of_the_junctions_of_a_read_through_gene(tmp_path, junction, gene_id, joins):
    found = read(tmp_path, lines(TAG, r=R, s=EXTRA))
    assert of(found) == {"R"}
    table = pd.DataFrame([("1", *junction, "+")], columns=["chrom", "start", "end", "strand"])
    columns = annotate(table, found)[0].iloc[0]
    assert columns["gene_id"] == gene_id
    assert columns["joins_genes"] == joins
    assert columns["n_genes"] == len(gene_id.split(","))


def test_a_pseudogene_yields_to_the_gene_with_the_same_exons(tmp_path):
    pairs = [("P", "transcribed_unprocessed_pseudogene"), ("L", "lncRNA"), ("Q", "pseudogene")]
    rows = [
        exon("1", *span, "+", gene, gene.lower(), gene_type=kind)
        for gene, kind in pairs
        for span in ([(11, 20), (31, 40), (51, 60)] if gene == "P" else [(11, 20), (31, 40)])
    ]
    found = read(tmp_path, rows)
    table = pd.DataFrame({"chrom": "1", "start": [21, 41, 21], "end": [30, 50, 50], "strand": "+"})
    assert annotate(table, found)[0]["gene_id"].tolist() == ["L", "P", "P"]


@pytest.fixture(scope="module")
def gtex(data_dir):
    folder = data_dir / "gtex_chr10"
    return lfa.pp.read_junc(f"{folder}/*.bed.gz"), read_annotation(folder / "chr10.gtf.gz")


def test_gtex_no_protein_coding_gene_loses_its_junctions(gtex):
    """Every annotated intron of a gene that is no read-through gene has that gene or its like."""
    junctions, annotation = gtex
    genes = annotation.genes
    assert genes["is_read_through"].sum() == 39
    table = junctions.var
    found = annotate(table, annotation)[0]
    reads = np.asarray(junctions.X.sum(axis=0)).ravel()
    assert reads[found["n_genes"] > 1].sum() / reads.sum() < 0.001  # 2.8 % where R is as others

    coding = set(genes.index[(genes["gene_type"] == "protein_coding") & ~genes["is_read_through"]])
    introns = annotation.introns[annotation.introns["gene_id"].isin(coding)]
    key = ["chrom", "start", "end", "strand"]
    table = table[key].astype({"chrom": object, "strand": object}).assign(gene=found["gene_id"])
    own = table.merge(introns.astype({"chrom": object, "strand": object}), on=key)
    assert len(own) > 9000
    assert all(
        gene in genes.split(",") for gene, genes in zip(own["gene_id"], own["gene"], strict=True)
    )
    names = own["gene"].str.split(",").explode().unique()
    assert not genes.loc[names, "is_read_through"].any()


def test_gtex_sites_find_what_the_tags_state(gtex, data_dir, tmp_path):
    _, annotation = gtex
    with gzip.open(data_dir / "gtex_chr10" / "chr10.gtf.gz", "rt") as file:
        text = file.read().replace("readthrough", "")
    (tmp_path / "a.gtf").write_text(text)
    plain = read_annotation(tmp_path / "a.gtf")
    assert plain.report["genes_read_through_by_sites"] == 40
    assert len(of(plain) & of(annotation)) == 38  # of 39


def test_gtex_data_set_with_annotation(gtex):
    junctions, annotation = gtex
    data = lfa.pp.make_splicing_dataset(junctions, gtf=annotation)
    assert data.uns["splicing"]["atses"]["atses"] == 725
    assert data.uns["splicing"]["atses"]["largest_atse_junctions"] == 21
