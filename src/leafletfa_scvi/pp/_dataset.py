"""Making a splicing data set from files of alignments or junctions, in one call."""

from __future__ import annotations

import gc
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from anndata import AnnData

from leafletfa_scvi._arguments import check_at_least, check_inside, check_one_of
from leafletfa_scvi._choices import AnnotationStatus, KeepOrDrop
from leafletfa_scvi._constants import ATSE_KEY, CELL_METRICS, DATASET_SLOT
from leafletfa_scvi._deprecated import renamed_choice
from leafletfa_scvi.data import expand_counts, splicing_anndata
from leafletfa_scvi.pp._count_on_reference import count_on_reference
from leafletfa_scvi.pp._counts import atse_junctions
from leafletfa_scvi.pp._dataset_messages import nothing_left, nothing_read, warn_of_annotation
from leafletfa_scvi.pp._losses import losses_of
from leafletfa_scvi.pp._reference import (
    fasta_is_cram_reference,
    intron_lengths,
    junction_reference,
)
from leafletfa_scvi.pp.annotate._annotate import annotate_junctions
from leafletfa_scvi.pp.annotate._annotation import Annotation, load_annotation, no_genes_message
from leafletfa_scvi.pp.annotate._strand import resolve_strands
from leafletfa_scvi.pp.atse._classify_events import classify_events
from leafletfa_scvi.pp.atse._find_atses import find_atses
from leafletfa_scvi.pp.atse._usage import filter_usage
from leafletfa_scvi.pp.introns._retained import check_alignments, count_retained_introns
from leafletfa_scvi.pp.qc._filter_junctions import filter_junctions
from leafletfa_scvi.pp.qc._matrices import junction_reads
from leafletfa_scvi.pp.qc._metrics import qc_metrics
from leafletfa_scvi.pp.read._read_junctions import ReadArguments, read_junctions

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    import pandas as pd

    from leafletfa_scvi.pp._reference import JunctionReference, SplicingModel
    from leafletfa_scvi.pp.read._sources import Inputs

_INTRONS: Final = "Counting reads in introns"


