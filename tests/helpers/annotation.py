"""Lines of small GTF and GFF3 files."""

from __future__ import annotations

from leafletfa_scvi.pp.annotate._annotation import read_annotation


def gtf(feature, chrom, start, end, strand, **attributes):
    text = " ".join(f'{key} "{value}";' for key, value in attributes.items())
    return f"{chrom}\tsource\t{feature}\t{start}\t{end}\t.\t{strand}\t.\t{text}\n"


def gff(feature, chrom, start, end, strand, **attributes):
    text = ";".join(f"{key}={value}" for key, value in attributes.items())
    return f"{chrom}\tsource\t{feature}\t{start}\t{end}\t.\t{strand}\t.\t{text}\n"


def exon(chrom, start, end, strand, gene, transcript, **more):
    return gtf("exon", chrom, start, end, strand, gene_id=gene, transcript_id=transcript, **more)


def read(folder, lines, name="a.gtf"):
    path = folder / name
    path.write_text("".join(lines))
    return read_annotation(path)


def rows(table):
    return list(table.itertuples(index=False, name=None))


# Two genes that overlap, on opposite strands.
LINES = [
    "#!genome-build none\n",
    gtf("gene", "chr1", 100, 900, "+", gene_id="G1.3", gene_name="Alpha", gene_type="coding"),
    exon("chr1", 100, 200, "+", "G1.3", "T1"),
    exon("chr1", 301, 400, "+", "G1.3", "T1"),
    exon("chr1", 501, 600, "+", "G1.3", "T1"),
    gtf("CDS", "chr1", 150, 200, "+", gene_id="G1.3", transcript_id="T1"),
    exon("chr1", 100, 200, "+", "G1.3", "T2"),
    exon("chr1", 501, 650, "+", "G1.3", "T2"),
    exon("chr1", 550, 620, "-", "G2", "T3", gene_name="Beta"),
    exon("chr1", 301, 400, "-", "G2", "T3", gene_name="Beta"),
    exon("chr1", 700, 800, "-", "G2", "T3", gene_name="Beta"),
]
