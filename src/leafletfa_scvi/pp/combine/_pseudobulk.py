"""Sums over cells: pseudobulks by annotation, metacells by similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi._arguments import check_at_least, check_column, check_once
from leafletfa_scvi._constants import ACTIVITY_SLOT, CLUSTER_LAYER, DATASET_SLOT, JUNCTION_LAYER
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data import MAX_COUNT, get_layer, splicing_anndata, stored_rows
from leafletfa_scvi.pp.qc._matrices import junction_counts, require_splicing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_MANY_CELLS = 20_000
"""Number of cells of a group above which k-means uses minibatches."""


def pseudobulk(
    adata: AnnData, groupby: str | Sequence[str], *, min_cells: int = 1, sep: str = "_"
) -> AnnData:
    """Sum junction counts and ATSE totals over the cells of each group.

    The total of a group is the sum of the totals of its cells, which equals the sum of the summed
    junction counts. So an entry is observed if it is observed in any cell of the group.

    Parameters
    ----------
    adata
        Splicing data set; not changed.
    groupby
        Column of ``adata.obs``, or several, of which every combination that occurs is a group.
        Cells with a missing value are left out.
    min_cells
        Minimum number of cells of a group; smaller groups are left out.
    sep
        Separator between the values of several columns in the name of a group.

    Returns
    -------
    AnnData
        Groups x junctions, groups in sorted order (of categories, if the columns have them).
        ``obs`` has the columns of ``groupby``, others that do not vary within any group, and
        ``n_cells``. ``var`` is that of ``adata``; ``uns["splicing"]["pseudobulk"]`` counts cells
        and groups left out.

    Raises
    ------
    KeyError
        If a layer or a column is missing.
    ValueError
        If no group is left, two groups get the same name, or a sum is above 16,777,216.
    """
    require_splicing(adata)
    columns = [groupby] if isinstance(groupby, str) else list(groupby)
    if not columns:
        raise ValueError("groupby is empty: name at least one column of adata.obs.")
    for name in columns:
        _require_column(adata, name)
    grouped = adata.obs.groupby(columns, observed=True, sort=True, dropna=True)
    codes = grouped.ngroup().fillna(-1).to_numpy(np.int64)  # -1 if a value is missing
    size = np.bincount(codes[codes >= 0], minlength=grouped.ngroups)
    check_at_least(0, min_cells=min_cells)
    kept = np.flatnonzero(size >= min_cells)
    if not len(kept):
        raise ValueError(
            f"No group of {columns} has {min_cells} cells: the largest of {len(size)} has "
            f"{size.max(initial=0)}. Lower min_cells."
        )
    new_code = np.full(len(size) + 1, -1)
    new_code[kept] = np.arange(len(kept))
    record = {
        "groupby": columns,
        "cells_without_group": int((codes < 0).sum()),
        "groups_dropped": int(len(size) - len(kept)),
        "cells_in_groups_dropped": int(size.sum() - size[kept].sum()),
    }
    codes = new_code[codes]
    obs = _group_annotation(adata.obs, columns, codes, size[kept], sep)
    return _summed(adata, codes, obs, "pseudobulk", record)


def metacells(
    adata: AnnData,
    n_cells_per_metacell: int = 20,
    *,
    use_rep: str = ACTIVITY_SLOT,
    groupby: str | None = None,
    seed: int = 0,
) -> AnnData:
    """Sum junction counts and ATSE totals over small sets of similar cells.

    Cells are clustered by k-means on a representation, within groups. Clusters differ in size; n
    cells give ``n / n_cells_per_metacell`` of them, rounded, and at least one.

    Parameters
    ----------
    adata
        Splicing data set; not changed.
    n_cells_per_metacell
        Mean number of cells of a metacell.
    use_rep
        Key of ``adata.obsm`` with coordinates of cells for which Euclidean distances are
        meaningful. If metacells are tested for differences, it should not be computed from the
        junctions themselves.
    groupby
        Column of ``adata.obs``; a metacell has cells of one of its groups only. Cells without a
        value are left out.
    seed
        Seed of k-means; the same seed gives the same metacells.

    Returns
    -------
    AnnData
        Metacells x junctions, named ``metacell_1``, ... or ``{group}_metacell_1``, ...; ``obs``
        has ``groupby`` and ``n_cells``, ``obsm[use_rep]`` the mean of the cells.
        ``uns["splicing"]["metacells"]["cells"]`` is a table with the metacell of each cell, as
        text, empty for cells left out.

    Raises
    ------
    KeyError
        If ``use_rep``, ``groupby`` or a layer is missing.
    TypeError
        If ``groupby`` is not the name of one column.
    ValueError
        If coordinates are not finite, ``n_cells_per_metacell`` is below 1, or a sum is above
        16,777,216.
    """
    require_splicing(adata)
    check_at_least(1, n_cells_per_metacell=n_cells_per_metacell)
    if use_rep not in adata.obsm:
        raise KeyError(
            f"adata.obsm has no {use_rep!r}: found {', '.join(map(repr, adata.obsm)) or 'none'}. "
            "Name one with use_rep, or fit a model and call model.export_posterior(adata)."
        )
    rep = adata.obsm[use_rep]
    rep = np.asarray(rep.toarray() if is_sparse(rep) else rep, np.float64)
    if not np.isfinite(rep).all():
        cell = adata.obs_names[int((~np.isfinite(rep)).any(axis=1).argmax())]
        raise ValueError(f"adata.obsm[{use_rep!r}] is not finite for cell {cell!r}.")

    if groupby is None:
        groups, labels = np.zeros(adata.n_obs, np.int64), None
    else:
        _require_column(adata, check_column("groupby", groupby))
        labels = pd.Categorical(adata.obs[groupby])
        groups = labels.codes.astype(np.int64)
    codes = np.full(adata.n_obs, -1)
    names: list[str] = []
    group_of: list[int] = []
    for group in np.unique(groups[groups >= 0]):
        cells = np.flatnonzero(groups == group)
        nearest = _k_means(rep[cells], n_cells_per_metacell, seed)
        codes[cells] = len(names) + nearest
        prefix = "" if labels is None else f"{labels.categories[group]}_"
        names += [f"{prefix}metacell_{i + 1}" for i in range(nearest.max() + 1)]
        group_of += [group] * (nearest.max() + 1)
    if not names:
        raise ValueError(f"No cell has a value in adata.obs[{groupby!r}].")
    obs = pd.DataFrame(index=pd.Index(names, dtype=object))
    if labels is not None:
        obs[groupby] = pd.Categorical.from_codes(group_of, dtype=labels.dtype)
    obs["n_cells"] = np.bincount(codes[codes >= 0], minlength=len(names))
    of_cell = np.array([*names, ""], object)[codes]
    record: dict[str, Any] = {
        "use_rep": use_rep,
        "n_cells_per_metacell": int(n_cells_per_metacell),
        "seed": int(seed),
        "cells": pd.DataFrame({"metacell": of_cell}, index=adata.obs_names.astype(str)),
    }
    if groupby is not None:
        record["groupby"] = groupby
    out = _summed(adata, codes, obs, "metacells", record)
    out.obsm[use_rep] = _members(codes, len(names)) @ rep / obs["n_cells"].to_numpy()[:, None]
    return out


def _k_means(where: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return the cluster of each cell, numbered from 0 by first appearance, none empty."""
    n_clusters = min(max(1, round(len(where) / size)), len(np.unique(where, axis=0)))
    if n_clusters == 1:
        return np.zeros(len(where), np.int64)
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kind = KMeans if len(where) <= _MANY_CELLS else MiniBatchKMeans
    found = kind(n_clusters, n_init=1, random_state=seed).fit_predict(where)
    return np.asarray(pd.factorize(found)[0], np.int64)


