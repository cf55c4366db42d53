"""Strands of junctions that have none: from twins, the annotation and the genome."""

from __future__ import annotations

import warnings
from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi.data import named_layers
from leafletfa_scvi.pp._codes import FORWARD, MOTIFS, REVERSE, STRANDS, UNSTRANDED
from leafletfa_scvi.pp._junctions import introns, junction_names
from leafletfa_scvi.pp.annotate._genome import read_intron_ends
from leafletfa_scvi.pp.qc._matrices import junction_reads, require_no_totals

if TYPE_CHECKING:
    import os

    from leafletfa_scvi.pp._junctions import Introns
    from leafletfa_scvi.pp.annotate._annotation import Annotation


_SPAN: Final = 1 << 32
"""More than the length of any contig."""
_MIN_READS: Final = 10
"""Minimum number of reads of an intron whose strands are compared."""
_MIN_SHARE: Final = 0.2
"""Minimum share of its reads on the weaker strand, from which an intron is on both."""
_MAX_ON_BOTH: Final = 0.1
_MIN_TWINS: Final = 3
"""A warning is given from this share and this number of introns on both strands."""


def resolve_strands(
    adata: AnnData,
    annotation: Annotation | None = None,
    genome: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Assign strands to junctions without one, and merge junctions that become identical.

    A junction of strand ``"?"`` takes the strand of, in this order,

    1. its twin, the only junction of the same contig, start and end on ``+`` or ``-``,
    2. the annotated introns of the same contig, start and end, if all are on one strand,
    3. annotated introns that have one of its splice sites (start for start, end for end), if all
       are on one strand,
    4. its splice motif in the genome: GT-AG, GC-AG and AT-AC, or their reverse complements.

    Others keep ``"?"``, and so do those for which rules 3 and 4 name different strands. The
    genes that contain a junction decide nothing: many of them contain genes of the other strand.
    Counts of junctions that have the same name afterward are summed, in ``X`` and in every layer.

    Parameters
    ----------
    adata
        Cells x junctions, counts in ``X`` (sparse), with ``var`` columns ``chrom``, ``start``,
        ``end`` (first and last base of the intron, 1-based inclusive) and ``strand``. Not
        changed.
    annotation
        From :func:`read_annotation`. If None, rules 2 and 3 are skipped.
    genome
        FASTA file, see :func:`splice_motifs`. If None, rule 4 is skipped.

    Returns
    -------
    AnnData
        A new object, junctions in natural order of contigs, then by start, end and strand
        (``?``, ``+``, ``-``), named ``chrom:start-end:strand``. If two junctions are merged,
        further columns of ``var`` are those of the stranded one; annotate afterward. With a
        genome, ``var["motif"]`` holds the motif on the strand of the junction if it was unknown.

        ``uns["splicing"]["strand"]`` reports how many junctions were ``unstranded``,
        ``merged_into_twin``, resolved ``by_annotation`` (rule 2), ``by_splice_site`` and
        ``by_motif``, and ``left_unstranded``, of which ``splice_site_against_motif`` because
        rules 3 and 4 disagree; for each, ``reads_...``, the sum of their counts in ``X``; and
        ``junctions_before`` and ``junctions_after``. With an annotation or genome,
        ``annotation_unmatched_contigs`` or ``genome_unmatched_contigs`` counts contigs that are
        not in it; with a genome, ``strand_against_motif`` counts the junctions afterward whose
        motif is canonical on the opposite strand, and their reads. ``introns_compared`` are
        those with at least 10 reads on ``+`` and ``-`` together, ``introns_on_both_strands`` those
        among them with at least a fifth of the reads on each.

    Raises
    ------
    ValueError
        If columns of ``var`` are missing or malformed, ``adata`` has ATSE totals, no contig
        matches the annotation or genome, or an intron ends beyond its contig.

    Warns
    -----
    UserWarning
        If at least 10 % of the introns compared, and at least 3, are on both strands, as where a
        library is read as stranded (``strand="RF"`` or ``"FR"``) that is not.
    """
    require_no_totals(adata, "Resolve the strands of junction counts, then find ATSEs.")
    reads = junction_reads(adata)
    table = introns(adata.var)
    contig, start, end, strand = table.contig, table.start, table.end, table.strand
    report: Counter[str] = Counter()
    _compare_strands(table, reads, report)

    # Each rule proposes a strand for each junction, or none; the first that proposes one counts.
    rules = {"merged_into_twin": _twin_strand(table.chrom, start, end, strand)}
    if annotation is not None:
        by_intron, by_site, report["annotation_unmatched_contigs"] = _annotated_strands(
            contig, start, end, annotation
        )
        rules |= {"by_annotation": by_intron, "by_splice_site": by_site}
    ends = None
    if genome is not None:
        ends = read_intron_ends(contig, start, end, strand, genome)
        rules["by_motif"] = ends.implied()
        report["genome_unmatched_contigs"] = ends.n_unmatched_contigs
    resolved, is_open = strand.copy(), strand == UNSTRANDED
    _count(report, "unstranded", is_open, reads)
    none = np.zeros(len(strand), np.int8)
    by_site, by_motif = (rules.get(name, none) for name in ("by_splice_site", "by_motif"))
    is_refused = (by_site != by_motif) & (by_site != UNSTRANDED) & (by_motif != UNSTRANDED)
    for name in ("merged_into_twin", "by_annotation", "by_splice_site", "by_motif"):
        if name == "by_splice_site":
            is_refused &= is_open
            is_open &= ~is_refused
        proposed = rules.get(name, none)
        is_resolved = is_open & (proposed != UNSTRANDED)
        resolved[is_resolved] = proposed[is_resolved]
        is_open &= ~is_resolved
        _count(report, name, is_resolved, reads)
    is_open |= is_refused
    _count(report, "splice_site_against_motif", is_refused, reads)
    _count(report, "left_unstranded", is_open, reads)

    # Sort identical junctions next to each other, with the one that had a strand first: its
    # annotation is kept.
    order = np.lexsort((strand == UNSTRANDED, resolved, end, start, table.chrom))
    new = np.ones(len(order), bool)
    new[1:] = False
    for values in (table.chrom, start, end, resolved):
        new[1:] |= np.diff(values[order]) != 0
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(new) - 1
    first = order[new]
    var = adata.var.iloc[first].copy()
    names = np.array(STRANDS, object)[resolved[first]]
    is_categorical = isinstance(var["strand"].dtype, pd.CategoricalDtype)
    var["strand"] = pd.Categorical(names, STRANDS) if is_categorical else names
    var.index = junction_names(
        pd.DataFrame(
            {"chrom": contig[first], "start": start[first], "end": end[first], "strand": names}
        )
    )
    motif = _motifs(adata.var.get("motif"), group, first)
    if ends is not None:
        in_genome = ends.motif(resolved)[first]
        motif = in_genome if motif is None else np.where(motif == 0, in_genome, motif)
        implied = rules["by_motif"][first]
        is_against = (implied != resolved[first]) & (implied != UNSTRANDED)
        is_against &= resolved[first] != UNSTRANDED
        _count(report, "strand_against_motif", is_against, np.bincount(group, reads))
    if motif is not None:
        var["motif"] = np.array(MOTIFS, object)[motif]
    report["junctions_before"], report["junctions_after"] = len(order), len(first)
    return _summed(adata, group, first, var, report)


def _count(report: Counter[str], name: str, mask: np.ndarray, reads: np.ndarray) -> None:
    """Report the number of junctions in the mask and their reads."""
    report[name], report[f"reads_{name}"] = int(mask.sum()), int(reads[mask].sum())


def _only_strand(on_forward: np.ndarray, on_reverse: np.ndarray) -> np.ndarray:
    """Return the strand, unless something is on both strands or on none."""
    strand = np.where(on_forward, FORWARD, REVERSE)
    return np.where(on_forward ^ on_reverse, strand, UNSTRANDED)


def _twin_strand(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, strand: np.ndarray
) -> np.ndarray:
    """Return the strand of the only stranded junction with the same contig, start and end."""
    junctions = pd.DataFrame({"chrom": chrom, "start": start, "end": end})
    for name, code in (("forward", FORWARD), ("reverse", REVERSE)):
        junctions[name] = strand == code
    twins = junctions.groupby(["chrom", "start", "end"], sort=False)[["forward", "reverse"]]
    exists = twins.transform("any")
    return _only_strand(exists["forward"].to_numpy(bool), exists["reverse"].to_numpy(bool))


def _annotated_strands(
    contig: np.ndarray, start: np.ndarray, end: np.ndarray, annotation: Annotation
) -> tuple[np.ndarray, np.ndarray, int]:
    """Look up annotated introns that are identical, and those with one of the splice sites.

    Returns
    -------
    by_intron, by_site
        ``(J,)`` strand of the annotated introns.
    n_unmatched
        Number of contigs that are not in the annotation.
    """
    names = pd.unique(contig)
    reference = pd.Index(pd.unique(annotation.genes["chrom"].astype(object)), dtype=object)
    matched = match_contigs(names, reference, "the junctions", "the annotation")
    code = reference.get_indexer(pd.Index([matched.get(name) for name in names], dtype=object))
    chrom = code[pd.Index(names, dtype=object).get_indexer(pd.Index(contig, dtype=object))]
    annotated = annotation.introns
    on_chrom = reference.get_indexer(pd.Index(annotated["chrom"].astype(object)))
    keys = [chrom * _SPAN + position for position in (start, end)]
    known_keys = [on_chrom * _SPAN + annotated[side].to_numpy() for side in ("start", "end")]
    introns, known_introns = (
        pd.MultiIndex.from_arrays(pair) for pair in (keys, known_keys)
    )  # the contig is in both numbers
    by_intron, by_site = [], []
    for strand in (FORWARD, REVERSE):
        on_strand = (annotated["strand"] == STRANDS[strand]).to_numpy(bool)
        by_intron.append(introns.isin(known_introns[on_strand]) & (chrom >= 0))
        is_site = [
            np.isin(key, known[on_strand]) for key, known in zip(keys, known_keys, strict=True)
        ]
        by_site.append((is_site[0] | is_site[1]) & (chrom >= 0))
    return _only_strand(*by_intron), _only_strand(*by_site), len(names) - len(matched)


def _compare_strands(table: Introns, reads: np.ndarray, report: Counter[str]) -> None:
    """Count the introns with comparable reads on both strands, and warn of many."""
    intron = pd.DataFrame({"chrom": table.chrom, "start": table.start, "end": table.end})
    by_intron = [intron[name] for name in intron]
    sums = [
        pd.Series(np.where(table.strand == code, reads, 0)).groupby(by_intron).sum().to_numpy()
        for code in (FORWARD, REVERSE)
    ]
    total, weaker = np.add(*sums), np.minimum(*sums)
    compared = total >= _MIN_READS
    on_both = compared & (weaker >= _MIN_SHARE * total)
    report["introns_compared"], report["introns_on_both_strands"] = (
        int(mask.sum()) for mask in (compared, on_both)
    )
    n_both, n_compared = report["introns_on_both_strands"], report["introns_compared"]
    if n_both < max(_MIN_TWINS, _MAX_ON_BOTH * n_compared):
        return
    warnings.warn(
        f"{n_both:,} of {n_compared:,} introns with at least {_MIN_READS} reads are on both "
        f"strands, with {weaker[compared].sum() / total[compared].sum():.0%} of their reads on "
        "the weaker one, as where strand='RF' or 'FR' is given for a library that is not "
        "stranded. Count with strand='auto' (--strand auto), which takes strands from tags, and "
        "pass gtf or genome for the others.",
        UserWarning,
        stacklevel=3,
    )


def _motifs(motif: pd.Series | None, group: np.ndarray, first: np.ndarray) -> np.ndarray | None:
    """Return the motif of merged junctions: that of the first, or of another if unknown."""
    if motif is None:
        return None
    code = pd.Index(MOTIFS, dtype=object).get_indexer(pd.Index(motif.astype(object)))
    if (wrong := code < 0).any():
        i = int(wrong.argmax())
        raise ValueError(
            f"Junction {motif.index[i]!r} has motif {motif.iloc[i]!r}: "
            f"expected one of {', '.join(MOTIFS)}."
        )
    best = np.zeros(len(first), np.int64)
    np.maximum.at(best, group, code)
    return np.where(code[first] > 0, code[first], best)


def _summed(
    adata: AnnData, group: np.ndarray, first: np.ndarray, var: pd.DataFrame, report: Counter[str]
) -> AnnData:
    """Build a new object with the counts of each group of junctions summed."""
    shape = (len(group), len(first))
    member = sp.csr_matrix((np.ones(len(group), np.int64), (np.arange(len(group)), group)), shape)

    def summed(values: Any) -> sp.csr_matrix:
        total = sp.csr_matrix(values) @ member
        total.sort_indices()
        if values.dtype.kind in "iu" and total.nnz and total.max() > np.iinfo(values.dtype).max:
            raise ValueError(f"A sum of counts is {total.max():,}, too much for {values.dtype}.")
        result: sp.csr_matrix = total.astype(values.dtype)
        return result

    uns = deepcopy(dict(adata.uns))
    uns[DATASET_SLOT] = {**uns.get(DATASET_SLOT, {}), "strand": dict(report)}
    return AnnData(
        X=summed(adata.X),
        obs=adata.obs.copy(),
        var=var,
        uns=uns,
        layers={name: summed(values) for name, values in named_layers(adata).items()},
        obsm={name: values.copy() for name, values in adata.obsm.items()},
        obsp={name: values.copy() for name, values in adata.obsp.items()},
        varm={
            name: values.iloc[first] if hasattr(values, "iloc") else values[first]
            for name, values in adata.varm.items()
        },
    )
