"""Messages for a data set without ATSEs, or with few known junctions: what was lost, and why."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd

_MIN_KNOWN: Final = 0.5
"""Minimum share of reads at annotated introns, below which a warning is given."""

_ADVICE: Final = {
    "no gene": "Is the annotation of this species and genome build? Or pass no_gene='keep'.",
    "several genes": "Or pass multi_gene='keep'.",
    "joining two genes": "Or pass read_through='keep'.",
    "unknown strand": "To find strands, pass {strands}; or pass unstranded='keep'.",
    "no other junction at their splice sites": "Too few junctions may have been read.",
}
"""Remedies, by reason (``{strands}``: what finds strands); for other reasons, which are arguments,
lower the criterion.
"""

_LOST_TO_ATSES: Final = {
    "unknown strand": "unstranded_dropped",
    "no gene": "without_gene_dropped",
    "joining two genes": "joining_genes_dropped",
    "several genes": "of_several_genes_dropped",
    "no other junction at their splice sites": "alone",
}
"""Keys of the record of ATSEs, by reason."""

_STRANDS: Final = {
    "gtf (--gtf)": "annotation_unmatched_contigs",
    "genome (--genome)": "genome_unmatched_contigs",
    "strand='FR' (--strand FR, or RF) if the library is stranded": "",
}
"""What finds strands, and the key of the record of strands if it was used."""

_UNALIGNED: Final = (
    "The reads are not aligned: align them to the genome with an aligner that knows introns, such "
    "as STAR."
)
_UNSPLICED: Final = (
    "No read is spliced (N in its CIGAR). Were the reads aligned to the genome, not to "
    "transcripts, by an aligner that knows introns, such as STAR?"
)
_BARCODES: Final = (
    "Are the barcodes (--barcodes) those of these files, with the same ends, such as '-1'?"
)
_READING_ADVICE: Final = {
    "reads_unmapped": _UNALIGNED,
    "reads_without_contig": _UNALIGNED,
    "reads_qc_fail": "All reads are marked as failing quality control.",
    "reads_duplicate": "Leave out skip_duplicates (--skip-duplicates).",
    "reads_low_mapq": "Lower min_mapq (--min-mapq).",
    "reads_without_barcode": "Is cell_tag (--cell-tag) the tag of cell barcodes in these files?",
    "reads_other_barcode": _BARCODES,
    "reads_of_other_barcodes": _BARCODES,
    "reads_of_other_cells": _BARCODES,
    "reads_without_umi": "Is umi_tag (--umi-tag) the tag of the UMIs in these files? "
    "umi_tag=None (--no-umi) counts fragments.",
    "introns_too_short": "Lower min_intron (--min-intron).",
    "introns_too_long": "Raise max_intron (--max-intron).",
    "introns_short_anchor": "Lower min_anchor (--min-anchor).",
    "reads_outside_region": "Is region (--region) named as the contigs of these files?",
    "reads_multimapped": "multimapped='keep' (--multimapped keep), or of SJ.out.tab "
    "star_reads='all' (--star-reads all), counts reads of several loci too.",
}
"""Remedies if most of what was read was left out for this reason."""


def nothing_read(reading: Mapping[str, Any]) -> str:
    """Return the message for inputs without junctions: what was left out, and the remedy.

    Parameters
    ----------
    reading
        ``uns["splicing"]["reading"]``; empty if unknown.
    """
    counted = {key: int(value) for key, value in reading.items() if value}
    found = ", ".join(f"{key} {value:,}" for key, value in counted.items())
    advice = "Check the inputs and what was asked of them."
    lost = {key: counted[key] for key in _READING_ADVICE if key in counted}
    if lost:
        advice = _READING_ADVICE[max(lost, key=lambda key: lost[key])]
    elif counted.get("reads") and "rows" not in counted:
        advice = _UNSPLICED
    elif counted and not counted.get("reads") and not counted.get("rows"):
        advice = "The files hold no reads and no junctions: were they made and copied in full?"
    return f"No ATSE is left, as no junction was read: {found or 'the inputs have none'}. {advice}"


def nothing_left(record: dict[str, Any]) -> str:
    """Return the message for a data set without ATSEs: losses by step, and the remedy.

    Parameters
    ----------
    record
        ``uns["splicing"]`` after the last step.
    """
    qc, atses = record["junction_qc"], record["atses"]
    lost = {key: (v["junctions"], v["reads"]) for key, v in qc.get("dropped", {}).items()}
    usage = record["splice_site_usage"]
    lost["min_usage"] = (
        usage["junctions"] - usage["junctions_kept"],
        usage.get("reads", 0) - usage.get("reads_kept", 0),
    )
    for why, key in _LOST_TO_ATSES.items():
        lost[why] = atses[f"junctions_{key}"], atses.get(f"reads_{key}", 0)
    lost = {why: number for why, number in lost.items() if number[0]}
    # Many junctions have a single read, by chance: what took most of the reads matters.
    worst = max(lost, key=lambda why: lost[why][::-1])
    advice = _ADVICE.get(worst, f"Is {worst} right for so many cells and reads?")
    if worst == "unknown strand":
        used = record.get("strand", {})
        sources = [name for name, key in _STRANDS.items() if key not in used]
        advice = advice.format(strands=" or ".join(sources))
    steps = ", ".join(f"{why} ({number:,})" for why, (number, _) in lost.items())
    return f"No ATSE is left of {qc['junctions_before']:,} junctions. Lost to {steps}. {advice}"


def warn_of_annotation(junctions: pd.DataFrame, reads: np.ndarray, name: str) -> None:
    """Warn if most reads are at introns that the annotation does not contain.

    Parameters
    ----------
    junctions
        J rows with ``known_junction`` and ``n_genes``.
    reads
        ``(J,)`` reads of each.
    name
        Name of the annotation.
    """
    if not reads.sum():
        return
    known = junctions["known_junction"].to_numpy(bool)
    of_genes = junctions["n_genes"].to_numpy() > 0
    share = reads[known].sum() / reads.sum()
    if share >= _MIN_KNOWN:
        return
    in_genes = reads[of_genes].sum() / reads.sum()
    warnings.warn(
        f"Only {share:.0%} of the reads are at introns that {name} has, {in_genes:.0%} in its "
        "genes. Is it of this species and genome build, and complete?",
        UserWarning,
        stacklevel=3,
    )