def _require_column(adata: AnnData, name: str) -> None:
    if name not in adata.obs:
        raise KeyError(f"adata.obs has no column {name!r}: found {list(adata.obs.columns)}.")
    check_once(adata.obs, name)


def _group_annotation(
    obs: pd.DataFrame, columns: list[str], codes: np.ndarray, size: np.ndarray, sep: str
) -> pd.DataFrame:
    """Return a row for each group: its values, other common values, and its number of cells."""
    member = np.flatnonzero(codes >= 0)
    first = member[np.unique(codes[member], return_index=True)[1]]
    table = obs.iloc[first][columns].copy()
    names = table.astype(object).astype(str).agg(sep.join, axis=1)
    if names.duplicated().any():
        raise ValueError(
            f"Two groups of {columns} are named {names[names.duplicated()].iloc[0]!r}: choose "
            "another sep."
        )
    for name in obs.columns.difference(columns, sort=False):
        values = pd.factorize(obs[name].iloc[member], use_na_sentinel=False)[0]
        if _is_constant(values, codes[member]):
            table[name] = obs[name].iloc[first]
    table.index = pd.Index(names.to_numpy(object))
    table["n_cells"] = size
    return table


def _is_constant(values: np.ndarray, groups: np.ndarray) -> bool:
    """Return whether all members of a group have the same value, for every group."""
    order = np.argsort(groups, kind="stable")
    same = np.diff(groups[order]) == 0
    return not (np.diff(values[order])[same] != 0).any()


