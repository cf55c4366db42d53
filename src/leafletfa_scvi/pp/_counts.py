"""A splicing data set from junction counts and ATSE labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._constants import ATSE_KEY, DATASET_SLOT
from leafletfa_scvi._narrow_stubs import categorical, is_sparse
from leafletfa_scvi.data import expand_counts, splicing_anndata
from leafletfa_scvi.pp.qc._matrices import check_counts, require_no_totals

if TYPE_CHECKING:
    from collections.abc import Sequence


def splicing_from_counts(
    counts: AnnData | np.ndarray | pd.DataFrame | sp.spmatrix | sp.sparray,
    atse_id: pd.Series | Sequence[Any] | None = None,
    obs: pd.DataFrame | None = None,
    var: pd.DataFrame | None = None,
) -> AnnData:
    """Make a splicing data set from junction counts and the ATSE of each junction.

    The ATSE total of a junction in a cell is the sum of the cell's counts over all junctions of
    the ATSE. All matrices stay sparse.

    Parameters
    ----------
    counts
        Junction counts with ``var["atse_id"]``, as :func:`find_atses` leaves them; junctions
        without a label are dropped. Or a matrix: ``(C, P)`` reads of each cell (row) that support
        each junction (column), whole numbers of any dtype, dense or in any scipy sparse format
        (duplicates of COO are summed).
    atse_id
        For a matrix: ``(P,)`` ATSE label of each junction; stored as text. A Series is aligned by
        its index to the names of the junctions if ``counts`` or ``var`` gives them, else taken in
        order.
    obs, var
        For a matrix: annotation of cells and junctions, copied. Aligned by index if ``counts`` is
        a DataFrame, else taken in order. Names come from the DataFrames given; without any they
        are ``cell_0``, ``cell_1``, ... and ``junction_0``, ...

    Returns
    -------
    AnnData
        Layers ``cell_by_junction_matrix`` (y) and ``cell_by_cluster_matrix`` (n), int32 CSR on
        one pattern, the entries with n > 0 (so zeros are stored in the first); ``X`` equals the
        first as float32; ``var["atse_id"]`` categorical; ``uns["splicing"]``, which keeps the
        record of earlier steps.

    Raises
    ------
    KeyError
        If an AnnData has no ``var["atse_id"]``.
    ValueError
        If no junction of an AnnData has a label; a count is not finite, negative or fractional;
        lengths or names do not match; names are repeated; a junction of a matrix has no label;
        ``var`` has other labels in a column ``atse_id``; or a total is above 16,777,216.

    Examples
    --------
    >>> adata = splicing_from_counts([[3, 1, 0], [0, 0, 2]], ["a", "a", "b"])
    >>> adata.layers["cell_by_cluster_matrix"].toarray()
    array([[4, 4, 0],
           [0, 0, 2]], dtype=int32)
    """
    matrix: sp.csr_matrix | sp.csr_array
    if isinstance(counts, AnnData):
        if not (atse_id is None and obs is None and var is None):
            raise TypeError(
                "Expected an AnnData alone, found atse_id, obs or var beside it. Store the labels "
                f"in var[{ATSE_KEY!r}], or pass the counts of its X."
            )
        require_no_totals(counts, "The AnnData is a splicing data set already.")
        check_counts(sp.csr_matrix(counts.X), "adata.X", counts.obs_names, counts.var_names)
        matrix, obs, var, record = atse_junctions(counts)
        codes = var[ATSE_KEY].cat.codes.to_numpy(np.int64)
        entries = expand_counts(matrix, codes)
        return splicing_anndata(*entries, obs, var, "splicing_from_counts", **record)
    if atse_id is None:
        raise TypeError("Expected atse_id, the ATSE label of each junction of the matrix.")
    rows = counts.index if isinstance(counts, pd.DataFrame) else None
    columns = counts.columns if isinstance(counts, pd.DataFrame) else None
    matrix = _as_csr(counts)
    obs = _annotation(obs, rows, matrix.shape[0], "cell", "obs")
    has_names = columns is not None or var is not None
    var = _annotation(var, columns, matrix.shape[1], "junction", "var")
    labels = _labels(atse_id, var.index, has_names)
    check_counts(matrix, "counts", obs.index, var.index)

    _check_column(var, labels)
    codes, names = pd.factorize(labels)
    var[ATSE_KEY] = categorical(codes, names)
    return splicing_anndata(*expand_counts(matrix, codes), obs, var, "splicing_from_counts")


def atse_junctions(
    junctions: AnnData,
) -> tuple[sp.csr_matrix, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Select the junctions that are in ATSEs.

    Parameters
    ----------
    junctions
        Junction counts with ``var["atse_id"]``, missing for junctions in no ATSE.

    Returns
    -------
    counts
        ``(C, P)`` counts of the junctions in ATSEs, in canonical order.
    obs, var
        Annotation of the cells and of these junctions.
    record
        ``uns["splicing"]`` of the earlier steps, without their source and version.
    """
    if ATSE_KEY not in junctions.var:
        raise KeyError(
            f"Expected ATSE labels in adata.var[{ATSE_KEY!r}], found the columns "
            f"{list(junctions.var.columns)}. Call find_atses first."
        )
    has_atse = junctions.var[ATSE_KEY].notna().to_numpy()
    if not has_atse.any():
        raise ValueError(
            f"Expected ATSE labels in adata.var[{ATSE_KEY!r}], found none for any of "
            f"{junctions.n_vars:,} junctions. uns['splicing']['atses'] says why."
        )
    counts = sp.csr_matrix(junctions.X)[:, np.flatnonzero(has_atse)]
    counts.sort_indices()
    var = junctions.var.loc[has_atse].copy()
    if not isinstance(var[ATSE_KEY].dtype, pd.CategoricalDtype):
        var[ATSE_KEY] = pd.Categorical(var[ATSE_KEY].astype(str))
    for name in var.select_dtypes("category"):
        var[name] = var[name].cat.remove_unused_categories()
    earlier = junctions.uns.get(DATASET_SLOT, {})
    record = {key: value for key, value in earlier.items() if key not in ("source", "version")}
    return counts, junctions.obs.copy(), var, record


