"""Reading junction counts of BAM and CRAM files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leafletfa_scvi._deprecated import renamed_arguments, renamed_choice
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read._read_inputs import read_inputs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi._choices import KeepOrDrop, LibraryStrand, OnError, UmiMissing
    from leafletfa_scvi.pp.read._barcode_map import CellsOfBarcodes
    from leafletfa_scvi.pp.read._sources import Inputs


@renamed_choice("reads_without_umi", "umi_missing", skip="drop", fragments="keep")
@renamed_arguments(reference="cram_reference")
def read_bam(
    inputs: Inputs,
    *,
    cell_tag: str | None = None,
    umi_tag: str | None = "auto",
    umi_missing: UmiMissing = "auto",
    barcodes: Sequence[str] | str | os.PathLike[str] | None = None,
    barcode_map: CellsOfBarcodes | None = None,
    strand: LibraryStrand = "auto",
    strand_tag: str | None = None,
    min_anchor: int = 8,
    min_intron: int = 70,
    max_intron: int = 500_000,
    min_mapq: int = 0,
    multimapped: KeepOrDrop = "drop",
    skip_duplicates: bool = False,
    regtools: bool = False,
    annotated_introns: pd.DataFrame | None = None,
    cram_reference: str | os.PathLike[str] | None = None,
    n_jobs: int = 1,
    client: Any = None,
    work_dir: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> AnnData:
    """Count the junctions of spliced reads in BAM or CRAM files.

    Secondary, supplementary, unmapped, QC-fail and multi-mapped reads are skipped; both mates of a
    fragment that cross the same junction count once. No index is needed.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`.
    cell_tag
        Tag with the cell barcode, usually ``"CB"``, if a file holds many cells. If None, each
        file is one cell.
    umi_tag
        Tag with the UMI: reads of one cell, junction and UMI count once, over all files of the
        sample (or, of files of one cell, of the cell and sample). ``"auto"`` is ``"UB"`` with
        ``cell_tag``, and none without. None counts fragments.
    umi_missing
        Treatment of reads without a UMI, as the internal reads of Smart-seq3 and FLASH-seq, where
        UMIs are counted. ``"keep"`` counts them by fragment beside the UMIs: both mates of a pair
        that cross a junction count once. ``"drop"`` leaves them out. ``"auto"`` keeps reads whose
        tag is empty, as zUMIs writes internal reads, and drops those whose tag is missing or
        ``"-"``, as Cell Ranger and STARsolo write a UMI that is not valid. Mates are expected to
        have the UMI both or neither. ``uns["splicing"]["reading"]`` has the numbers of reads,
        ``reads_without_umi_counted`` and ``reads_without_umi`` (left out), and of counts,
        ``introns_counted_by_umi`` and ``introns_counted_by_fragment``.
    barcodes
        With ``cell_tag``: cells to keep, names or a file of names.
    barcode_map
        Cells of several barcodes, as in :func:`read_junctions`.
    strand
        Strand of an intron: ``"auto"`` and ``"tag"`` from the tags ``XS`` or ``ts``; ``"RF"`` and
        ``"FR"`` from the reads of a stranded library; ``"none"`` leaves all unknown. Unknown
        strands are ``"?"``, see :func:`resolve_strands`.
    strand_tag
        The only tag to take strands from.
    min_anchor
        Minimum number of aligned bases of a read on each side of an intron.
    min_intron, max_intron
        Minimum and maximum length of an intron, in bases.
    min_mapq
        Minimum mapping quality of a read.
    multimapped
        ``"drop"`` leaves out reads that map to several loci (tag ``NH`` above 1), as
        :func:`read_star` does by default; ``"keep"`` counts them where their primary alignment
        is. Reads without the tag count, as some aligners (minimap2) do not write it.
    skip_duplicates
        If True, leave out reads marked as duplicates.
    regtools
        If True, count as ``regtools junctions extract`` does: no filter, every mate counts, and a
        junction needs the anchor on each side from any of its reads.
    annotated_introns
        Introns of an annotation, ``read_annotation(gtf).introns``, so that junctions beside exons
        shorter than ``min_anchor`` (microexons) are counted: aligned bases beyond the next intron
        of the read count towards an anchor if both introns, and any between them, begin and end
        at splice sites of one gene, on the read's strand if that is known. If None, or with
        ``regtools``, only the block next to an intron counts.
    cram_reference
        FASTA file of the genome for CRAM files; most need none, as no bases are decoded.
    n_jobs, client, work_dir, on_error, progress
        As in :func:`read_junctions`.

    Returns
    -------
    AnnData
        As :func:`read_junctions`.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_junctions`.
    """
    options = read_options(
        barcodes=barcodes,
        barcode_map=barcode_map,
        cell_tag=cell_tag,
        umi_tag=umi_tag,
        umi_missing=umi_missing,
        strand=strand,
        strand_tag=strand_tag,
        min_anchor=min_anchor,
        min_intron=min_intron,
        max_intron=max_intron,
        min_mapq=min_mapq,
        multimapped=multimapped,
        skip_duplicates=skip_duplicates,
        regtools=regtools,
        annotated_introns=annotated_introns,
        reference=cram_reference,
    )
    return read_inputs(
        inputs,
        options,
        "bam",
        n_jobs=n_jobs,
        client=client,
        work_dir=work_dir,
        on_error=on_error,
        progress=progress,
    )
