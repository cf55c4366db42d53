"""Bringing a data set to given junctions."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData

from leafletfa_scvi.data._layers import check_sparse, named_layers
from leafletfa_scvi.ops import ObservedEntries

if TYPE_CHECKING:
    from collections.abc import Sequence


def align_junctions(adata: AnnData, names: Sequence[str] | pd.Index) -> AnnData:
    """New AnnData with the junctions ``names``, in that order.

    Junctions that ``adata`` lacks have no reads, which is not observed; those not among ``names``
    are dropped. Sparse layers stay sparse.

    Parameters
    ----------
    adata
        Cells x junctions; not changed. One on disk is read into memory.
    names
        ``(P,)`` unique junction names.

    Returns
    -------
    AnnData
        With ``obs``, ``obsm``, ``obsp``, ``uns`` and ``raw`` of ``adata`` as they are, and its
        ``var``, ``varm`` and ``varp`` by junction. For junctions that were added, these are
        missing: NaN, None in arrays of objects, and not stored in sparse matrices.

    Raises
    ------
    ValueError
        The arrays of a sparse layer do not fit together.
    """
    if adata.isbacked:
        adata = adata.to_memory()
    for name, layer in named_layers(adata).items():
        if sp.issparse(layer):
            check_sparse(layer, name, adata)
    target = pd.Index(names)
    place = target.get_indexer(adata.var_names)
    source = adata.var_names.get_indexer(target)
    raw = adata.raw
    layers = {
        name: _spread(layer, place, len(target)) for name, layer in named_layers(adata).items()
    }
    return AnnData(
        None if adata.X is None else _spread(adata.X, place, len(target)),
        obs=adata.obs.copy(),
        var=_nullable(adata.var, target).reindex(target),
        layers=layers,
        obsm={key: value.copy() for key, value in adata.obsm.items()},
        obsp={key: value.copy() for key, value in adata.obsp.items()},
        varm={key: _of_junctions(value, source, target) for key, value in adata.varm.items()},
        varp={
            key: _of_junctions(_of_junctions(value, source, target).T, source, target).T
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


def reorder_junctions(entries: ObservedEntries, place: np.ndarray) -> ObservedEntries:
    """The same entries with junction i at ``place[i]``, sorted anew within each cell.

    Parameters
    ----------
    entries
        Observed entries on the CPU.
    place
        ``(P,)`` a permutation of the junctions, 0-based.
    """
    to = torch.from_numpy(place.astype(np.int32))
    column, count, total = (
        torch.empty_like(x) for x in (entries.column, entries.count, entries.total)
    )
    for cells, block in entries.blocks():
        moved = to[block.column.long()]
        order = (block.rows() * entries.n_junctions + moved).argsort()
        first = int(entries.indptr[cells.start])
        new = slice(first, first + block.n_entries)
        column[new], count[new], total[new] = moved[order], block.count[order], block.total[order]
    return ObservedEntries(entries.indptr, column, count, total, entries.n_junctions)


def _nullable(var: pd.DataFrame, target: pd.Index) -> pd.DataFrame:
    """``var`` with columns of bool that can be missing, where junctions of ``target`` are.

    Else they would become objects, which AnnData does not write.
    """
    if target.isin(var.index).all():
        return var
    return var.astype(dict.fromkeys(var.select_dtypes("bool").columns, "boolean"))


def _of_junctions(values: Any, source: np.ndarray, target: pd.Index) -> Any:
    """Rows of ``values`` at ``source`` for the junctions ``target``, missing where it is -1."""
    if isinstance(values, pd.DataFrame):
        return _nullable(values, target).reindex(target)
    there = source >= 0
    if there.all():
        return values[source]
    if sp.issparse(values):
        chosen = sp.csr_matrix(values)[source[there]].tocoo()
        rows = np.flatnonzero(there)[chosen.row]
        shape = len(source), values.shape[1]
        return sp.csr_matrix((chosen.data, (rows, chosen.col)), shape)
    values = np.asarray(values)
    kind = values.dtype if values.dtype.kind in "fcO" else np.dtype(np.float64)
    if values.dtype.kind not in "biufc":
        kind = np.dtype(object)
    out = np.full((len(source), *values.shape[1:]), None if kind.hasobject else np.nan, kind)
    out[there] = values[source[there]]
    return out


def _spread(matrix: Any, place: np.ndarray, n_columns: int) -> Any:
    """Move column i to ``place[i]``, dropping it where that is negative; other columns are 0."""
    if sp.issparse(matrix):
        entries = sp.coo_array(matrix)
        column = place[entries.col]
        kept = column >= 0
        coordinates = (entries.row[kept], column[kept])
        return sp.csr_matrix((entries.data[kept], coordinates), (matrix.shape[0], n_columns))
    values = np.asarray(matrix)
    out = np.zeros((values.shape[0], n_columns), values.dtype)
    out[:, place[place >= 0]] = values[:, place >= 0]
    return out
