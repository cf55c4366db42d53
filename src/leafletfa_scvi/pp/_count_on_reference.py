"""Counts of a data set at the junctions of another."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._constants import (
    ATSE_KEY,
    CELL_METRICS,
    DATASET_SLOT,
    JUNCTION_METRICS,
)
from leafletfa_scvi._contigs import match_contigs
from leafletfa_scvi.data import expand_counts, splicing_anndata
from leafletfa_scvi.pp._codes import STRANDS, UNSTRANDED
from leafletfa_scvi.pp._junctions import introns, junction_names, splice_sites
from leafletfa_scvi.pp.annotate._annotate import annotate
from leafletfa_scvi.pp.annotate._strand import resolve_strands
from leafletfa_scvi.pp.atse._events import event_types
from leafletfa_scvi.pp.atse._usage import usage_of_sites
from leafletfa_scvi.pp.qc._matrices import column_sums, junction_counts, require_no_totals

if TYPE_CHECKING:
    import os

    from leafletfa_scvi.pp._reference import JunctionReference
    from leafletfa_scvi.pp.annotate._annotation import Annotation

_MAX_NOVEL: Final = 0.05
"""Share of the reads at the splice sites of a reference that are at junctions that it lacks, above
which a warning is given."""
COORDINATES: Final = ["chrom", "start", "end", "strand"]
_USAGE: Final = ("usage_5ss", "usage_3ss")


def count_on_reference(
    junctions: AnnData,
    reference: JunctionReference,
    annotation: Annotation | None = None,
    genome: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Make a splicing data set on the junctions and ATSEs of a reference.

    Counts of a junction are those of the junction of the same name; contigs may differ in the
    prefix ``chr``. A junction without strand counts for its only twin on a strand, in the data or
    in the reference, and else for what :func:`resolve_strands` makes of it; so the reference
    itself may have been counted together with these data.

    Parameters
    ----------
    junctions
        Junction counts in ``X``; not changed.
    reference
        From :func:`~leafletfa_scvi.pp._reference.junction_reference`.
    annotation, genome
        As in :func:`resolve_strands`. An annotation also describes the junctions if the reference
        does not.

    Returns
    -------
    AnnData
        Cells x junctions of the reference, in its order, both layers. ``var`` is that of the
        reference; metrics are left out, usages are those of the new data.
        ``uns["splicing"]["reference"]`` counts junctions and reads.

    Raises
    ------
    ValueError
        If no contig or no junction is in the reference.
    """
    require_no_totals(junctions, "Pass junction counts, as the readers return them.")
    target = reference.var.index
    table = _renamed_contigs(junctions, reference)
    column, is_twin = _columns(table, reference)
    matrix = junction_counts(junctions)
    counts = _scattered(matrix, column, len(target))
    # Strands of the rest, among which no junction has a twin on one strand only.
    unstranded = (table["strand"] == STRANDS[UNSTRANDED]).to_numpy()
    rest = np.flatnonzero(unstranded & (column < 0))
    is_novel = (column < 0) & ~unstranded
    novel, novel_reads = table.loc[is_novel, COORDINATES], column_sums(matrix)[is_novel]
    record = dict(junctions.uns.get(DATASET_SLOT, {}))
    if len(rest):
        some = AnnData(matrix[:, rest], obs=junctions.obs[[]], var=table.iloc[rest])
        some = resolve_strands(some, annotation, genome)
        record["strand"] = some.uns[DATASET_SLOT]["strand"]
        resolved = target.get_indexer(some.var_names)
        counts = counts + _scattered(sp.csr_matrix(some.X), resolved, len(target))
        novel = pd.concat([novel, some.var.loc[resolved < 0, COORDINATES]])
        reads = column_sums(sp.csr_matrix(some.X))[resolved < 0]
        novel_reads = np.concatenate([novel_reads, reads])
    counts = sp.csr_matrix(counts)
    counts.sort_indices()
    found = column_sums(counts)
    report = _report(reference, found, novel, novel_reads)
    report["junctions_unstranded_of_reference_strand"] = int(is_twin.sum())
    if not found.any():
        raise ValueError(
            f"None of the {junctions.n_vars:,} junctions is one of the {len(target):,} of "
            f"{reference.name}: {table.index[0]!r} here, {target[0]!r} there. Are both of the "
            "same species and genome build?"
        )
    _warn(report, reference.name)
    var = _annotation_of(reference, annotation)
    if any(name in var for name in _USAGE):
        both = pd.concat([var[COORDINATES].astype(object), novel.astype(object)])
        usage = usage_of_sites(both, np.concatenate([found, novel_reads]))
        for name in _USAGE:
            var[name] = usage[name].to_numpy()[: len(var)]
    record = {key: value for key, value in record.items() if key not in ("source", "version")}
    obs = junctions.obs.drop(columns=[name for name in CELL_METRICS if name in junctions.obs])
    entries = expand_counts(counts, reference.codes)
    return splicing_anndata(
        *entries, obs, var, "make_splicing_dataset", **record, reference=report
    )


