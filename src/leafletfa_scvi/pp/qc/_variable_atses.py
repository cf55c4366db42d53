"""Selection of ATSEs whose PSI varies between cells."""

from __future__ import annotations

import warnings
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from leafletfa_scvi._arguments import check_at_least, check_column, check_inside
from leafletfa_scvi._constants import ATSE_KEY, DATASET_SLOT
from leafletfa_scvi.data import atse_codes
from leafletfa_scvi.pp.qc._matrices import column_sums, junction_counts, require_splicing
from leafletfa_scvi.pp.qc._variability import agreement, beyond_typical

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData

VARIABILITY_COLUMNS = (
    "variable_atse",
    "atse_variability",
    "atse_variability_se",
    "atse_variability_z",
    "atse_variability_fdr",
    "atse_psi_variance",
    "atse_score",
    "atse_score_fdr",
)
"""Columns of ``var`` that :func:`select_variable_atses` writes."""


def select_variable_atses(
    adata: AnnData,
    n_top: int | None = None,
    *,
    fraction: float | None = None,
    fdr: float = 0.05,
    min_cells: int = 10,
    batch_key: str | None = None,
    annotation_weight: float = 0.0,
    subset: bool = False,
    atse_key: str = ATSE_KEY,
) -> None:
    """Mark ATSEs whose PSI varies between cells more than that of the typical ATSE.

    The *variance of PSI* is f - h, where f is the chance that two reads of one cell support the
    same junction, a cell of n reads weighing n - 1, and h the same for any two reads of the ATSE.
    It is a moment estimate of the variance between cells of the PSI of each junction, summed over
    junctions; counting noise adds nothing to it, whatever the depth (Weir and Cockerham,
    Evolution 38:1358, 1984).

    ATSEs are ranked by their *score*, (v - v0) / (s + s0): v is the variance of PSI, s its
    standard deviation under multinomial noise, v0 and s0 the medians of both over ATSEs (the
    relative difference of SAM; Tusher et al., PNAS 98:5116, 2001). Real counts are noisier than
    multinomial ones, the more so the fewer molecules they come from. The variance alone would
    put badly covered ATSEs first, whose reads in a cell come from one molecule; v / s those of
    highest depth, however little they vary.

    Parameters
    ----------
    adata
        Splicing data set; columns are added to ``var`` as described below.
    n_top
        Number of ATSEs to mark, those with the highest scores.
    fraction
        Share of the ATSEs with a score to mark, above 0 and at most 1, instead of ``n_top``.
    fdr
        Without ``n_top`` and ``fraction``, ATSEs are marked whose ``atse_score_fdr`` is at most
        this: those that vary more than the typical one, so fewer than half.
    min_cells
        Minimum number of cells with at least two reads of an ATSE to score it. A single read
        carries no information on variation.
    batch_key
        Column of ``adata.obs``: variability is measured within its groups and pooled, so that
        differences between them do not count. Cells without a value are left out.
    annotation_weight
        Share of its score, from 0 to 1, that an ATSE loses if all its reads are on novel junctions
        (not ``var["known_junction"]``); otherwise in proportion to their share.
    subset
        If True, drop the junctions of other ATSEs, in place.
    atse_key
        Column of ``adata.var`` with ATSE labels.

    Returns
    -------
    None
        Columns are written to ``adata.var``, as named below.

    Raises
    ------
    KeyError
        If a layer or a column is missing.
    TypeError
        If ``atse_key`` or ``batch_key`` is not the name of one column.
    ValueError
        If both ``n_top`` and ``fraction`` are given, one is out of range, no ATSE can be scored,
        or ``subset`` would leave none.

    Notes
    -----
    Written to ``adata.var``, the same for all junctions of an ATSE:

    ``variable_atse``
        True for marked ATSEs.
    ``atse_variability``, ``atse_variability_se``
        Variability, (f - h) / (1 - h), and its standard error, from the spread over cells, not
        below that under multinomial counts. It is the F_ST of population genetics: 1 if every cell
        uses one junction only, 1 / (1 + concentration) under Dirichlet-multinomial counts, 0 on
        average under multinomial ones, and 0 if all reads are on one junction. Badly covered ATSEs
        have the highest ones: rank by ``atse_score`` instead.
    ``atse_variability_z``
        Its distance from 0 in exact standard deviations, given the reads of each cell and of each
        junction, if usage does not vary. It grows with depth and cells, unlike the variability.
    ``atse_variability_fdr``
        Adjusted (Benjamini-Hochberg) chance of such a value if usage does not vary, by a gamma
        distribution of the exact mean and variance.
    ``atse_psi_variance``
        Variance of PSI between cells, f - h: twice that of either junction if there are two.
        Estimates of ATSEs that do not vary are as often below 0.
    ``atse_score``
        Score by which ATSEs are ranked; NaN if all reads are on one junction.
    ``atse_score_fdr``
        Adjusted (Benjamini-Hochberg) chance of such a variance of PSI if the true one is that of
        the typical ATSE, as in a test of a minimum effect (McCarthy and Smyth, Bioinformatics
        25:765, 2009), with the error from the spread over cells; NaN as the score.

    ATSEs of fewer than ``min_cells`` cells have NaN. ``uns["splicing"]["variable_atses"]`` has
    the arguments, counts and the typical variance of PSI, v0.
    """
    require_splicing(adata)
    _check_arguments(n_top, fraction, fdr, annotation_weight)
    check_at_least(0, min_cells=min_cells)
    codes, n_atses = atse_codes(adata, atse_key)
    counts = junction_counts(adata)
    if batch_key is None:
        measured = agreement(counts, codes, n_atses)
    else:
        if check_column("batch_key", batch_key) not in adata.obs:
            raise KeyError(
                f"adata.obs has no column {batch_key!r}: found {list(adata.obs.columns)}."
            )
        batch, names = pd.factorize(adata.obs[batch_key])
        if not len(names):
            raise ValueError(f"No cell has a value in adata.obs[{batch_key!r}].")
        parts = (
            agreement(counts[np.flatnonzero(batch == i)], codes, n_atses)
            for i in range(len(names))
        )
        measured = reduce(add, parts)

    scored = measured.n_cells >= min_cells
    if not scored.any():
        raise ValueError(
            f"No ATSE has {min_cells} cells with at least two reads: at most "
            f"{measured.n_cells.max():.0f}. Lower min_cells."
        )
    varies = scored & (measured.null_variance > 0)
    score, score_fdr, fdr_of_any = np.full((3, n_atses), np.nan)
    score[varies], typical = beyond_typical(
        measured.psi_variance[varies], measured.null_error[varies]
    )
    if annotation_weight > 0:
        score -= annotation_weight * np.abs(score) * _novel_share(adata, counts, codes, n_atses)
    fdr_of_any[scored] = false_discovery_control(measured.p_value()[scored])
    score_fdr[varies] = false_discovery_control(measured.p_value(typical)[varies])
    marked = _mark(score, varies, score_fdr, n_top, fraction, fdr)

    of_scored = (measured.variability, measured.standard_error, measured.z)
    columns = (
        marked,
        *(np.where(scored, x, np.nan) for x in of_scored),
        fdr_of_any,
        np.where(scored, measured.psi_variance, np.nan),
        score,
        score_fdr,
    )
    if subset and not marked.any():
        raise ValueError(
            "No ATSE is marked as variable, so subset=True would leave none. Choose a number with "
            "n_top or a share with fraction."
        )
    for name, values in zip(VARIABILITY_COLUMNS, columns, strict=True):
        adata.var[name] = values[codes]
    record: dict[str, Any] = {
        "atses": n_atses,
        "atses_scored": int(varies.sum()),
        "atses_variable": int(marked.sum()),
        "min_cells": int(min_cells),
        "annotation_weight": float(annotation_weight),
        "typical_psi_variance": typical,
    }
    given = {"n_top": n_top, "fraction": fraction, "batch_key": batch_key}
    record |= {name: value for name, value in given.items() if value is not None}
    if n_top is None and fraction is None:
        record["fdr"] = float(fdr)
    adata.uns[DATASET_SLOT] = {**adata.uns.get(DATASET_SLOT, {}), "variable_atses": record}
    if subset:
        adata._inplace_subset_var(marked[codes])


