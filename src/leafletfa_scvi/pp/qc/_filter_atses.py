"""Filters of whole ATSEs, which leave totals valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._arguments import check_at_least, check_names
from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.data import atse_codes
from leafletfa_scvi.pp.qc._filtering import (
    apply_criteria,
    status_passes,
    store_record,
    text_column,
)
from leafletfa_scvi.pp.qc._matrices import (
    atse_totals,
    column_sums,
    junction_counts,
    require_splicing,
    with_one_pattern,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from leafletfa_scvi._choices import AnnotationStatus

_ANNOTATE = "Make the data set with an annotation, or call annotate_junctions first."
_EVENTS = "Make the data set with make_splicing_dataset, which classifies events."


def filter_atses(
    adata: AnnData,
    *,
    min_cells: int = 1,
    min_cell_reads: int = 1,
    min_reads: int = 1,
    min_mean_reads: float = 0.0,
    min_junctions: int = 2,
    max_junctions: int | None = None,
    min_minor_usage: float = 0.0,
    event_types: Sequence[str] | None = None,
    annotation_status: AnnotationStatus = "any",
    atse_key: str = ATSE_KEY,
) -> AnnData:
    """Drop ATSEs with low coverage, without alternative usage, or by type or annotation.

    An ATSE is dropped or kept with all its junctions, so totals need no recomputation. The
    criteria apply in the order event types, annotation, number of junctions, reads, mean reads,
    cells, minor usage; an ATSE is counted under the first one that it fails.

    Parameters
    ----------
    adata
        Splicing data set; not changed.
    min_cells
        Minimum number of cells with at least ``min_cell_reads`` reads of the ATSE.
    min_cell_reads
        Minimum total of a cell that counts for ``min_cells``.
    min_reads
        Minimum number of reads over all cells.
    min_mean_reads
        Minimum mean of the totals over the cells in which the ATSE is observed.
    min_junctions, max_junctions
        Minimum and maximum number of junctions, including those without reads.
    min_minor_usage
        Minimum share of the reads, from 0 to 1, that support other junctions than the most used
        one. Near 0, an ATSE is not spliced alternatively.
    event_types
        Values of ``var["event_type"]`` to keep. If None, all.
    annotation_status
        ``"both"``: both splice sites of every junction of the ATSE must be annotated;
        ``"either"``: at least one of each; ``"any"``: none.
    atse_key
        Column of ``adata.var`` with ATSE labels.

    Returns
    -------
    AnnData
        Copy with the junctions of the remaining ATSEs, possibly none, and all cells; both layers
        are on the pattern of observed entries. ``uns["splicing"]["atse_qc"]`` has the numbers of
        ATSEs and reads before and kept, and those dropped by each criterion; further calls add to
        it.

    Raises
    ------
    KeyError
        If a layer, or a column that a criterion needs, is missing.
    ValueError
        If an argument is out of range, or event types differ within an ATSE.
    """
    require_splicing(adata)
    check_at_least(0, min_cells=min_cells, min_reads=min_reads, min_mean_reads=min_mean_reads)
    check_at_least(0, min_minor_usage=min_minor_usage)
    check_at_least(1, min_cell_reads=min_cell_reads, min_junctions=min_junctions)
    check_at_least(min_junctions, max_junctions=max_junctions)
    codes, n_atses = atse_codes(adata, atse_key)
    totals = atse_totals(adata, codes, n_atses)
    reads, size = column_sums(totals), np.bincount(codes, minlength=n_atses)
    passes: dict[str, np.ndarray] = {}

    if event_types is not None:
        wanted = check_names("event_types", event_types)
        passes["event_types"] = _of_types(adata, codes, n_atses, wanted)
    status = status_passes(adata.var, annotation_status, _ANNOTATE)
    if annotation_status != "any":
        passes["annotation_status"] = np.bincount(codes[~status], minlength=n_atses) == 0
    passes["min_junctions"] = size >= min_junctions
    if max_junctions is not None:
        passes["max_junctions"] = size <= max_junctions
    passes["min_reads"] = reads >= min_reads
    observed = np.bincount(totals.indices, minlength=n_atses)
    if min_mean_reads > 0:
        passes["min_mean_reads"] = reads >= min_mean_reads * observed
        passes["min_mean_reads"] &= observed > 0
    covered = totals.indices[totals.data >= min_cell_reads]
    passes["min_cells"] = np.bincount(covered, minlength=n_atses) >= min_cells
    if min_minor_usage > 0:
        most = np.zeros(n_atses, np.int64)
        used = column_sums(junction_counts(adata))
        np.maximum.at(most, codes, used)
        all_used = np.bincount(codes, used, n_atses)
        passes["min_minor_usage"] = (all_used - most >= min_minor_usage * all_used) & (
            all_used > 0
        )

    keep, record = apply_criteria(passes, reads, "atses")
    kept = with_one_pattern(adata[:, keep[codes]].copy())
    store_record(kept, "atse_qc", record, "atses")
    return kept


def _of_types(adata: AnnData, codes: np.ndarray, n_atses: int, wanted: list[str]) -> np.ndarray:
    """Mark the ATSEs of the event types to keep, ``(A,)`` bool."""
    types = text_column(adata.var, "event_type", _EVENTS)
    is_wanted = np.isin(types, wanted)
    unknown = [name for name in wanted if not (types == name).any()]
    if len(unknown) == len(wanted):
        raise ValueError(
            f"event_types={wanted}: none occurs in adata.var['event_type'], which holds "
            f"{sorted(set(types))}."
        )
    number = np.bincount(codes[is_wanted], minlength=n_atses)
    uneven = (number > 0) & (number < np.bincount(codes, minlength=n_atses))
    if uneven.any():
        i = int((codes == uneven.argmax()).argmax())
        raise ValueError(
            f"adata.var['event_type'] differs within the ATSE of junction {adata.var_names[i]!r}. "
            "An ATSE has one event type."
        )
    return number > 0
