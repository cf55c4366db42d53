"""Counts and totals of a data set, as sparse matrices of cells x junctions or cells x ATSEs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from leafletfa_scvi._arguments import check_anndata, check_once
from leafletfa_scvi._constants import CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data import get_layer, named_layers, observed_entries

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def is_splicing(adata: AnnData) -> bool:
    """Return whether ``adata`` has both layers, rather than junction counts in ``X`` only."""
    for slot, table in (("obs", check_anndata(adata).obs), ("var", adata.var)):
        for column in table.columns[table.columns.duplicated()]:
            check_once(table, column, slot)  # anndata cannot copy such a table
    return JUNCTION_LAYER in adata.layers and CLUSTER_LAYER in adata.layers


def junction_counts(adata: AnnData) -> sp.csr_matrix:
    """Return the junction counts of a splicing data set, or those in ``X``.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``(C, P)`` in canonical order without stored zeros; a copy of what ``adata`` holds.

    Raises
    ------
    ValueError
        If a count is not finite, negative or fractional, or counts are missing.
    """
    if is_splicing(adata):
        where, counts = f"adata.layers[{JUNCTION_LAYER!r}]", get_layer(adata, JUNCTION_LAYER)
    else:
        where, counts = "adata.X", adata.X
    if counts is None:
        raise ValueError(
            f"Expected the layers {JUNCTION_LAYER!r} and {CLUSTER_LAYER!r}, or junction counts in "
            "adata.X, found none of these. Store the reads of each junction in adata.X."
        )
    if hasattr(counts, "to_memory"):
        counts = counts.to_memory()
    matrix = sp.csr_matrix(counts if is_sparse(counts) else np.asarray(counts), copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    check_counts(matrix, where, adata.obs_names, adata.var_names)
    return matrix


def check_counts(
    matrix: sp.csr_matrix | sp.csr_array, where: str, cells: pd.Index, junctions: pd.Index
) -> None:
    """Fail unless counts are finite, non-negative and whole; ``where`` names what holds them."""
    value = matrix.data
    for kind, wrong in (
        ("non-finite", ~np.isfinite(value)),
        ("negative", value < 0),
        ("fractional", value != np.rint(value)),
    ):
        if wrong.any():
            i = int(wrong.argmax())
            cell = cells[int(np.searchsorted(matrix.indptr, i, side="right")) - 1]
            raise ValueError(
                f"{where} holds the {kind} value {value[i]:g} for cell {cell!r} and junction "
                f"{junctions[matrix.indices[i]]!r}. Pass raw read counts."
            )


def atse_totals(adata: AnnData, codes: np.ndarray, n_atses: int) -> sp.csr_matrix:
    """Return ATSE totals, one column per ATSE.

    Parameters
    ----------
    adata
        Splicing data set; totals are assumed to be equal within each ATSE of a cell.
    codes
        ``(P,)`` ATSE of each junction, 0-based.
    n_atses
        Number A of ATSEs; each has a junction.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``(C, A)`` without stored zeros, sorted.
    """
    first = np.full(n_atses, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    totals = sp.csr_matrix(get_layer(adata, CLUSTER_LAYER)[:, first])
    totals.sum_duplicates()
    totals.eliminate_zeros()
    return totals


def column_sums(matrix: sp.csr_matrix) -> np.ndarray:
    """``(P,)`` int64 sums of the columns of counts."""
    return np.bincount(matrix.indices, matrix.data, matrix.shape[1]).astype(np.int64)


def row_sums(matrix: sp.csr_matrix) -> np.ndarray:
    """``(C,)`` int64 sums of the rows of counts."""
    return np.asarray(matrix.sum(axis=1, dtype=np.int64)).ravel()


def with_one_pattern(adata: AnnData) -> AnnData:
    """Put the layers on the pattern of observed entries, unless they are; return the data set."""
    y, n = (adata.layers[name] for name in (JUNCTION_LAYER, CLUSTER_LAYER))
    if (
        all(is_sparse(m) and m.format == "csr" for m in (y, n))
        and np.array_equal(y.indptr, n.indptr)
        and np.array_equal(y.indices, n.indices)
        and (n.data > 0).all()
    ):
        return adata
    entries = observed_entries(adata)
    pattern = (entries.column.numpy(), entries.indptr.numpy())
    for name, values in ((JUNCTION_LAYER, entries.count), (CLUSTER_LAYER, entries.total)):
        data = values.numpy().astype(np.int32)
        adata.layers[name] = sp.csr_matrix((data, *pattern), shape=adata.shape, copy=True)
    return adata


def require_splicing(adata: AnnData) -> None:
    """Fail unless ``adata`` has both layers."""
    check_anndata(adata)
    if not is_splicing(adata):
        raise KeyError(
            f"adata lacks {JUNCTION_LAYER!r} or {CLUSTER_LAYER!r}: its layers are "
            f"{sorted(named_layers(adata))}. Make a splicing data set of junction counts first, "
            "with make_splicing_dataset or splicing_from_counts."
        )


def require_no_totals(adata: AnnData, remedy: str) -> None:
    """Fail if ``adata`` has ATSE totals, which would be wrong once its junctions change.

    Parameters
    ----------
    adata
        Junction counts.
    remedy
        Advice, for the message.
    """
    if CLUSTER_LAYER in check_anndata(adata).layers:
        raise ValueError(
            f"Expected junction counts, found ATSE totals in layer {CLUSTER_LAYER!r}, which would "
            f"not be those of the new junctions or ATSEs. {remedy}"
        )


def junction_reads(adata: AnnData) -> np.ndarray:
    """``(P,)`` int64 reads of each junction over all cells, without a copy of the counts."""
    counts = adata.layers[JUNCTION_LAYER] if is_splicing(adata) else adata.X
    if counts is None:
        raise ValueError("Expected junction counts in adata.X, found none.")
    return np.asarray(counts.sum(axis=0), np.int64).ravel()