def _renamed_contigs(junctions: AnnData, reference: JunctionReference) -> pd.DataFrame:
    """Return the coordinates of junctions, with the contig names of the reference."""
    located = introns(junctions.var)
    theirs = reference.var["chrom"].astype(str).unique()
    matched = match_contigs(pd.unique(located.contig), theirs, "the inputs", reference.name)
    table = pd.DataFrame(
        {
            "chrom": [matched.get(name, name) for name in located.contig],
            "start": located.start,
            "end": located.end,
            "strand": np.array(STRANDS, object)[located.strand],
        }
    )
    if "motif" in junctions.var:
        table["motif"] = junctions.var["motif"].astype(object).to_numpy()
    return table.set_axis(junction_names(table))


def _columns(table: pd.DataFrame, reference: JunctionReference) -> tuple[np.ndarray, np.ndarray]:
    """Return the column of the reference of each junction, or -1.

    Returns
    -------
    column
        ``(J,)`` int64.
    is_twin
        ``(J,)`` bool, true for junctions without strand that have one there.
    """
    target = reference.var.index
    column = target.get_indexer(table.index)
    coordinates = ["chrom", "start", "end"]
    known = reference.var[COORDINATES].astype(
        {"chrom": str, "start": np.int64, "end": np.int64, "strand": str}
    )
    stranded = pd.concat([known, table[list(known)]])
    stranded = stranded[stranded["strand"] != STRANDS[UNSTRANDED]].drop_duplicates()
    is_only = ~stranded.duplicated(coordinates, keep=False)
    only = stranded[is_only].set_index(coordinates)["strand"]
    open_ = np.flatnonzero((column < 0) & (table["strand"] == STRANDS[UNSTRANDED]).to_numpy())
    twins = table.iloc[open_].copy()
    at = only.index.get_indexer(pd.MultiIndex.from_frame(twins[coordinates]))
    twins["strand"] = np.append(only.to_numpy(object), STRANDS[UNSTRANDED])[at]  # at -1 if none
    is_twin = np.zeros(len(table), bool)
    if len(twins):
        column[open_] = target.get_indexer(junction_names(twins))
        is_twin[open_] = column[open_] >= 0
    return column, is_twin


def _scattered(matrix: sp.csr_matrix, column: np.ndarray, n_columns: int) -> sp.csr_matrix:
    """Sum columns of counts into those given; columns of -1 are left out."""
    rows = np.flatnonzero(column >= 0)
    ones = (np.ones(len(rows), matrix.dtype), (rows, column[rows]))
    return sp.csr_matrix(matrix @ sp.csr_matrix(ones, shape=(len(column), n_columns)))


def _report(
    reference: JunctionReference, found: np.ndarray, novel: pd.DataFrame, reads: np.ndarray
) -> dict[str, Any]:
    """Count junctions and reads that the reference has, and those that it lacks."""
    with_reads = reads > 0
    known = reference.var[COORDINATES].astype(object)
    located = introns(pd.concat([known, novel.astype(object)]))
    is_at_site = np.zeros(len(found) + len(novel), bool)
    for site in splice_sites(located.strand_key, located.start, located.end):
        is_at_site |= np.isin(site, site[: len(found)])
    at_site = is_at_site[len(found) :] & with_reads
    return {
        "name": reference.name,
        "junctions": len(found),
        "junctions_without_reads": int((found == 0).sum()),
        "reads": int(found.sum()),
        "junctions_not_in_reference": int(with_reads.sum()),
        "reads_not_in_reference": int(reads.sum()),
        "junctions_not_in_reference_at_its_splice_sites": int(at_site.sum()),
        "reads_not_in_reference_at_its_splice_sites": int(reads[at_site].sum()),
    }


def _warn(report: dict[str, Any], name: str) -> None:
    """Warn if junctions of the same splice sites have many reads that no total contains."""
    lost = report["reads_not_in_reference_at_its_splice_sites"]
    share = lost / (lost + report["reads"])
    if share > _MAX_NOVEL:
        warnings.warn(
            f"{share:.1%} of the reads at the splice sites of {name} are at "
            f"{report['junctions_not_in_reference_at_its_splice_sites']:,} junctions that it "
            "lacks, and are in no total. If these junctions matter, make one data set of all "
            "files.",
            UserWarning,
            stacklevel=4,
        )


def _annotation_of(reference: JunctionReference, annotation: Annotation | None) -> pd.DataFrame:
    """Return ``var`` of the reference without metrics, with genes and events if it lacks them."""
    var = reference.var.drop(columns=[name for name in JUNCTION_METRICS if name in reference.var])
    if annotation is not None and "gene_id" not in var:
        var = pd.concat([var, annotate(var, annotation)[0]], axis=1)
    if "event_type" not in var:
        types = event_types(var, var[ATSE_KEY], annotation=annotation)
        var["event_type"] = pd.Categorical(types.loc[var[ATSE_KEY].astype(object)].to_numpy())
    return var
