"""Filters of single junctions, before ATSEs are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._arguments import check_at_least, check_column, check_names, check_one_of
from leafletfa_scvi.pp._codes import MOTIFS
from leafletfa_scvi.pp.qc._filtering import (
    apply_criteria,
    flag_column,
    status_passes,
    store_record,
    text_column,
)
from leafletfa_scvi.pp.qc._matrices import column_sums, junction_counts, require_no_totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import scipy.sparse as sp
    from anndata import AnnData

    from leafletfa_scvi._choices import AnnotationStatus

CANONICAL = ("GT-AG", "GC-AG", "AT-AC")
"""Motifs of introns that the two spliceosomes remove."""

_ANNOTATE = "Call annotate_junctions with an annotation first."
_MOTIF = "Give a FASTA of the genome when reading, or junctions of STAR, which have motifs."
_COORDINATES = "Use junction counts as the readers of leafletfa_scvi.pp return them."


def filter_junctions(
    adata: AnnData,
    *,
    min_reads: int = 1,
    min_cells: int = 1,
    min_samples: int = 1,
    sample_key: str = "sample",
    min_length: int | None = None,
    max_length: int | None = None,
    motifs: Sequence[str] | None = None,
    canonical_only: bool = False,
    annotation_status: AnnotationStatus = "any",
    known_only: bool = False,
    exclude_contigs: Sequence[str] = (),
) -> AnnData:
    """Drop junctions with little support, or by length, motif or annotation.

    For junction counts, before totals are summed: from a finished data set drop whole ATSEs with
    :func:`filter_atses`, because totals are sums over the junctions present. The criteria apply in
    this order: contig, length, motif, annotation, reads, cells, samples; a junction is counted
    under the first one that it fails.

    Parameters
    ----------
    adata
        Cells x junctions, counts in ``X``; not changed.
    min_reads
        Minimum number of reads over all cells.
    min_cells
        Minimum number of cells with reads.
    min_samples
        Minimum number of samples with reads.
    sample_key
        Column of ``adata.obs`` with the sample of each cell; used if ``min_samples`` is above 1.
        Cells without a sample do not count.
    min_length, max_length
        Minimum and maximum length of an intron in bases: ``end - start + 1``.
    motifs
        Allowed values of ``var["motif"]``, among ``("unknown", "non-canonical", "GT-AG", "GC-AG",
        "AT-AC")``.
    canonical_only
        If True, keep only GT-AG, GC-AG and AT-AC; junctions of unknown motif are dropped, too.
    annotation_status
        ``"both"`` splice sites of the junction must be annotated, or ``"either"``; ``"any"``
        requires neither.
    known_only
        If True, keep only annotated introns (``var["known_junction"]``): both splice sites of one
        intron, which is stricter than ``annotation_status="both"``.
    exclude_contigs
        Contigs whose junctions are dropped, named as in ``var["chrom"]``. Names that do not occur
        are ignored.

    Returns
    -------
    AnnData
        Copy with the remaining junctions, possibly none, and all cells.
        ``uns["splicing"]["junction_qc"]`` has the numbers of junctions and reads before and kept,
        and those dropped by each criterion; further calls add to it.

    Raises
    ------
    KeyError
        If a column that a criterion needs is missing.
    TypeError
        If ``sample_key`` is not the name of one column.
    ValueError
        If an argument is out of range, a motif unknown, a count not a whole number, or ``adata``
        has ATSE totals already.
    """
    require_no_totals(adata, "Drop whole ATSEs with filter_atses, or filter junction counts.")
    check_at_least(0, min_reads=min_reads, min_cells=min_cells, min_samples=min_samples)
    check_at_least(1, min_length=min_length)
    check_at_least(1 if min_length is None else min_length, max_length=max_length)
    var = adata.var
    counts = junction_counts(adata)
    reads = column_sums(counts)
    passes: dict[str, np.ndarray] = {}

    excluded = check_names("exclude_contigs", exclude_contigs)
    if excluded:
        passes["exclude_contigs"] = ~np.isin(text_column(var, "chrom", _COORDINATES), excluded)
    if min_length is not None or max_length is not None:
        length = _length(var)
        if min_length is not None:
            passes["min_length"] = length >= min_length
        if max_length is not None:
            passes["max_length"] = length <= max_length
    if motifs is not None:
        allowed = check_names("motifs", motifs)
        for motif in allowed:
            check_one_of("motifs", motif, MOTIFS)
        passes["motifs"] = np.isin(text_column(var, "motif", _MOTIF), allowed)
    if canonical_only:
        passes["canonical_only"] = np.isin(text_column(var, "motif", _MOTIF), CANONICAL)
    status = status_passes(var, annotation_status, _ANNOTATE)
    if annotation_status != "any":
        passes["annotation_status"] = status
    if known_only:
        passes["known_only"] = flag_column(var, "known_junction", _ANNOTATE)
    passes["min_reads"] = reads >= min_reads
    passes["min_cells"] = np.bincount(counts.indices, minlength=len(var)) >= min_cells
    if min_samples > 1:
        passes["min_samples"] = _samples(adata, counts, sample_key) >= min_samples

    keep, record = apply_criteria(passes, reads, "junctions")
    kept = adata[:, keep].copy()
    store_record(kept, "junction_qc", record, "junctions")
    return kept


def _length(var: pd.DataFrame) -> np.ndarray:
    for name in ("start", "end"):
        text_column(var.iloc[:0], name, _COORDINATES)
    length: np.ndarray = var["end"].to_numpy(np.int64) - var["start"].to_numpy(np.int64) + 1
    return length


def _samples(adata: AnnData, counts: sp.csr_matrix, sample_key: str) -> np.ndarray:
    """Count the samples with reads of each junction, ``(P,)``."""
    import pandas as pd

    if check_column("sample_key", sample_key) not in adata.obs:
        raise KeyError(
            f"adata.obs has no column {sample_key!r}: found {list(adata.obs.columns)}. Read a "
            "table of files with a column sample, name the column of samples with sample_key, or "
            "leave min_samples at 1."
        )
    codes, names = pd.factorize(adata.obs[sample_key])
    found = np.zeros(adata.n_vars, np.int64)
    for sample in range(len(names)):
        rows = counts[np.flatnonzero(codes == sample)]
        found += np.bincount(rows.indices, minlength=adata.n_vars) > 0
    return found