def _members(codes: np.ndarray, n_groups: int) -> sp.csr_matrix:
    """Return ``(G, C)`` ones for the cells of each group."""
    cells = np.flatnonzero(codes >= 0)
    ones = np.ones(len(cells), np.int64)
    return sp.csr_matrix((ones, (codes[cells], cells)), shape=(n_groups, len(codes)))


def _summed(
    adata: AnnData, codes: np.ndarray, obs: pd.DataFrame, source: str, record: dict[str, Any]
) -> AnnData:
    """Build the splicing data set of groups; cells of code -1 are left out."""
    member = _members(codes, len(obs))
    total = _sum_rows(member, sp.csr_matrix(get_layer(adata, CLUSTER_LAYER)))
    reads = _sum_rows(member, junction_counts(adata))
    if len(total.data) and total.data.max() > MAX_COUNT:
        i = int(total.data.argmax())
        group = obs.index[int(np.searchsorted(total.indptr, i, side="right")) - 1]
        raise ValueError(
            f"The ATSE total of group {group!r} and junction "
            f"{adata.var_names[total.indices[i]]!r} is {total.data[i]:,.0f}: totals beyond "
            f"{MAX_COUNT:,} cannot be represented. Form smaller groups."
        )
    key, count = _keys(total), np.zeros(len(total.data), np.int64)
    wanted = _keys(reads)
    at = np.searchsorted(key, wanted)
    at[at == len(key)] = 0
    if len(wanted) and not (len(key) and np.array_equal(key[at], wanted)):
        raise ValueError(
            f"Layer {JUNCTION_LAYER!r} has reads where the total in layer {CLUSTER_LAYER!r} is "
            "0. Recompute the totals."
        )
    count[at] = reads.data
    earlier = dict(adata.uns.get(DATASET_SLOT, {}))
    kept = {name: earlier[name] for name in ("coordinates", "annotation") if name in earlier}
    return splicing_anndata(
        total.indptr,
        total.indices,
        count,
        total.data,
        obs,
        adata.var.copy(),
        source,
        **kept,
        **{source: record},
    )


def _sum_rows(member: sp.csr_matrix, matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Sum the rows of each group, int64, sorted, without stored zeros."""
    sums = sp.csr_matrix(member @ matrix.astype(np.int64))
    sums.sum_duplicates()
    sums.eliminate_zeros()
    return sums


def _keys(matrix: sp.csr_matrix) -> np.ndarray:
    return stored_rows(matrix) * matrix.shape[1] + matrix.indices