def _check_column(var: pd.DataFrame, labels: np.ndarray) -> None:
    """Check that ``var`` has no column of other labels that would be replaced."""
    if ATSE_KEY not in var:
        return
    differs = var[ATSE_KEY].astype(object).map(str).to_numpy() != labels
    if differs.any():
        i = int(differs.argmax())
        raise ValueError(
            f"var has a column {ATSE_KEY!r} already, which atse_id would replace: junction "
            f"{var.index[i]!r} has {var[ATSE_KEY].iloc[i]!r} there and {labels[i]!r} in atse_id, "
            f"{int(differs.sum())} differ in all. Drop or rename the column."
        )


def _as_csr(counts: Any) -> sp.csr_array:
    """Return a canonical copy: float64, not checked yet, without zeros and duplicates."""
    if isinstance(counts, pd.DataFrame):
        has_sparse_columns = len(counts.columns) and all(
            isinstance(dtype, pd.SparseDtype) and dtype.fill_value == 0 for dtype in counts.dtypes
        )
        if has_sparse_columns:
            counts = counts.sparse.to_coo()  # type: ignore[attr-defined] # not in the stubs
        else:
            counts = counts.to_numpy()
    if not is_sparse(counts):
        counts = np.asarray(counts)
    if counts.ndim != 2 or counts.dtype.kind not in "buif":
        raise ValueError(
            f"counts has {counts.ndim} dimensions and dtype {counts.dtype}: expected a matrix of "
            "numbers, cells x junctions."
        )
    matrix = sp.csr_array(counts.astype(np.float64))  # first, lest sums of small integers wrap
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _annotation(
    given: pd.DataFrame | None, names: pd.Index | None, length: int, what: str, argument: str
) -> pd.DataFrame:
    """Copy the annotation of one axis, in the order of the counts, with unique names."""
    if given is None:
        names = pd.Index([f"{what}_{i}" for i in range(length)]) if names is None else names
        table = pd.DataFrame(index=names)
    elif names is not None:
        missing = names.difference(given.index)
        if len(missing):
            raise ValueError(
                f"{argument} has no row for {what} {missing[0]!r} of counts, {len(missing)} in "
                f"all. Give {argument} the names of counts as its index."
            )
        table = given.loc[given.index if given.index.duplicated().any() else names].copy()
    else:
        table = given.copy()
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ValueError(f"{what} {repeated[0]!r} occurs more than once: names must be unique.")
    if len(table) != length:
        raise ValueError(f"{argument} has {len(table)} rows: expected {length}, one per {what}.")
    table.index = table.index.astype(str)
    return table


def _labels(atse_id: Any, junctions: pd.Index, has_names: bool) -> np.ndarray:
    """Return one label for each junction, as text."""
    if isinstance(atse_id, pd.Series) and has_names:
        atse_id = atse_id.set_axis(atse_id.index.astype(str))
        missing = junctions.difference(atse_id.index)
        if len(missing):
            raise ValueError(
                f"atse_id has no label for junction {missing[0]!r}, {len(missing)} in all. Index "
                "it by junction names, or pass atse_id.to_numpy() to take it in order."
            )
        repeated = atse_id.index[atse_id.index.duplicated()]
        if len(repeated):
            raise ValueError(f"atse_id labels junction {repeated[0]!r} more than once.")
        atse_id = atse_id.loc[junctions]
    labels = pd.Series(list(atse_id), dtype=object)
    if len(labels) != len(junctions):
        raise ValueError(
            f"atse_id has {len(labels)} labels: expected {len(junctions)}, one per junction."
        )
    is_missing = labels.isna().to_numpy()
    if is_missing.any():
        i = int(is_missing.argmax())
        raise ValueError(
            f"atse_id has no label for junction {junctions[i]!r}, {is_missing.sum()} in all. "
            "Label every junction, or drop those without."
        )
    return labels.astype(str).to_numpy(object)
