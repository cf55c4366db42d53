"""Alignment of a data set to given junctions."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data._layers import check_sparse, named_layers
from leafletfa_scvi.ops import ObservedEntries

if TYPE_CHECKING:
    from collections.abc import Sequence


def align_junctions(adata: AnnData, names: Sequence[str] | pd.Index) -> AnnData:
    """Align a data set to the junctions ``names``, in that order.

    Missing junctions are added without reads, so that they are not observed; junctions not in
    ``names`` are dropped. Sparse layers stay sparse.

    Parameters
    ----------
    adata
        Cells x junctions; not modified. A backed AnnData is read into memory.
    names
        ``(P,)`` unique junction names.

    Returns
    -------
    AnnData
        A new object with ``obs``, ``obsm``, ``obsp``, ``uns`` and ``raw`` of ``adata``, and
        ``var``, ``varm`` and ``varp`` aligned. For added junctions, these are missing: NaN, None
        in object arrays, and not stored in sparse matrices.

    Raises
    ------
    ValueError
        The arrays of a sparse layer are inconsistent.
    """
    if adata.isbacked:
        adata = adata.to_memory()
    for name, layer in named_layers(adata).items():
        if is_sparse(layer):
            check_sparse(layer, name, adata)
    target = pd.Index(names)
    target_column = target.get_indexer(adata.var_names)
    source = adata.var_names.get_indexer(target)
    raw = adata.raw
    layers = {
        name: _scatter_columns(layer, target_column, len(target))
        for name, layer in named_layers(adata).items()
    }
    return AnnData(
        None if adata.X is None else _scatter_columns(adata.X, target_column, len(target)),
        obs=adata.obs.copy(),
        var=_nullable(adata.var, target).reindex(target),
        layers=layers,
        obsm={key: value.copy() for key, value in adata.obsm.items()},
        obsp={key: value.copy() for key, value in adata.obsp.items()},
        varm={key: _gather_rows(value, source, target) for key, value in adata.varm.items()},
        varp={
            key: _gather_rows(_gather_rows(value, source, target).T, source, target).T
            for key, value in adata.varp.items()
        },
        uns={
            key: deepcopy(value)
            for key, value in adata.uns.items()
            if not str(key).startswith("_scvi")
        },
        raw=None
        if raw is None
        else {"X": raw.X.copy(), "var": raw.var.copy(), "varm": dict(raw.varm)},
    )


@renamed_arguments(place="position")
def reorder_junctions(entries: ObservedEntries, position: np.ndarray) -> ObservedEntries:
    """Move junction i to ``position[i]``, and sort entries within each cell.

    Parameters
    ----------
    entries
        Observed entries on the CPU.
    position
        ``(P,)`` permutation of the junctions, 0-based.
    """
    new_column = torch.from_numpy(position.astype(np.int32))
    column, count, total = (
        torch.empty_like(x) for x in (entries.column, entries.count, entries.total)
    )
    for cells, block in entries.blocks():
        moved = new_column[block.column.long()]
        order = (block.rows() * entries.n_junctions + moved).argsort()
        first = int(entries.indptr[cells.start])
        new = slice(first, first + block.n_entries)
        column[new], count[new], total[new] = moved[order], block.count[order], block.total[order]
    return ObservedEntries(entries.indptr, column, count, total, entries.n_junctions)


def _nullable(var: pd.DataFrame, target: pd.Index) -> pd.DataFrame:
    """Make boolean columns nullable if junctions of ``target`` are missing in ``var``.

    Otherwise reindexing would turn them into object columns, which AnnData cannot write.
    """
    if target.isin(var.index).all():
        return var
    return var.astype(dict.fromkeys(var.select_dtypes("bool").columns, "boolean"))


def _gather_rows(values: Any, source: np.ndarray, target: pd.Index) -> Any:
    """Return rows ``source`` of ``values``, one for each junction of ``target``; -1 is missing."""
    if isinstance(values, pd.DataFrame):
        return _nullable(values, target).reindex(target)
    present = source >= 0
    if present.all():
        return values[source]
    if is_sparse(values):
        selected = sp.csr_matrix(values)[source[present]].tocoo()
        rows = np.flatnonzero(present)[selected.row]
        shape = len(source), values.shape[1]
        return sp.csr_matrix((selected.data, (rows, selected.col)), shape)
    values = np.asarray(values)
    # Integers and booleans cannot be NaN, so they become floats; other types become objects.
    dtype = values.dtype if values.dtype.kind in "fcO" else np.dtype(np.float64)
    if values.dtype.kind not in "biufc":
        dtype = np.dtype(object)
    out = np.full((len(source), *values.shape[1:]), None if dtype.hasobject else np.nan, dtype)
    out[present] = values[source[present]]
    return out


def _scatter_columns(matrix: Any, target: np.ndarray, n_columns: int) -> Any:
    """Move column i to ``target[i]``, or drop it if negative; other columns are 0."""
    if is_sparse(matrix):
        entries = sp.coo_array(matrix)
        column = target[entries.col]
        keep = column >= 0
        coordinates = (entries.row[keep], column[keep])
        return sp.csr_matrix((entries.data[keep], coordinates), (matrix.shape[0], n_columns))
    values = np.asarray(matrix)
    out = np.zeros((values.shape[0], n_columns), values.dtype)
    out[:, target[target >= 0]] = values[:, target >= 0]
    return out
