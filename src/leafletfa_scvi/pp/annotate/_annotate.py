"""Genes and annotation status of junctions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._junctions import introns
from leafletfa_scvi.pp.annotate._gene_rules import SIDES, genes_of_junctions, site_keys

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.pp.annotate._annotation import Annotation

STATUSES: Final = ("none", "five_prime", "three_prime", "both")
"""Annotation status by (5' splice site known) + 2 (3' splice site known)."""


def annotate_junctions(adata: AnnData, annotation: Annotation) -> None:
    """Write genes and annotation status of junctions into ``adata.var``, in place.

    The genes of a junction, all on its contig and strand, are those of the first of these rules
    that any gene meets; all that meet it are reported:

    1. the junction is an intron of the gene,
    2. both splice sites are splice sites of the gene,
    3. one splice site is one of the gene, the other is of no gene, and the gene, from its first to
       its last base, contains the intron,
    4. the junction *joins genes*: one splice site is of one gene and the other of another; or the
       other is of no gene, but the exon that begins or ends there lies in another gene,
    5. one splice site is one of the gene,
    6. the gene contains the intron.

    So an intron of one gene that lies within another belongs to the first only. A junction of
    several genes is one that the annotation cannot tell apart, since the genes share exons, or one
    that joins genes. ATSEmapper assigns genes by overlap with their bodies and excludes what
    overlaps several; rules 1 to 3 keep those junctions.

    Read-through genes of the annotation (``is_read_through``, see :func:`read_annotation`) have
    the introns of two genes as their own, and come last: rules 1 and 2 hold for them after rule 3
    of others, rules 5 and 6 after the same rule of others, and rules 3 and 4 not at all. So they
    get the introns that join the two genes, and no intron of either gene. Of the genes that meet
    rules 1 to 3, 5 or 6, pseudogenes (``gene_type``) are left out if another is among them:
    GENCODE has many a transcribed pseudogene once more, as a lncRNA with the same exons.

    Junctions of strand ``"?"`` take genes of either strand; the flags are those of the strand on
    which the annotation knows more of them (the intron, then the number of sites).

    Parameters
    ----------
    adata
        Junctions as columns, with ``var`` columns ``chrom``, ``start``, ``end`` (first and last
        base of the intron, 1-based inclusive) and ``strand`` (``"+"``, ``"-"``, ``"?"``).
    annotation
        From :func:`read_annotation`. Contigs are matched by :func:`match_contigs`, so ``1`` and
        ``chr1`` are the same.

    Notes
    -----
    Columns written, replacing any of the same name:

    ``gene_id``, ``gene_name``
        Text, ``""`` without a gene; several are joined by ``","`` in the order of their
        ids.
    ``n_genes``
        Number of genes.
    ``joins_genes``
        True if the junction joins genes, by rule 4.
    ``known_junction``
        True if an identical intron is annotated on the same strand.
    ``known_5ss``, ``known_3ss``
        True if an annotated intron has the same 5' splice site (donor: ``start`` on ``+``,
        ``end`` on ``-``), and the same 3' splice site.
    ``annotation_status``
        ``"both"`` if both splice sites are known, even if no intron joins them;
        ``"five_prime"``, ``"three_prime"``, or ``"none"``.

    ``uns["splicing"]["annotation"]`` reports numbers of junctions: ``junctions``,
    ``junctions_known``, ``junctions_novel``, ``junctions_without_gene``,
    ``junctions_of_several_genes`` (``junctions_joining_genes`` among them),
    ``junctions_unstranded``,
    ``junctions_on_unmatched_contigs``, and of ``unmatched_contigs``.

    Raises
    ------
    ValueError
        If a column is missing or holds other values, no contig is in the annotation, or two
        contigs match the same one.
    """
    columns, report = annotate(check_anndata(adata).var, annotation)
    for name in columns:
        adata.var[name] = columns[name]
    adata.uns.setdefault(DATASET_SLOT, {})["annotation"] = dict(report)


def annotate(junctions: pd.DataFrame, annotation: Annotation) -> tuple[pd.DataFrame, Counter[str]]:
    """Return columns and report of :func:`annotate_junctions`."""
    located = introns(junctions)
    contig, start, end, strand = located.contig, located.start, located.end, located.strand
    genes = annotation.genes
    reference = pd.Index(pd.unique(_text(genes["chrom"])), dtype=object)
    names = pd.unique(contig)
    matched = match_contigs(names, reference, "the junctions", "the annotation")
    contig_code = reference.get_indexer(pd.Index([matched.get(name) for name in names]))
    contig_code = contig_code[pd.Index(names, dtype=object).get_indexer(pd.Index(contig))]

    # A junction without strand is looked up on every strand.
    unstranded = np.flatnonzero(strand == 0)
    query = np.concatenate([np.arange(len(start)), unstranded, unstranded])
    query_strand = np.concatenate(
        [strand, np.ones(len(unstranded), np.int64), np.full(len(unstranded), 2)]
    )
    on_contig = contig_code[query] >= 0
    query, query_strand = query[on_contig], query_strand[on_contig]
    queries = pd.DataFrame(
        {
            "junction": query,
            "strand_key": contig_code[query] * len(STRANDS) + query_strand,
            "start": start[query],
            "end": end[query],
        }
    )
    annotated = pd.DataFrame(
        {
            "strand_key": _strand_keys(annotation.introns, reference),
            "start": annotation.introns["start"].to_numpy(np.int64),
            "end": annotation.introns["end"].to_numpy(np.int64),
            "gene": genes.index.get_indexer(pd.Index(_text(annotation.introns["gene_id"]))),
        }
    )
    columns = _known(queries, annotated, len(start))
    bodies = pd.DataFrame(
        {
            "strand_key": _strand_keys(genes, reference),
            "start": genes["start"].to_numpy(np.int64),
            "end": genes["end"].to_numpy(np.int64),
            "is_read_through": genes["is_read_through"].to_numpy(bool),
            "is_pseudogene": ["pseudogene" in gene_type for gene_type in genes["gene_type"]],
        }
    )
    pairs, joining = genes_of_junctions(queries, annotated, bodies)
    is_joining = np.zeros(len(start), bool)
    is_joining[joining] = True
    columns = {**_joined(pairs, genes, len(start)), "joins_genes": is_joining, **columns}
    table = pd.DataFrame(columns, index=junctions.index)

    n_genes, is_known = table["n_genes"].to_numpy(), table["known_junction"].to_numpy()
    report: Counter[str] = Counter()
    report["junctions"] = len(table)
    report["junctions_known"] = int(is_known.sum())
    report["junctions_novel"] = int((~is_known).sum())
    report["junctions_without_gene"] = int((n_genes == 0).sum())
    report["junctions_of_several_genes"] = int((n_genes > 1).sum())
    report["junctions_joining_genes"] = int(is_joining.sum())
    report["junctions_unstranded"] = len(unstranded)
    report["junctions_on_unmatched_contigs"] = int((contig_code < 0).sum())
    report["unmatched_contigs"] = len(names) - len(matched)
    return table, report


def _text(values: pd.Series) -> np.ndarray:
    return values.astype(object).to_numpy()


def _strand_keys(table: pd.DataFrame, reference: pd.Index) -> np.ndarray:
    """Number contig and strand as the queries do."""
    contig = reference.get_indexer(pd.Index(_text(table["chrom"])))
    strand = pd.Index(STRANDS, dtype=object).get_indexer(pd.Index(_text(table["strand"])))
    return contig * len(STRANDS) + strand


def _known(queries: pd.DataFrame, introns: pd.DataFrame, n: int) -> dict[str, np.ndarray]:
    """Return what is annotated of each junction, on the strand with the best match."""
    distinct = introns[["strand_key", "start", "end"]].drop_duplicates()
    same = queries.merge(distinct, how="left", indicator=True)["_merge"].to_numpy() == "both"
    known_left, known_right = (
        np.isin(site_keys(queries, side), site_keys(introns, side)) for side in SIDES
    )
    strand = queries["strand_key"].to_numpy() % len(STRANDS)
    junction = queries["junction"].to_numpy()
    best = np.lexsort(
        (-strand, known_left.astype(int) + known_right, same)
    )  # the best of each comes last
    query = np.full(n, -1)
    query[junction[best]] = best
    has_match = query >= 0
    query = query[has_match]
    is_reverse = strand[query] == 2
    columns = {name: np.zeros(n, bool) for name in ("known_junction", "known_5ss", "known_3ss")}
    columns["known_junction"][has_match] = same[query]
    columns["known_5ss"][has_match] = np.where(is_reverse, known_right[query], known_left[query])
    columns["known_3ss"][has_match] = np.where(is_reverse, known_left[query], known_right[query])
    code = columns["known_5ss"] + 2 * columns["known_3ss"].astype(int)
    return {**columns, "annotation_status": np.array(STATUSES, object)[code]}


def _joined(pairs: pd.DataFrame, genes: pd.DataFrame, n: int) -> dict[str, np.ndarray]:
    """Join ids and names of the genes of each junction as text, and count them."""
    ids = genes.index.to_numpy(object)
    names = _text(genes["gene_name"])
    rank = np.argsort(np.argsort(ids, kind="stable"), kind="stable")
    junction, gene = pairs["junction"].to_numpy(np.int64), pairs["gene"].to_numpy(np.int64)
    order = np.lexsort((rank[gene], junction))
    junction, gene = junction[order], gene[order]
    n_genes = np.bincount(junction, minlength=n)
    first = np.cumsum(n_genes) - n_genes
    columns = {}
    for column, values in (("gene_id", ids), ("gene_name", names)):
        text = np.full(n, "", object)
        has_gene = np.flatnonzero(n_genes)
        text[has_gene] = values[gene[first[has_gene]]]
        for i in np.flatnonzero(n_genes > 1):
            text[i] = ",".join(values[gene[first[i] : first[i] + n_genes[i]]])
        columns[column] = text
    return {**columns, "n_genes": n_genes.astype(np.int64)}
