"""Genes, introns and exons of an annotation."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from natsort import natsorted

from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.pp.annotate._gtf import read_exon_lines
from leafletfa_scvi.pp.annotate._read_through import read_through_by_sites

if TYPE_CHECKING:
    import os

    from leafletfa_scvi.pp.annotate._gtf import ExonLines, Locus

_WORDS = {"+": "plus", "-": "minus", "?": "unstranded"}


def _no_transcripts() -> pd.DataFrame:
    return pd.DataFrame({name: [] for name in ("transcript_id", "gene_id", "start", "end")})


@dataclass
class Annotation:
    """Genes with their introns and exons; all coordinates 1-based and inclusive.

    Made by :func:`read_annotation`. Strands are ``"+"``, ``"-"`` and, if the file gives none,
    ``"?"``.

    Attributes
    ----------
    genes
        Index ``gene_id``, unique; columns ``gene_name``, ``chrom``, ``start``, ``end``,
        ``strand``, ``gene_type`` (``""`` if the file has none), ``is_read_through`` (the gene is
        that of transcripts that run from one gene into another, see :func:`read_annotation`).
    introns
        Distinct rows of ``chrom``, ``start``, ``end`` (first and last base of the intron),
        ``strand``, ``gene_id``. An intron of two genes has two rows.
    exons
        Distinct rows of ``chrom``, ``start``, ``end``, ``strand``, ``gene_id``, and three flags:
        ``first`` and ``last`` exon of some transcript, in the direction of transcription, and
        ``internal`` exon of some transcript. The exon of a transcript that has no other is
        both first and last; so is either end of a transcript without strand.
    transcripts
        Exons of transcripts, in order of the genome within each: ``transcript_id`` (text, ``""``
        for an exon that is of no transcript), ``gene_id``, both categorical, ``start`` and
        ``end``. Exons that touch or overlap are joined.
    report
        What was read, as numbers.
    """

    genes: pd.DataFrame
    introns: pd.DataFrame
    exons: pd.DataFrame
    transcripts: pd.DataFrame = field(default_factory=_no_transcripts)
    report: Counter[str] = field(default_factory=Counter)


def read_annotation(path: str | os.PathLike[str]) -> Annotation:
    """Read genes, introns and exons from a GTF or GFF3 file.

    Lines of feature ``exon`` are grouped by transcript: ``transcript_id`` in GTF, ``Parent`` in
    GFF3, in which an exon with several parents belongs to each. Introns are the gaps between
    consecutive exons of a transcript. The order of lines does not matter. Lines of other
    features are used for the names and bounds of genes and for parents, or not at all.

    - The gene is attribute ``gene_id`` of the exon, or that of the first feature along its
      parents that has one; else the ``ID`` of its gene, less the prefix ``gene:`` (Ensembl) or
      ``gene-`` (NCBI). Ids keep the versions that the file writes into them.
    - The name of a gene is its ``gene_name``, ``Name`` or ``gene`` attribute, else its id; its
      type is ``gene_type``, ``gene_biotype`` or ``biotype``.
    - Exons of a transcript that touch or overlap, as at ribosomal frameshifts, are one exon, so
      no intron is empty; the report counts them.
    - A gene id on several contigs (pseudoautosomal genes) is a gene on each. The first contig in
      natural order keeps the id, the others get it with the contig appended: ``ENSG1`` on chrX
      and ``ENSG1_chrY``. In the same way, ``_minus`` is appended if a contig has a gene id on
      both strands (trans-splicing, or one id for several copies of a gene).
    - Transcripts without strand give exons and no introns.
    - A read-through gene is one with ``tag "readthrough_gene"``, or all of whose transcripts have
      ``tag "readthrough_transcript"`` (GENCODE), or whose ``description`` says ``readthrough``
      (NCBI; Ensembl in GFF3). Where the file states none, as GTF of Ensembl, those are taken that
      share splice sites with at least two other genes that do not overlap each other: the report
      counts them as ``genes_read_through_by_sites`` among ``genes_read_through``.

    Parameters
    ----------
    path
        GTF or GFF3 file, plain, gzip or bgzip, recognized by content.

    Returns
    -------
    Annotation
        Tables in natural order of contigs, then by start, end, strand and gene id.

    Raises
    ------
    ValueError
        A line is malformed or cut off (the message gives file and line), no line is an exon, or
        the file is damaged. A last line without line end must be complete as far as earlier
        lines tell; lines that are missing after it, or optional attributes, cannot be known.

    Warns
    -----
    UserWarning
        The ids of genes are those of transcripts, as in GTF files of UCSC's table browser.

    References
    ----------
    GTF 2.2, https://mblab.wustl.edu/GTF22.html, and GFF3,
    https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md.
    """
    annotation = load_annotation(path)
    if annotation.report["transcripts_named_as_genes"]:
        warnings.warn(no_genes_message(path, annotation), UserWarning, stacklevel=2)
    return annotation


def load_annotation(path: str | os.PathLike[str]) -> Annotation:
    """Read an annotation as :func:`read_annotation` does, without warning."""
    lines = read_exon_lines(Path(path))
    report = Counter(lines.report)
    loci = sorted(set(lines.loci) | set(lines.gene_lines))
    code_of = {locus: code for code, locus in enumerate(loci)}
    transcript_gene = np.array([code_of[locus] for locus in lines.loci])

    blocks = _blocks(lines)
    report["exon_lines_joined"] = len(lines.start) - len(blocks)
    gene = transcript_gene[blocks["transcript"].to_numpy()]
    blocks["gene"] = gene
    strand_of = np.array([strand for _, _, strand in loci], object)
    strand = strand_of[gene]
    leftmost, rightmost = (blocks[side].to_numpy() for side in ("leftmost", "rightmost"))
    blocks["first"] = np.where(strand == "-", rightmost, leftmost) | (
        (strand == "?") & (leftmost | rightmost)
    )
    blocks["last"] = np.where(strand == "-", leftmost, rightmost) | (
        (strand == "?") & (leftmost | rightmost)
    )
    blocks["internal"] = ~leftmost & ~rightmost

    before, after = np.flatnonzero(~rightmost & (strand != "?")), np.flatnonzero(~leftmost)
    after = after[strand[after] != "?"]
    introns = pd.DataFrame(
        {
            "gene": gene[before],
            "start": blocks["end"].to_numpy()[before] + 1,
            "end": blocks["start"].to_numpy()[after] - 1,
        }
    ).drop_duplicates()
    flags = ["first", "last", "internal"]
    exons = blocks.groupby(["gene", "start", "end"], sort=False, as_index=False)[flags].any()

    names = _unique_ids(loci)
    report["transcripts_without_strand"] = sum(locus[2] == "?" for locus in lines.loci)
    report["genes"] = len(loci)
    report["genes_without_exons"] = len(set(range(len(loci))) - set(transcript_gene.tolist()))
    report["genes_renamed"] = sum(
        name != locus[0] for name, locus in zip(names, loci, strict=True)
    )
    bounds = exons.groupby("gene").agg(start=("start", "min"), end=("end", "max"))
    genes = pd.DataFrame({"gene": np.arange(len(loci))})
    stated = np.array([lines.gene_lines.get(locus, (2**40, -1)) for locus in loci])
    bounds = bounds.reindex(genes["gene"])
    genes["start"] = np.minimum(bounds["start"].fillna(2**40).to_numpy(np.int64), stated[:, 0])
    genes["end"] = np.maximum(bounds["end"].fillna(-1).to_numpy(np.int64), stated[:, 1])
    genes["gene_name"] = [lines.names.get(locus[0], (0, locus[0]))[1] for locus in loci]
    genes["gene_type"] = [lines.types.get(locus[0], (0, ""))[1] for locus in loci]
    is_read_through = np.array([locus[0] in lines.read_through for locus in loci])
    if not lines.read_through:
        chrom = np.array([locus[1] for locus in loci], object)
        is_read_through = read_through_by_sites(introns, genes, chrom, strand_of)
        report["genes_read_through_by_sites"] = int(is_read_through.sum())
    genes["is_read_through"] = is_read_through
    report["genes_read_through"] = int(is_read_through.sum())

    transcripts = _transcripts(blocks, lines.transcript_ids, names)
    interval = ["chrom", "start", "end", "strand"]
    genes = _located(genes, loci, names).set_index("gene_id")
    introns = _located(introns, loci, names)[[*interval, "gene_id"]]
    exons = _located(exons, loci, names)[[*interval, "gene_id", *flags]]
    report["introns"] = len(introns.drop_duplicates(interval))
    report["exons"] = len(exons.drop_duplicates(interval))
    genes = genes[["gene_name", *interval, "gene_type", "is_read_through"]]
    return Annotation(genes, introns, exons, transcripts, report)


def no_genes_message(name: Any, annotation: Annotation) -> str:
    """Return the message for an annotation whose gene ids are transcript ids."""
    report = annotation.report
    return (
        f"{name} names no genes: gene_id is the same as transcript_id in "
        f"{report['transcripts_named_as_genes']:,} of {report['transcripts']:,} transcripts, as "
        "in GTF files of UCSC's table browser, so that each transcript would be a gene. Use "
        "the GTF of GENCODE or Ensembl, those of UCSC's folder bigZips/genes, or make one with "
        "'genePredToGtf -genePredExt', which writes gene names as gene_id."
    )


def _blocks(lines: ExonLines) -> pd.DataFrame:
    """Sort the exons of each transcript, and join those that touch or overlap."""
    order = np.lexsort((lines.end, lines.start, lines.transcript))
    transcript, start, end = (
        values[order] for values in (lines.transcript, lines.start, lines.end)
    )
    shift = transcript << 32  # so that the running maximum restarts at each transcript
    reach = np.maximum.accumulate(shift + end) - shift
    new_transcript = np.diff(transcript, prepend=-1) != 0
    new_block = new_transcript.copy()
    new_block[1:] |= start[1:] > reach[:-1] + 1
    first = np.flatnonzero(new_block)
    leftmost = new_transcript[first]
    return pd.DataFrame(
        {
            "transcript": transcript[first],
            "start": start[first],
            "end": reach[np.append(first[1:], len(start)) - 1],
            "leftmost": leftmost,
            "rightmost": np.append(leftmost[1:], True),
        }
    )


def _transcripts(blocks: pd.DataFrame, ids: list[str], genes: list[str]) -> pd.DataFrame:
    """Name the transcript and the gene of each exon of each transcript."""
    transcript = blocks["transcript"].to_numpy()
    id_code, distinct = pd.factorize(np.array(ids, object))
    return pd.DataFrame(
        {
            "transcript_id": categorical(id_code[transcript], distinct),
            "gene_id": categorical(blocks["gene"].to_numpy(), genes),
            "start": blocks["start"].to_numpy(),
            "end": blocks["end"].to_numpy(),
        }
    )


def _unique_ids(loci: list[Locus]) -> list[str]:
    """Return a key for each locus: the gene id, with a suffix if it has several loci."""
    contigs = {
        chrom: i for i, chrom in enumerate(natsorted(sorted({chrom for _, chrom, _ in loci})))
    }
    by_gene: dict[str, list[tuple[int, str, int]]] = {}
    for code, (gene, chrom, strand) in enumerate(loci):
        by_gene.setdefault(gene, []).append((contigs[chrom], strand, code))
    names = [gene for gene, _, _ in loci]
    used = set(by_gene)
    for gene, places in by_gene.items():
        home = None
        for contig, _, code in sorted(places):  # "+" sorts before "-"
            _, chrom, strand = loci[code]
            if home is None:
                home = last = contig
                continue
            name = gene if contig == home else f"{gene}_{chrom}"
            name = name if contig != last else f"{name}_{_WORDS[strand]}"
            while name in used:
                name += "_"
            used.add(name)
            names[code] = name
            last = contig
    return names


def _located(table: pd.DataFrame, loci: list[Locus], names: list[str]) -> pd.DataFrame:
    """Sort a table by contig, strand and id of its genes, in canonical order."""
    gene = table["gene"].to_numpy()
    chrom = np.array([locus[1] for locus in loci], object)
    strand = np.array([locus[2] for locus in loci], object)
    rank = {name: i for i, name in enumerate(natsorted(sorted(set(chrom))))}
    contig_rank = np.array([rank[name] for name in chrom])
    strand_rank = np.array(["?+-".index(sign) for sign in strand])
    by_name = np.argsort(np.argsort(np.array(names, object)))
    order = np.lexsort(
        (
            by_name[gene],
            strand_rank[gene],
            table["end"].to_numpy(),
            table["start"].to_numpy(),
            contig_rank[gene],
        )
    )
    table, gene = table.iloc[order].reset_index(drop=True), gene[order]
    return table.assign(
        chrom=chrom[gene], strand=strand[gene], gene_id=np.array(names, object)[gene]
    )