@renamed_choice("reads_without_umi", "umi_missing", skip="drop", fragments="keep")
def make_splicing_dataset(
    inputs: Inputs | AnnData,
    *,
    gtf: str | os.PathLike[str] | Annotation | None = None,
    genome: str | os.PathLike[str] | None = None,
    min_reads: int = 10,
    min_cells: int = 2,
    min_samples: int = 1,
    min_intron: int = 70,
    max_intron: int = 500_000,
    canonical_only: bool = False,
    annotation_status: AnnotationStatus = "any",
    min_usage: float = 0.01,
    multi_gene: KeepOrDrop = "drop",
    no_gene: KeepOrDrop = "drop",
    unstranded: KeepOrDrop = "drop",
    read_through: KeepOrDrop = "drop",
    max_junctions: int | None = None,
    retained_introns: bool = False,
    reference: AnnData | SplicingModel | str | os.PathLike[str] | None = None,
    stage: Callable[[str], None] | None = None,
    **reading: Unpack[ReadArguments],
) -> AnnData:
    """Make a splicing data set from alignments or junction files.

    The steps are :func:`read_junctions`, :func:`resolve_strands`, :func:`annotate_junctions`,
    :func:`filter_junctions`, :func:`filter_usage`, :func:`find_atses`, :func:`classify_events`,
    :func:`splicing_from_counts` and :func:`qc_metrics`. ``uns["splicing"]`` counts what every step
    kept and dropped, and :func:`list_losses` lists it with the options that keep it.

    With ``reference``, junctions and ATSEs are those of an earlier data set or model instead, and
    both layers are counted on them: the data set can be analyzed with the earlier one, and y and n
    are those of counting both together. No filter applies.

    Parameters
    ----------
    inputs
        Files, as in :func:`read_junctions`; or junction counts as the readers return them, which
        are not changed.
    gtf
        Annotation: a GTF or GFF3 file, plain or gzip, or the result of :func:`read_annotation`.
        ATSEs are then found within genes, otherwise within strands of contigs; and junctions of
        alignments beside annotated microexons are counted (``annotated_introns`` of
        :func:`read_bam`).
    genome
        FASTA file of the genome, for splice motifs and for strands of junctions without one.
    min_reads, min_cells, min_samples
        Minimum number of reads of a junction, and of cells and samples (``obs["sample"]``) with
        reads.
    min_intron, max_intron
        Minimum and maximum length of an intron, in bases.
    canonical_only
        If True, keep only GT-AG, GC-AG and AT-AC introns; needs ``genome``, or motifs from STAR.
    annotation_status
        ``"both"`` or ``"either"`` of a junction's splice sites must be annotated, which needs
        ``gtf``; ``"any"`` requires neither.
    min_usage
        Minimum share of the reads at each of its splice sites that support a junction.
    multi_gene, no_gene, unstranded, read_through
        Treatment of junctions of several genes, of no gene, of unknown strand, and of those that
        join two genes; see :func:`find_atses`. All but the third need ``gtf``.
    max_junctions
        Split ATSEs with more junctions, by usage. If None, they are only reported.
    retained_introns
        If True, read the alignments once more and count reads in the introns of junctions, see
        :func:`count_retained_introns`.
    reference
        Data set whose junctions and ATSEs are taken, with their labels, order and columns of
        ``var``: a splicing data set with ``var["atse_id"]``, its .h5ad file, a
        :class:`~leafletfa_scvi.LeafletFAModel`, or the folder that it was saved to. Junctions
        that the new data lack have y = 0; junctions that the reference lacks are left out of both
        layers, and ``uns["splicing"]["reference"]`` counts them. Filters and rules for ATSEs must
        have their defaults. Unless given, ``min_intron`` and ``max_intron`` are those of the
        reference. A FASTA file for CRAM files is ``cram_reference``.
    stage
        Called with a line of text before each step, and after it with one, indented, for each
        reason for which reads or junctions were dropped.
    reading
        Arguments of the readers: ``format``, ``n_jobs``, ``client``, ``work_dir``, ``on_error``,
        ``progress``, ``star_reads``, ``barcodes``, ``barcode_map``, ``cell_table``,
        ``cell_column``, ``region``, ``table_columns``, ``table_zero_based`` (see
        :func:`read_junctions`); ``cell_tag``,
        ``umi_tag``, ``umi_missing``, ``strand``, ``strand_tag``, ``min_anchor``,
        ``min_mapq``, ``multimapped``, ``skip_duplicates``, ``regtools``, ``cram_reference`` (see
        :func:`read_bam`).

    Returns
    -------
    AnnData
        Cells x junctions of ATSEs, in genomic order. Layers ``cell_by_junction_matrix`` and
        ``cell_by_cluster_matrix``, int32 CSR on the pattern of observed entries; ``X`` the first
        as float32. ``var``: ``chrom``, ``start``, ``end`` (1-based, inclusive introns),
        ``strand``, ``atse_id``, ``event_type``, usage at both splice sites, and with ``gtf``
        genes and annotation status. ``obs`` and ``var`` hold the columns of :func:`qc_metrics`.

    Raises
    ------
    FileNotFoundError
        If a path or pattern matches nothing.
    ValueError
        If a file is malformed, an argument is out of range, or no ATSE is left; the message says
        at which step junctions were lost. Or if ``gtf`` names no genes: ``gene_id`` is
        ``transcript_id``, as UCSC's table browser writes it. Or if ``reference`` has no ATSEs or
        no junction of the inputs, or filters are given beside it.

    Examples
    --------
    >>> adata = make_splicing_dataset("bams/*.bam", gtf="genes.gtf.gz")  # doctest: +SKIP
    """
    say = stage or (lambda text: None)
    criteria: dict[str, Any] = {
        "min_reads": min_reads,
        "min_cells": min_cells,
        "min_samples": min_samples,
        "min_length": min_intron,
        "max_length": max_intron,
        "canonical_only": canonical_only,
        "annotation_status": annotation_status,
    }
    grouping: dict[str, Any] = {
        "multi_gene": multi_gene,
        "no_gene": no_gene,
        "unstranded": unstranded,
        "read_through": read_through,
        "max_junctions": max_junctions,
    }
    reference, reading = fasta_is_cram_reference(reference, reading)
    _check(criteria, grouping, min_usage, gtf, inputs, reading)
    if retained_introns:
        check_alignments(inputs, reading)
    target = None if reference is None else junction_reference(reference)
    if target is not None:
        _check_no_filters({**criteria, **grouping, "min_usage": min_usage})
        min_intron, max_intron = intron_lengths(target, min_intron, max_intron, _default)
    if gtf is None or isinstance(gtf, Annotation):
        annotation = gtf
    else:
        say(f"Reading the annotation {os.fspath(gtf)}")
        annotation = load_annotation(gtf)
    _check_genes(annotation, gtf)
    if isinstance(inputs, AnnData):
        junctions = inputs
        _check_columns(junctions)
    else:
        say("Reading junctions")
        junctions = read_junctions(
            inputs,
            min_intron=min_intron,
            max_intron=max_intron,
            annotated_introns=_known_introns(annotation, target),
            **reading,
        )
        _tell(say, junctions, "reading")
    if not junctions.n_vars:
        raise ValueError(nothing_read(junctions.uns.get(DATASET_SLOT, {}).get("reading", {})))
    names = {"gtf": gtf, "genome": genome}
    given = {key: _name(path) for key, path in names.items() if path is not None}
    if target is not None:
        say(f"Taking the junctions of {target.name} from {junctions.n_vars:,}")
        adata = count_on_reference(junctions, target, annotation, genome)
        adata.uns[DATASET_SLOT]["parameters"] = {
            "min_length": min_intron,
            "max_length": max_intron,
            **given,
        }
        _tell(say, adata, "reference")
        qc_metrics(adata)
        if retained_introns:
            say(_INTRONS)
            count_retained_introns(adata, inputs, annotation, **reading)
        return adata
    say(f"Annotating {junctions.n_vars:,} junctions of {junctions.n_obs:,} cells")
    junctions = resolve_strands(junctions, annotation, genome)
    if annotation is not None:
        annotate_junctions(junctions, annotation)
        warn_of_annotation(junctions.var, junction_reads(junctions), _name(gtf))
    junctions = filter_junctions(junctions, **criteria)
    _tell(say, junctions, "junction_qc")
    say(f"Finding ATSEs among {junctions.n_vars:,} junctions")
    junctions = filter_usage(junctions, min_usage)
    _tell(say, junctions, "splice_site_usage")
    gc.collect()  # an AnnData refers to itself: without this, earlier counts stay in memory
    find_atses(junctions, use_genes=annotation is not None, **grouping)
    _tell(say, junctions, "atses")
    junctions.uns[DATASET_SLOT]["parameters"] = {
        **{key: value for key, value in {**criteria, **grouping}.items() if value is not None},
        "min_usage": min_usage,
        **given,
    }
    record = junctions.uns[DATASET_SLOT]
    if not record["atses"]["atses"]:
        raise ValueError(nothing_left(record))
    classify_events(junctions, annotation=annotation)
    n_junctions = record["atses"]["junctions_in_atses"]
    say(f"Summing the totals of {record['atses']['atses']:,} ATSEs, {n_junctions:,} junctions")
    counts, obs, var, record = atse_junctions(junctions)
    del junctions
    gc.collect()
    entries = expand_counts(counts, var[ATSE_KEY].cat.codes.to_numpy(np.int64))
    del counts
    adata = splicing_anndata(*entries, obs, var, "make_splicing_dataset", **record)
    qc_metrics(adata)
    if retained_introns:
        say(_INTRONS)
        count_retained_introns(adata, inputs, annotation, **reading)
    return adata


