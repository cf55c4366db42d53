"""What the steps from files to a data set left out, why, and the option that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import DATASET_SLOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData


class Loss(NamedTuple):
    """Reads or junctions that a step left out for one reason.

    Attributes
    ----------
    step
        Key of the step's record in ``uns["splicing"]``.
    reason
        Why they were left out.
    unit
        What is counted: ``"reads"``, ``"introns of reads"`` or ``"junctions"``.
    dropped, of
        How many were left out, of how many that reached the step.
    reads, of_reads
        Reads of the junctions left out, and of all that reached the step; None if they are not
        known, or counted themselves.
    option
        Arguments (and options of the command) that keep them; empty if none does.
    """

    step: str
    reason: str
    unit: str
    dropped: int
    of: int
    reads: int | None
    of_reads: int | None
    option: str

    @property
    def numbers(self) -> str:
        """Text such as "27 of 36 junctions (90 of 120 reads)"."""
        text = f"{self.dropped:,} of {self.of:,} {self.unit}"
        if self.reads is not None and self.of_reads is not None:
            text += f" ({self.reads:,} of {self.of_reads:,} reads)"
        return text

    def __str__(self) -> str:
        """Return one line: numbers, reason and option."""
        text = f"{self.numbers}: {self.reason}"
        return f"{text}; option: {self.option}" if self.option else text


# Key of the record: unit, total, reason, option.
_READING: Final = {
    "reads_unmapped": ("reads", "reads", "not aligned", ""),
    "reads_without_contig": ("reads", "reads", "not aligned to a contig", ""),
    "reads_qc_fail": ("reads", "reads", "marked as failing quality control", ""),
    "reads_low_mapq": ("reads", "spliced", "low mapping quality", "min_mapq (--min-mapq)"),
    "reads_without_barcode": (
        "reads", "spliced", "no cell barcode", "cell_tag (--cell-tag)",
    ),
    "reads_other_barcode": (
        "reads", "spliced", "barcodes not in the list or map",
        "barcodes (--barcodes), barcode_map (--barcode-map)",
    ),
    "reads_of_other_barcodes": (
        "reads", "reads", "barcodes not in the list or map",
        "barcodes (--barcodes), barcode_map (--barcode-map)",
    ),
    "reads_of_other_cells": (
        "reads", "reads", "cells not in the list", "barcodes (--barcodes)",
    ),
    "reads_without_umi": (
        "reads", "spliced", "no UMI",
        "umi_missing='keep' (--umi-missing keep), umi_tag=None (--no-umi)",
    ),
    "introns_too_short": (
        "introns of reads", "introns", "too short", "min_intron (--min-intron)",
    ),
    "introns_too_long": ("introns of reads", "introns", "too long", "max_intron (--max-intron)"),
    "introns_short_anchor": (
        "introns of reads", "introns", "too few aligned bases beside them",
        "min_anchor (--min-anchor)",
    ),
    "reads_multimapped": (
        "reads", "with multimapped", "aligned to several loci",
        "multimapped='keep' (--multimapped keep), star_reads='all' (--star-reads all)",
    ),
    "reads_outside_region": ("reads", "reads", "outside the region", "region (--region)"),
}  # fmt: skip

_FILTERS: Final = {
    "exclude_contigs": ("excluded contigs", "exclude_contigs"),
    "min_length": ("introns too short", "min_intron (--min-intron)"),
    "max_length": ("introns too long", "max_intron (--max-intron)"),
    "motifs": ("other splice motifs", "motifs"),
    "canonical_only": ("no canonical splice motif", "canonical_only (--canonical-only)"),
    "annotation_status": (
        "splice sites not annotated", "annotation_status='any' (--annotation-status any)",
    ),
    "known_only": ("introns not annotated", "known_only"),
    "min_reads": ("too few reads", "min_reads (--min-reads)"),
    "min_cells": ("in too few cells", "min_cells (--min-cells)"),
    "min_samples": ("in too few samples", "min_samples (--min-samples)"),
}  # fmt: skip

_ATSES: Final = {
    "junctions_unstranded_dropped": (
        "unknown strand",
        "gtf (--gtf), genome (--genome), strand='FR' (--strand FR) or unstranded='keep' "
        "(--unstranded keep)",
    ),
    "junctions_without_gene_dropped": ("no gene", "no_gene='keep' (--no-gene keep)"),
    "junctions_joining_genes_dropped": (
        "join two genes", "read_through='keep' (--read-through keep)",
    ),
    "junctions_of_several_genes_dropped": (
        "several genes", "multi_gene='keep' (--multi-gene keep)",
    ),
    "junctions_dropped_by_splitting": (
        "rarely used in a large ATSE", "max_junctions (--max-junctions)",
    ),
    "junctions_alone": ("no other junction at their splice sites, so not alternative", ""),
}  # fmt: skip


_REFERENCE: Final = {
    "not_in_reference": "not in the reference, and at none of its splice sites",
    "not_in_reference_at_its_splice_sites": "not in the reference, but at its splice sites",
}
_USED_FOR_STRANDS: Final = {
    "annotation_unmatched_contigs": "gtf (--gtf), ",
    "genome_unmatched_contigs": "genome (--genome), ",
}
"""Keys of the record of strands if a source was used, and the option that need not be named."""


def losses_of(record: Mapping[str, Any]) -> list[Loss]:
    """Return what each step left out, in the order of the steps.

    Parameters
    ----------
    record
        ``uns["splicing"]``; steps without a record are skipped.
    """
    steps = (_of_reading, _of_reference, _of_filters, _of_usage, _of_atses)
    return [loss for step in steps for loss in step(record) if loss.dropped]


def list_losses(adata: AnnData) -> pd.DataFrame:
    """List what was left out on the way from files to a data set.

    Parameters
    ----------
    adata
        Junction counts or a splicing data set, with the records of the steps in
        ``uns["splicing"]``.

    Returns
    -------
    DataFrame
        One row for each step and reason: ``step`` (key of ``uns["splicing"]``), ``reason``,
        ``unit`` (reads, introns of reads, or junctions), ``dropped`` of ``of`` that reached the
        step, ``reads`` of ``of_reads`` (missing if not known), and ``option``, the arguments of
        :func:`make_splicing_dataset` (and options of the command) that keep them.

    Raises
    ------
    KeyError
        If ``uns["splicing"]`` is missing.

    Examples
    --------
    >>> list_losses(adata)[["reason", "dropped", "of", "option"]]  # doctest: +SKIP
    """
    uns = check_anndata(adata).uns
    if DATASET_SLOT not in uns:
        raise KeyError(
            f"Expected the records of the steps in adata.uns[{DATASET_SLOT!r}], found "
            f"{list(uns)}. Use data that leafletfa_scvi.pp has read."
        )
    table = pd.DataFrame(losses_of(uns[DATASET_SLOT]), columns=list(Loss._fields))
    return table.astype({"reads": "Int64", "of_reads": "Int64"})


def _of_reading(record: Mapping[str, Any]) -> Iterator[Loss]:
    """Yield reads and introns of reads that the readers left out."""
    reading = record.get("reading", {})

    def counted(*keys: str) -> int:
        return sum(int(reading.get(key, 0)) for key in keys)

    totals = {
        "reads": counted("reads"),
        "spliced": counted("reads_spliced"),
        "introns": counted(
            "introns_counted", "introns_too_short", "introns_too_long", "introns_short_anchor"
        ),
        # Of alignments, spliced reads include them; reads of SJ.out.tab do not.
        "with multimapped": counted("reads_spliced") or counted("reads", "reads_multimapped"),
    }
    for key, (unit, total, reason, option) in _READING.items():
        dropped = counted(key)
        # Mates and copies of a UMI are counted once, after introns were left out.
        yield Loss(
            "reading", reason, unit, dropped, max(totals[total], dropped), None, None, option
        )


def _of_reference(record: Mapping[str, Any]) -> Iterator[Loss]:
    """Yield junctions that the reference lacks."""
    reference = record.get("reference", {})
    if "junctions_not_in_reference" not in reference:
        return
    used = int(reference["junctions"]) - int(reference["junctions_without_reads"])
    of = used + int(reference["junctions_not_in_reference"])
    of_reads = int(reference["reads"]) + int(reference["reads_not_in_reference"])
    lost = {
        key: tuple(int(reference[f"{unit}_{key}"]) for unit in ("junctions", "reads"))
        for key in _REFERENCE
    }
    at_none, at_sites = lost.values()
    lost["not_in_reference"] = at_none[0] - at_sites[0], at_none[1] - at_sites[1]
    for key, reason in _REFERENCE.items():
        dropped, reads = lost[key]
        option = "without reference (--like)"
        yield Loss("reference", reason, "junctions", dropped, of, reads, of_reads, option)


def _of_filters(record: Mapping[str, Any]) -> Iterator[Loss]:
    """Yield junctions that fail a criterion, each under the first that it fails."""
    qc = record.get("junction_qc", {})
    for name, lost in qc.get("dropped", {}).items():
        reason, option = _FILTERS[name]
        yield Loss(
            "junction_qc",
            reason,
            "junctions",
            int(lost["junctions"]),
            int(qc["junctions_before"]),
            int(lost["reads"]),
            int(qc["reads_before"]),
            option,
        )


def _of_usage(record: Mapping[str, Any]) -> Iterator[Loss]:
    """Yield junctions that support a small share of the reads at a splice site."""
    usage = record.get("splice_site_usage")
    if not usage:
        return
    before = int(usage["junctions"])
    reads = of_reads = None
    if "reads" in usage:
        of_reads = int(usage["reads"])
        reads = of_reads - int(usage["reads_kept"])
    yield Loss(
        "splice_site_usage",
        "small share of the reads at a splice site",
        "junctions",
        before - int(usage["junctions_kept"]),
        before,
        reads,
        of_reads,
        "min_usage (--min-usage)",
    )


def _of_atses(record: Mapping[str, Any]) -> Iterator[Loss]:
    """Yield junctions that are in no ATSE."""
    atses = record.get("atses", {})
    if "junctions" not in atses:
        return
    for key, (reason, option) in _ATSES.items():
        for used, named in _USED_FOR_STRANDS.items():
            option = option.replace(named, "") if used in record.get("strand", {}) else option
        reads = atses.get(key.replace("junctions", "reads", 1))
        yield Loss(
            "atses",
            reason,
            "junctions",
            int(atses[key]),
            int(atses["junctions"]),
            None if reads is None else int(reads),
            None if reads is None else int(atses["reads"]),
            option,
        )
