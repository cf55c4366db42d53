"""Combining data sets: union of junctions, ATSEs found again, totals recomputed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from natsort import natsorted

from leafletfa_scvi._constants import ATSE_KEY, ATSE_LABEL_KEY, DATASET_SLOT, JUNCTION_METRICS
from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp._counts import splicing_from_counts
from leafletfa_scvi.pp._junctions import junction_names
from leafletfa_scvi.pp.atse._events import event_types
from leafletfa_scvi.pp.atse._graph import label_atses
from leafletfa_scvi.pp.atse._ids import atse_ids
from leafletfa_scvi.pp.combine._missing import missing_junctions, warn_of_missing
from leafletfa_scvi.pp.qc._matrices import column_sums, junction_counts
from leafletfa_scvi.pp.qc._variable_atses import VARIABILITY_COLUMNS

if TYPE_CHECKING:
    from leafletfa_scvi._choices import KeepOrDrop
    from leafletfa_scvi.pp.annotate._annotation import Annotation

COORDINATES: Final = ("chrom", "start", "end", "strand")
GENES: Final = (
    "gene_id",
    "gene_name",
    "n_genes",
    "joins_genes",
    "known_junction",
    "known_5ss",
    "known_3ss",
    "annotation_status",
)
"""Columns of an annotation, which data sets that are united must share."""
_RECOMPUTED: Final = (
    ATSE_KEY,
    ATSE_LABEL_KEY,
    "event_type",
    *JUNCTION_METRICS,
    *VARIABILITY_COLUMNS,
)
_UNKNOWN_MOTIF: Final = "unknown"


def concat_splicing(
    adatas: Mapping[str, AnnData] | Iterable[AnnData],
    *,
    label: str | None = "dataset",
    index_unique: str | None = None,
    annotation: Annotation | str | os.PathLike[str] | None = None,
    multi_gene: KeepOrDrop = "drop",
    no_gene: KeepOrDrop = "drop",
    unstranded: KeepOrDrop = "drop",
    read_through: KeepOrDrop = "drop",
    max_junctions: int | None = None,
) -> AnnData:
    """Combine data sets into one, as if their junctions had been read together.

    Junctions are united by name, ATSEs are found again in the union, and totals and event types
    are made from them; so the same junction may be in an ATSE of another name, or in a larger
    one, than before.

    A junction that a data set does not have counts 0 in its cells. **That is correct only if it
    was not observed in them.** If it was observed but filtered out, or is in no ATSE of its data
    set because it shares no splice site there, its reads are lost, and the PSI of the other
    junctions of its ATSE is too high; a warning says how many junctions this may concern.

    The result is exact, that of making the data set from all files at once, if *junction counts*
    are combined (before ATSEs are found, as the readers return them) of which nothing was
    filtered; filter afterwards. Splicing data sets are exact if all have the same junctions: make
    one, and the others with ``make_splicing_dataset(files, reference=first)``. Event types of
    combined splicing data sets are those of the junctions in ATSEs, as the others are no longer
    known.

    Parameters
    ----------
    adatas
        Splicing data sets, or junction counts in ``X``, by name or in order (then named ``"0"``,
        ``"1"``, ...); left as they are. Columns ``chrom``, ``start``, ``end`` (1-based inclusive
        intron) and ``strand`` of ``var``, and names ``chrom:start-end:strand``.
    label
        Column of ``obs`` for the name of the data set of each cell; None for none.
    index_unique
        Joins names of cells and of their data set, as ``"-"`` in ``cell-0``; needed if two
        data sets have cells of the same name.
    annotation
        GTF or GFF3 from which genes are assigned again. If None, genes are taken from ``var``, if
        all data sets have ``gene_id``.
    multi_gene, no_gene, unstranded, read_through
        Treatment of junctions of several genes, of no gene, of no strand, and of those that join
        genes: dropped from the result, or kept in ATSEs; see :func:`find_atses`.
    max_junctions
        Split ATSEs with more junctions. If None, ATSEs are not split.

    Returns
    -------
    AnnData
        All cells, in the order of the data sets, x the junctions in ATSEs, in genomic order.
        ``obs`` has the columns of all data sets, missing values if one has none. ``var`` has
        their annotation: columns of genes and motifs must agree (an unknown motif agrees with
        any); other columns stay if all data sets that have the junction and the column agree.
        Metrics are left out, like ``obsm`` and all else. ``uns["splicing"]["concat"]`` counts
        junctions and cells and names the columns left out; ``uns["splicing"]["atses"]`` is the
        report on ATSEs.

    Raises
    ------
    KeyError
        A column of coordinates is missing.
    ValueError
        There is no data set; cells share a name; names of junctions are not those of their
        coordinates; contigs are named ``chr1`` in one data set and ``1`` in another; data sets
        disagree on genes or motif of a junction; or no ATSE is found.

    Warns
    -----
    UserWarning
        If a splicing data set, or counts from which junctions were filtered, lacks junctions of
        the result.
    """
    parts = _named(adatas)
    for name, part in parts.items():
        _check_junctions(name, part)
    _check_contigs(parts)
    _check_cells(parts, label, index_unique)

    var = _coordinates(parts)
    united, left_out = _annotation_columns(parts, var.index, skip=GENES if annotation else ())
    var = pd.concat([var, united], axis=1)
    if annotation is not None:
        var, annotation = _annotated(var, annotation)
    joined = anndata.concat(
        {
            name: AnnData(
                junction_counts(part), obs=part.obs, var=pd.DataFrame(index=part.var_names)
            )
            for name, part in parts.items()
        },
        join="outer",
        label=label,
        index_unique=index_unique,
    )
    counts = joined.X.tocsc()[:, joined.var_names.get_indexer(var.index)].tocsr()
    counts.eliminate_zeros()

    options: dict[str, Any] = {}
    if max_junctions is not None:
        options = {"max_junctions": max_junctions, "reads": column_sums(counts)}
    labels, report = label_atses(
        var,
        use_genes="gene_id" in var,
        multi_gene=multi_gene,
        no_gene=no_gene,
        unstranded=unstranded,
        read_through=read_through,
        **options,
    )
    kept = labels.notna().to_numpy()
    if not kept.any():
        raise ValueError(
            f"None of the {len(var)} junctions of all data sets is in an ATSE: {report}. Check "
            "genes and strands, or keep those without with no_gene and unstranded."
        )
    missing = missing_junctions(parts, var.index[kept], column_sums(counts)[kept])
    warn_of_missing(missing, int(kept.sum()))
    types = event_types(var, labels, annotation=annotation)
    record = {
        "data_sets": list(parts),
        "cells": [part.n_obs for part in parts.values()],
        "junctions": [part.n_vars for part in parts.values()],
        "junctions_united": len(var),
        "junctions_in_all": _n_shared(parts),
        "columns_left_out": left_out,
        "junctions_filtered_out_or_unseen": [missing.get(name, (0, 0))[0] for name in parts],
    }
    var = var[kept].copy()
    var["event_type"] = pd.Categorical(types.loc[labels[kept]].to_numpy())
    var[ATSE_LABEL_KEY] = pd.Categorical(labels[kept])
    ids = atse_ids(var, labels[kept])
    adata = splicing_from_counts(counts[:, np.flatnonzero(kept)], ids, joined.obs, var)
    adata.uns[DATASET_SLOT] |= {
        "source": "concat_splicing",
        "coordinates": "1-based inclusive intron",
        "concat": record,
        "atses": report,
    }
    return adata


def _named(adatas: Mapping[str, AnnData] | Iterable[AnnData]) -> dict[str, AnnData]:
    if isinstance(adatas, AnnData):
        raise TypeError("Expected several AnnData, by name or in a list, found one.")
    if not isinstance(adatas, Iterable) or hasattr(adatas, "shape") or isinstance(adatas, str):
        raise TypeError(
            f"Expected several AnnData, by name or in a list, found a {type(adatas).__name__}."
        )
    if not isinstance(adatas, Mapping):
        adatas = {str(i): adata for i, adata in enumerate(adatas)}
    for name, part in adatas.items():
        if not isinstance(part, AnnData):
            raise TypeError(f"Data set {name!r} is a {type(part).__name__}: expected an AnnData.")
    if not adatas:
        raise ValueError("No data set is given: pass at least one.")
    return {str(name): part for name, part in adatas.items()}


def _check_junctions(name: str, part: AnnData) -> None:
    """Check that junctions are named by their coordinates, each once."""
    missing = [column for column in COORDINATES if column not in part.var]
    if missing:
        raise KeyError(
            f"var of data set {name!r} has no column {missing[0]!r}: found "
            f"{list(part.var.columns)}. Junctions are united by chrom, start, end and strand."
        )
    wrong = np.flatnonzero(part.var_names.to_numpy() != junction_names(part.var).to_numpy())
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"Junction {part.var_names[i]!r} of data set {name!r} is at "
            f"{junction_names(part.var.iloc[[i]])[0]!r} by its columns, {len(wrong)} such in all. "
            "Name junctions chrom:start-end:strand, 1-based and inclusive."
        )
    repeated = part.var_names[part.var_names.duplicated()]
    if len(repeated):
        raise ValueError(f"Data set {name!r} has junction {repeated[0]!r} more than once.")


def _check_contigs(parts: Mapping[str, AnnData]) -> None:
    """Check that no contig occurs both with and without the prefix ``chr``."""
    home: dict[str, str] = {}
    for name, part in parts.items():
        for contig in part.var["chrom"].astype(str).unique():
            home.setdefault(contig, name)
    for contig, name in home.items():
        if f"chr{contig}" in home:
            raise ValueError(
                f"Data set {name!r} has contig {contig!r}, data set {home[f'chr{contig}']!r} "
                f"'chr{contig}': rename the contigs of one of them first."
            )


def _check_cells(
    parts: Mapping[str, AnnData], label: str | None, index_unique: str | None
) -> None:
    """Check that names of cells differ, and that the column for data sets is free."""
    home: dict[str, str] = {}
    for name, part in parts.items():
        if label is not None and label in part.obs:
            raise ValueError(
                f"obs of data set {name!r} has a column {label!r}: choose another label for the "
                "names of data sets, or None."
            )
        suffix = "" if index_unique is None else f"{index_unique}{name}"
        for cell in part.obs_names:
            other = home.setdefault(f"{cell}{suffix}", name)
            if other is not name:
                raise ValueError(
                    f"Cell {cell!r} is in data set {other!r} and in {name!r}. Pass "
                    "index_unique='-' to add the name of the data set to that of each cell."
                )
        if part.obs_names.has_duplicates:
            cell = part.obs_names[part.obs_names.duplicated()][0]
            raise ValueError(f"Data set {name!r} has cell {cell!r} more than once.")


def _coordinates(parts: Mapping[str, AnnData]) -> pd.DataFrame:
    """Return the coordinates of all junctions, in genomic order."""
    table = pd.concat(
        [
            part.var[list(COORDINATES)].astype(
                {"chrom": str, "start": np.int64, "end": np.int64, "strand": str}
            )
            for part in parts.values()
        ]
    )
    table = table[~table.index.duplicated()]
    table["chrom"] = pd.Categorical(table["chrom"], natsorted(table["chrom"].unique()))
    table["strand"] = pd.Categorical(table["strand"], list(STRANDS))
    codes = (table["chrom"].cat.codes, table["start"], table["end"], table["strand"].cat.codes)
    ordered: pd.DataFrame = table.iloc[np.lexsort(codes[::-1])]
    return ordered


def _annotation_columns(
    parts: Mapping[str, AnnData], junctions: pd.Index, skip: tuple[str, ...]
) -> tuple[pd.DataFrame, list[str]]:
    """Return columns of ``var`` on which data sets agree, and the names of the others."""
    names = dict.fromkeys(column for part in parts.values() for column in part.var)
    table, left_out = pd.DataFrame(index=junctions), []
    for column in names:
        if column in (*COORDINATES, *_RECOMPUTED, *skip):
            continue
        missing = [name for name, part in parts.items() if column not in part.var]
        if column in GENES and missing:
            has = next(name for name, part in parts.items() if column in part.var)
            raise ValueError(
                f"var of data set {has!r} has {column!r}, that of {missing[0]!r} has not: pass "
                "annotation to assign genes again for all."
            )
        values = _agreed(parts, column, junctions)
        if values is None:
            left_out.append(column)
        else:
            table[column] = values
    return table, left_out


def _agreed(parts: Mapping[str, AnnData], column: str, junctions: pd.Index) -> Any:
    """Return a column over all junctions; None if data sets differ and may."""
    values = np.full(len(junctions), None, object)
    source = np.full(len(junctions), -1)
    for i, (name, part) in enumerate(parts.items()):
        if column not in part.var:
            continue
        given = part.var[column].astype(object)
        is_present = given.notna()
        if column == "motif":
            is_present &= given != _UNKNOWN_MOTIF
        present = is_present.to_numpy()
        at = junctions.get_indexer(part.var_names)[present]
        new = given.to_numpy(object)[present]
        differs = (source[at] >= 0) & (values[at] != new)
        if differs.any():
            if column not in (*GENES, "motif"):
                return None
            j = int(differs.argmax())
            raise ValueError(
                f"var[{column!r}] of junction {junctions[at[j]]!r} is {values[at[j]]!r} in data "
                f"set {list(parts)[source[at[j]]]!r} and {new[j]!r} in {name!r}, "
                f"{int(differs.sum())} such junctions. "
                + (
                    "Read junctions with one genome."
                    if column == "motif"
                    else "Pass annotation to assign genes again for all."
                )
            )
        values[at], source[at] = new, i
    unset = source < 0
    if column == "motif":
        values[unset] = _UNKNOWN_MOTIF
        return pd.Categorical(values)
    dtypes = [part.var[column].dtype for part in parts.values() if column in part.var]
    if any(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        return pd.Categorical(values)
    known = pd.Series(values[~unset]).infer_objects()
    if not unset.any():
        return known.to_numpy()
    if known.dtype == bool:
        return pd.array(values, dtype="boolean")
    return pd.Series(values).infer_objects().to_numpy()


def _annotated(
    var: pd.DataFrame, annotation: Annotation | str | os.PathLike[str]
) -> tuple[pd.DataFrame, Annotation]:
    """Annotate junctions; the annotation is read if it is a path."""
    from leafletfa_scvi.pp.annotate._annotate import annotate_junctions
    from leafletfa_scvi.pp.annotate._annotation import read_annotation

    if isinstance(annotation, str | os.PathLike):
        annotation = read_annotation(annotation)
    table = AnnData(obs=pd.DataFrame(index=["none"]), var=var)
    annotate_junctions(table, annotation)
    return table.var, annotation


def _n_shared(parts: Mapping[str, AnnData]) -> int:
    """Junctions that all data sets have."""
    first, *others = (part.var_names for part in parts.values())
    for names in others:
        first = first.intersection(names)
    return len(first)