def _known_introns(
    annotation: Annotation | None, target: JunctionReference | None
) -> pd.DataFrame | None:
    """Return the introns beside which microexons are counted: annotated, or of the reference.

    Data counted without them on a reference counted with them would lack its inclusion reads.
    """
    if annotation is not None:
        return annotation.introns
    return None if target is None else target.var.assign(gene_id=target.codes)


def _tell(say: Callable[[str], None], junctions: AnnData, step: str) -> None:
    """Say what a step dropped."""
    for loss in losses_of(junctions.uns[DATASET_SLOT]):
        if loss.step == step:
            say(f"  dropped {loss}")


def _check_columns(junctions: AnnData) -> None:
    """Check that no other column of ``obs`` has the name of a metric."""
    taken = [name for name in CELL_METRICS if name in junctions.obs]
    if not taken:
        return
    measured = qc_metrics(junctions, inplace=False)[0]  # type: ignore[index]
    for name in taken:
        if name not in measured or not np.array_equal(measured[name], junctions.obs[name]):
            raise ValueError(
                f"obs[{name!r}] has the name of a measure that make_splicing_dataset writes, and "
                "other values: rename the column."
            )


def _check(
    criteria: dict[str, Any],
    grouping: dict[str, Any],
    min_usage: float,
    gtf: Any,
    inputs: Any,
    reading: Any,
) -> None:
    """Check arguments before any file is read."""
    unknown = sorted(set(reading) - set(ReadArguments.__annotations__))
    if unknown:
        raise TypeError(
            f"Unknown argument {unknown[0]!r}: expected any of "
            f"{', '.join(sorted(ReadArguments.__annotations__))}."
        )
    thresholds = ("min_reads", "min_cells", "min_samples")
    check_at_least(0, **{name: criteria[name] for name in thresholds})
    check_at_least(1, min_intron=criteria["min_length"], max_intron=criteria["max_length"])
    check_inside("min_usage", min_usage, "[0, 1]")
    check_at_least(2, max_junctions=grouping["max_junctions"])
    status = criteria["annotation_status"]
    check_one_of("annotation_status", status, AnnotationStatus)
    if status != "any" and gtf is None:
        raise ValueError(f"annotation_status={status!r} needs an annotation: pass gtf.")
    for name in ("multi_gene", "no_gene", "unstranded", "read_through"):
        check_one_of(name, grouping[name], KeepOrDrop)
    if criteria["min_length"] > criteria["max_length"]:
        raise ValueError(
            f"min_intron={criteria['min_length']} is above max_intron={criteria['max_length']}."
        )
    if not isinstance(inputs, AnnData):
        return
    if reading:
        raise TypeError(
            f"{sorted(reading)[0]!r} concerns the reading of files, but inputs is an AnnData."
        )
    if inputs.isbacked:
        raise ValueError("inputs is backed by a file: pass inputs.to_memory().")
    for names, what in ((inputs.obs_names, "cell"), (inputs.var_names, "junction")):
        if not names.is_unique:
            repeated = names[names.duplicated()][0]
            raise ValueError(f"inputs has the {what} {repeated!r} twice: names must be unique.")


def _default(name: str) -> Any:
    """Return the default of an argument of :func:`make_splicing_dataset`."""
    return inspect.signature(make_splicing_dataset).parameters[name].default


def _check_no_filters(given: dict[str, Any]) -> None:
    """Refuse filters and rules for ATSEs where a reference decides, unless they are defaults."""
    for name, value in given.items():
        if name not in ("min_length", "max_length") and value != _default(name):
            raise ValueError(
                f"Expected no {name} with reference, found {name}={value!r}: the junctions and "
                "ATSEs of the reference are taken. Leave it out."
            )


def _check_genes(annotation: Annotation | None, gtf: Any) -> None:
    """Refuse an annotation without genes, which would lose nearly all junctions."""
    if annotation is not None and annotation.report["transcripts_named_as_genes"]:
        raise ValueError(
            no_genes_message("gtf" if isinstance(gtf, Annotation) else gtf, annotation)
        )


def _name(value: Any) -> str:
    """Return the file name of an annotation or a genome, without its folder."""
    return "Annotation" if isinstance(value, Annotation) else Path(os.fspath(value)).name
