"""From files and matrices to a splicing data set.

Names are imported on first use: processes that read files then start without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi._lazy import lazy_names

if TYPE_CHECKING:
    from leafletfa_scvi.pp._counts import splicing_from_counts
    from leafletfa_scvi.pp._dataset import make_splicing_dataset
    from leafletfa_scvi.pp.annotate._annotate import annotate_junctions
    from leafletfa_scvi.pp.annotate._annotation import Annotation, read_annotation
    from leafletfa_scvi.pp.annotate._strand import resolve_strands, splice_motifs
    from leafletfa_scvi.pp.atse._events import classify_events
    from leafletfa_scvi.pp.atse._graph import find_atses
    from leafletfa_scvi.pp.atse._usage import filter_usage, splice_site_usage
    from leafletfa_scvi.pp.combine._concat import concat_splicing
    from leafletfa_scvi.pp.combine._pseudobulk import metacells, pseudobulk
    from leafletfa_scvi.pp.qc._filter_atses import filter_atses
    from leafletfa_scvi.pp.qc._filter_junctions import filter_junctions
    from leafletfa_scvi.pp.qc._metrics import qc_metrics
    from leafletfa_scvi.pp.qc._variable_atses import select_variable_atses
    from leafletfa_scvi.pp.read._read_junctions import (
        read_bam,
        read_junc,
        read_junctions,
        read_regtools,
        read_star,
        read_starsolo,
    )
    from leafletfa_scvi.pp.read._sources import list_files

_HOMES = {
    "annotate._annotate": ("annotate_junctions",),
    "annotate._annotation": ("Annotation", "read_annotation"),
    "atse._graph": ("find_atses",),
    "combine._concat": ("concat_splicing",),
    "_counts": ("splicing_from_counts",),
    "_dataset": ("make_splicing_dataset",),
    "atse._events": ("classify_events",),
    "qc._filter_atses": ("filter_atses",),
    "qc._filter_junctions": ("filter_junctions",),
    "combine._pseudobulk": ("metacells", "pseudobulk"),
    "qc._metrics": ("qc_metrics",),
    "read._read_junctions": (
        "read_bam",
        "read_junc",
        "read_junctions",
        "read_regtools",
        "read_star",
        "read_starsolo",
    ),
    "read._sources": ("list_files",),
    "annotate._strand": ("resolve_strands", "splice_motifs"),
    "atse._usage": ("filter_usage", "splice_site_usage"),
    "qc._variable_atses": ("select_variable_atses",),
}

__all__ = [
    "Annotation",
    "annotate_junctions",
    "classify_events",
    "concat_splicing",
    "filter_atses",
    "filter_junctions",
    "filter_usage",
    "find_atses",
    "list_files",
    "make_splicing_dataset",
    "metacells",
    "pseudobulk",
    "qc_metrics",
    "read_annotation",
    "read_bam",
    "read_junc",
    "read_junctions",
    "read_regtools",
    "read_star",
    "read_starsolo",
    "resolve_strands",
    "select_variable_atses",
    "splice_motifs",
    "splice_site_usage",
    "splicing_from_counts",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