def _check_arguments(
    n_top: int | None, fraction: float | None, fdr: float, annotation_weight: float
) -> None:
    if n_top is not None and fraction is not None:
        raise ValueError(f"n_top={n_top} and fraction={fraction} are given: choose one.")
    check_at_least(1, n_top=n_top)
    if fraction is not None:
        check_inside("fraction", fraction, "(0, 1]")
    check_inside("fdr", fdr, "(0, 1]")
    check_inside("annotation_weight", annotation_weight, "[0, 1]")


def _novel_share(
    adata: AnnData, counts: sp.csr_matrix, codes: np.ndarray, n_atses: int
) -> np.ndarray:
    """Share of the reads of each ATSE on junctions that are not annotated."""
    if "known_junction" not in adata.var:
        raise KeyError(
            f"adata.var has no column 'known_junction': found {list(adata.var.columns)}. Make the "
            "data set with an annotation, or leave annotation_weight at 0."
        )
    novel = ~adata.var["known_junction"].to_numpy(bool)
    reads = column_sums(counts)
    total = np.bincount(codes, reads, n_atses)
    return np.bincount(codes, reads * novel, n_atses) / np.maximum(total, 1)


def _mark(
    score: np.ndarray,
    varies: np.ndarray,
    score_fdr: np.ndarray,
    n_top: int | None,
    fraction: float | None,
    fdr: float,
) -> np.ndarray:
    """Mark the selected ATSEs, ``(A,)`` bool."""
    if n_top is None and fraction is None:
        is_significant: np.ndarray = score_fdr <= fdr  # False where it is NaN
        return is_significant
    candidates = np.flatnonzero(varies)
    share = None if fraction is None else max(1, round(fraction * len(candidates)))
    wanted = int(n_top or 0) if share is None else share
    if n_top is not None and wanted > len(candidates):
        warnings.warn(
            f"n_top={n_top}, but only {len(candidates)} ATSEs have enough cells and reads on two "
            "junctions: all of them are marked.",
            UserWarning,
            stacklevel=3,
        )
    best = candidates[np.argsort(-score[candidates], kind="stable")[:wanted]]
    marked = np.zeros(len(score), bool)
    marked[best] = True
    return marked
