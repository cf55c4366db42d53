"""Alignment of a data set to given junctions."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data._atse_labels import own_atses
from leafletfa_scvi.data._checks import check_counts_and_totals
from leafletfa_scvi.data._layers import check_sparse, named_layers
from leafletfa_scvi.data._realign_totals import keep_unobserved, realign_totals, sum_totals
from leafletfa_scvi.ops import ObservedEntries

if TYPE_CHECKING:
    from collections.abc import Sequence


def align_junctions(
    adata: AnnData,
    names: Sequence[str] | pd.Index,
    atse: np.ndarray | None = None,
    *,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
    atse_key: str | None = ATSE_KEY,
    own_names: pd.Index | None = None,
    observed: np.ndarray | None = None,
) -> AnnData:
    """Align a data set to the junctions ``names``, in that order.

    Missing junctions are added without reads; junctions not in ``names`` are dropped. Sparse
    layers stay sparse. With ``atse``, totals are summed again: :func:`realign_totals`, or over
    the junctions of ``observed`` only; entries that the data set does not observe, although it
    observes others of its ATSE, remain so. Without, they are moved along, so that missing
    junctions are not observed, and totals contain the reads of junctions that were dropped.

    Parameters
    ----------
    adata
        Cells x junctions; not modified. A backed AnnData is read into memory.
    names
        ``(P,)`` unique junction names.
    atse
        ``(P,)`` 0-based ATSE of each of these junctions. If None, it is unknown.
    junction_layer, cluster_layer
        Layers of counts and totals, for ``atse``. If one is missing, nothing is summed.
    atse_key
        Column of ``adata.var`` with the ATSEs that its totals were summed over, for ``atse``. If
        None or missing, or if a label is, they are unknown.
    own_names
        ``(Q,)`` unique names of the junctions of ``adata`` as ``names`` has them. If None,
        ``adata.var_names``.
    observed
        ``(P,)`` junctions that totals are sums over, for ``atse``. Counts of the others are left
        out of both layers, which makes them not observed. If None, as :func:`realign_totals` has
        it.

    Returns
    -------
    AnnData
        A new object with ``obs``, ``obsm``, ``obsp``, ``uns`` and ``raw`` of ``adata``, and
        ``var``, ``varm`` and ``varp`` aligned. For added junctions, these are missing: NaN, None
        in object arrays, and not stored in sparse matrices.

    Raises
    ------
    ValueError
        The arrays of a sparse layer are inconsistent; or, with ``atse``, a count or total is not
        finite, negative or fractional, or a count is above its total.
    """
    if adata.isbacked:
        adata = adata.to_memory()
    for name, layer in named_layers(adata).items():
        if is_sparse(layer):
            check_sparse(layer, name, adata)
    target = pd.Index(names)
    own_names = adata.var_names if own_names is None else own_names
    target_column = target.get_indexer(own_names)
    source = own_names.get_indexer(target)
    raw = adata.raw
    layers = {
        name: _scatter_columns(layer, target_column, len(target))
        for name, layer in named_layers(adata).items()
    }
    if atse is not None and {junction_layer, cluster_layer} <= layers.keys():
        check_counts_and_totals(adata, junction_layer, cluster_layer)
        count, total = (_canonical(adata.layers[name]) for name in (junction_layer, cluster_layer))
        own = own_atses(adata.var, atse_key)
        if observed is None:
            sums = realign_totals(count, total, target_column, own, atse)
        else:
            column = np.where(np.append(observed, False)[target_column], target_column, -1)
            layers[junction_layer] = _scatter_columns(
                adata.layers[junction_layer], column, len(target)
            )
            sums = sum_totals(count, column, atse)
        if own is not None:
            sums = keep_unobserved(sums, total, target_column, own)
        layers[cluster_layer] = _like(sums, adata.layers[cluster_layer])
    return AnnData(
        None if adata.X is None else _scatter_columns(adata.X, target_column, len(target)),
        obs=adata.obs.copy(),
        var=_nullable(adata.var.set_axis(own_names), target).reindex(target),
        layers=layers,
        obsm={key: value.copy() for key, value in adata.obsm.items()},
        obsp={key: value.copy() for key, value in adata.obsp.items()},
        varm={
            key: _gather_rows(_with_index(value, own_names), source, target)
            for key, value in adata.varm.items()
        },
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


def _canonical(layer: Any) -> sp.csr_matrix:
    """Return a CSR matrix with sorted indices and no duplicates; not the layer itself."""
    matrix = sp.csr_matrix(layer if is_sparse(layer) else np.asarray(layer, np.float64), copy=True)
    matrix.sum_duplicates()
    return matrix


def _like(matrix: sp.csr_matrix, layer: Any) -> Any:
    """Return whole numbers in the layout of a layer, and in its dtype if that holds them."""
    dtype = np.dtype(layer.dtype)
    if dtype.kind != "f" or matrix.nnz and matrix.data.max() > 2 ** (np.finfo(dtype).nmant + 1):
        dtype = np.promote_types(dtype, np.int32) if dtype.kind in "iu" else np.dtype(np.int64)
    return matrix.astype(dtype) if is_sparse(layer) else matrix.toarray().astype(dtype)


def _nullable(var: pd.DataFrame, target: pd.Index) -> pd.DataFrame:
    """Make boolean columns nullable if junctions of ``target`` are missing in ``var``.

    Otherwise reindexing would turn them into object columns, which AnnData cannot write.
    """
    if target.isin(var.index).all():
        return var
    return var.astype(dict.fromkeys(var.select_dtypes("bool").columns, "boolean"))


def _with_index(values: Any, names: pd.Index) -> Any:
    return values.set_axis(names) if isinstance(values, pd.DataFrame) else values


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
