"""PSI of junctions in groups of cells, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi._arguments import check_anndata, check_inside, check_names
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._narrow_stubs import categorical, is_sparse
from leafletfa_scvi._similar import did_you_mean
from leafletfa_scvi.data import get_layer, row_blocks
from leafletfa_scvi.stats import pooled_share
from leafletfa_scvi.tl._labels import check_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from anndata import AnnData

    from leafletfa_scvi import LeafletFAModel

ALL_CELLS = "all cells"
"""Name of the only group without ``groupby``."""
_DENSE = 1 << 27
"""Largest number of values of expected PSI that are computed at once."""


def psi_by_group(
    adata: AnnData,
    groupby: str | None = None,
    junctions: Sequence[str] | None = None,
    *,
    groups: Sequence[str] | None = None,
    sample_key: str | None = None,
    by_sample: bool = False,
    model: LeafletFAModel | None = None,
    level: float = 0.95,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
) -> pd.DataFrame:
    """Compute PSI of junctions in groups of cells, from reads and optionally from a model.

    The observed PSI of a group is that of its pooled reads: the sum of junction counts over its
    cells divided by the sum of ATSE totals.

    Parameters
    ----------
    adata
        Cells x junctions with both layers of counts.
    groupby
        Column of ``adata.obs`` with groups of cells; if None, all cells are one group,
        ``"all cells"``. Cells without a value belong to none.
    junctions
        Names of junctions, in the order of the result; all if None.
    groups
        Groups to take, in the order of the result; if None, all categories that have cells, in
        their order.
    sample_key
        Column of ``adata.obs`` with samples (donors, mice, plates), which are then the replicates
        that intervals are made of: they are of the population of samples. If None, cells are the
        replicates, and intervals hold for cells of these samples only.
    by_sample
        Whether to return rows for each sample of each group, with intervals over its cells.
    model
        Trained model of these junctions, whose expected PSI is added.
    level
        Probability of the intervals.
    junction_layer, cluster_layer
        Layers of junction counts and of ATSE totals, in reads.

    Returns
    -------
    pandas.DataFrame
        One row for each group (with ``by_sample``, for each sample of each group) and junction,
        in this order. Columns:

        - ``group``, and ``sample`` with ``by_sample``: categorical, in order
        - ``junction`` and, where ``adata.var`` has it, ``atse_id``
        - ``n_cells``: cells of the group, and ``n_observed``: those with reads of the ATSE
        - ``reads`` and ``total``: sums of junction counts and of ATSE totals
        - ``psi``: ``reads / total``, NaN without reads
        - ``lower``, ``upper``: interval of ``psi``; NaN with fewer than two replicates with reads
        - ``n_replicates``: cells, or samples with ``sample_key``, that have reads
        - ``psi_model`` with ``model``: mean over all cells of the group, with reads or not, of
          :meth:`~leafletfa_scvi.LeafletFAModel.get_normalized_splicing`

    Raises
    ------
    KeyError
        A column, layer, junction or group is missing; the message offers the nearest names.
    ValueError
        No cell has a group, ``by_sample`` is set without ``sample_key``, or junction counts exceed
        ATSE totals.

    Notes
    -----
    Reads of one cell (sample) are more alike than reads of several. The variance of the pooled PSI
    p is therefore that of a ratio of sums over u replicates,
    u / (u - 1) sum (y - p n)^2 / (sum n)^2 (Cochran 1977, section 6.3), and the interval is
    Jeffreys' for the number of independent reads that have this variance (Korn and Graubard 1998,
    with their correction for few replicates). That number is at least (sum n)^2 / sum n^2, as if
    all reads of a replicate were one, and at most the number of reads. Where p is 0 or 1 no
    variance can be estimated, and it is the former.

    References
    ----------
    Cochran, *Sampling Techniques*, 3rd edition (1977). Korn and Graubard, *Survey Methodology* 24,
    193 (1998). Brown, Cai and DasGupta, *Statistical Science* 16, 101 (2001): Jeffreys' interval.

    Examples
    --------
    >>> table = lfa.tl.psi_by_group(adata, "cell_type", sample_key="donor")  # doctest: +SKIP
    """
    check_anndata(adata)
    check_inside("level", level)
    columns = junction_positions(adata, junctions)
    group, names = group_codes(adata, groupby, groups)
    rows = pd.DataFrame({"group": pd.Categorical(names, names)})
    row, replicate = group, None
    if sample_key is not None:
        sample, labels = group_codes(adata, sample_key, None, "sample_key")
        pair = np.where((group < 0) | (sample < 0), -1, group * len(labels) + sample)
        distinct, code = np.unique(pair, return_inverse=True)
        code, distinct = code - (distinct[0] < 0), distinct[distinct >= 0]
        of_group, of_sample = np.divmod(distinct, len(labels))
        if by_sample:
            row = code
            rows = rows.iloc[of_group].reset_index(drop=True)
            rows["sample"] = categorical(of_sample, labels)
        else:
            row, replicate = np.where(code < 0, -1, group), code
            row_of_replicate = of_group
    elif by_sample:
        raise ValueError("Expected sample_key with by_sample=True, found None. Name the samples.")

    layers = get_layer(adata, junction_layer), get_layer(adata, cluster_layer)
    sums = np.zeros((7, len(rows), len(columns)))
    count_sums: Any = 0
    total_sums: Any = 0
    for cells, (y, n) in _blocks(layers, columns, junctions is None):
        _check_counts(adata, columns, cells, y, n, junction_layer, cluster_layer)
        parts = _sums(y, n, row[cells], len(rows))
        sums += parts
        if replicate is not None:
            member = _members(replicate[cells], len(row_of_replicate))
            count_sums, total_sums = count_sums + member @ y, total_sums + member @ n
    n_observed, replicates = sums[6].astype(int), sums
    if replicate is not None:
        replicates = _sums(count_sums, total_sums, row_of_replicate, len(rows))
    reads, total = sums[:2]
    n_replicates = replicates[6].astype(int)
    pooled = pooled_share(reads, total, (*replicates[2:5],), n_replicates, level)

    table = rows.loc[rows.index.repeat(len(columns))].reset_index(drop=True)
    table["junction"] = np.tile(adata.var_names.to_numpy()[columns], len(rows))
    if ATSE_KEY in adata.var:
        atse = adata.var[ATSE_KEY].astype(object).to_numpy()[columns]
        table["atse_id"] = np.tile(atse, len(rows))
    n_cells = np.bincount(row[row >= 0], minlength=len(rows))
    table["n_cells"] = np.repeat(n_cells, len(columns))
    table["n_observed"] = n_observed.ravel()
    for name, values in (("reads", reads), ("total", total)):
        table[name] = values.astype(np.int64).ravel()
    table["psi"], table["lower"], table["upper"] = (x.ravel() for x in pooled)
    table["n_replicates"] = n_replicates.ravel()
    if model is not None:
        table["psi_model"] = _model_means(adata, model, columns, row, len(rows)).ravel()
    return table


def junction_positions(adata: AnnData, junctions: Sequence[str] | None) -> np.ndarray:
    """Return the positions of junctions, ``(m,)``, all if None.

    Raises
    ------
    KeyError
        A name is not in ``adata.var_names``; the message offers the nearest.
    ValueError
        There is none, or names are not unique.
    """
    if junctions is None:
        return np.arange(adata.n_vars)
    names = check_names("junctions", junctions)
    if not names:
        raise ValueError("Expected junctions to name at least one, found none.")
    if not adata.var_names.is_unique:
        repeated = adata.var_names[adata.var_names.duplicated()][0]
        raise ValueError(
            f"Expected unique names in adata.var_names, found {repeated!r} twice. Make them "
            "unique, as adata.var_names_make_unique()."
        )
    positions: np.ndarray = adata.var_names.get_indexer(pd.Index(names))
    if (positions < 0).any():
        missing = names[int((positions < 0).argmax())]
        raise KeyError(
            f"Expected junctions to be in adata.var_names, found {missing!r}, "
            f"{int((positions < 0).sum())} such in all."
            + did_you_mean(missing, map(str, adata.var_names))
        )
    return positions


def group_codes(
    adata: AnnData,
    groupby: str | None,
    groups: Sequence[str] | None = None,
    argument: str = "groupby",
) -> tuple[np.ndarray, list[str]]:
    """Number the groups of cells.

    Returns
    -------
    codes
        ``(C,)`` position of the group of each cell, -1 for none.
    names
        Names of groups: ``groups``, or all with cells in the order of categories.
    """
    if groupby is None:
        if groups is not None:
            raise ValueError("Expected groupby where groups are named, found None.")
        return np.zeros(adata.n_obs, np.int64), [ALL_CELLS]
    check_columns(adata.obs, [groupby], argument)
    labels = pd.Categorical(adata.obs[groupby])
    names = [str(name) for name in labels.categories]
    present = np.bincount(labels.codes[labels.codes >= 0], minlength=len(names)) > 0
    if not present.any():
        raise ValueError(f"Expected groups in adata.obs[{groupby!r}], found missing values only.")
    if groups is None:
        chosen = np.flatnonzero(present)
    else:
        wanted = list(dict.fromkeys(check_names("groups", groups)))
        unknown = [name for name in wanted if name not in names]
        if unknown or not wanted:
            found = repr(unknown[0]) if unknown else "none"
            hint = did_you_mean(unknown[0], names) if unknown else ""
            raise KeyError(
                f"Expected groups of adata.obs[{groupby!r}], {names}, found {found}.{hint}"
            )
        chosen = np.array([names.index(name) for name in wanted])
    new = np.full(len(names) + 1, -1)
    new[chosen] = np.arange(len(chosen))
    return new[labels.codes], [names[i] for i in chosen]


def _blocks(layers: tuple[Any, Any], columns: np.ndarray, is_all: bool) -> Any:
    """Yield slices of cells with both layers of some junctions, as CSR of float64."""
    running = np.zeros(layers[0].shape[0] + 1, np.int64)
    for layer in layers:
        dense = np.arange(len(running)) * layer.shape[1]
        running += layer.indptr if is_sparse(layer) else dense
    for start, stop in row_blocks(running):
        blocks = []
        for layer in layers:
            rows = layer[start:stop]
            rows = rows if is_all else rows[:, columns]
            block = sp.csr_matrix(rows, dtype=np.float64)
            block.sum_duplicates()
            blocks.append(block)
        yield slice(start, stop), tuple(blocks)


def _check_counts(
    adata: AnnData,
    columns: np.ndarray,
    cells: slice,
    y: sp.csr_matrix,
    n: sp.csr_matrix,
    junction_layer: str,
    cluster_layer: str,
) -> None:
    """Refuse junction counts above ATSE totals, and negative ones."""
    excess = (y - n) if y.nnz else y
    if excess.nnz and excess.data.max() > 0:
        cell, junction = (x[0] for x in (excess > 0).nonzero())
        raise ValueError(
            f"Expected counts of layer {junction_layer!r} of at most the totals of "
            f"{cluster_layer!r}, found {y[cell, junction]:g} of {n[cell, junction]:g} for cell "
            f"{adata.obs_names[cells.start + cell]!r} and junction "
            f"{adata.var_names[columns[junction]]!r}. Are the layers swapped?"
        )


def _members(codes: np.ndarray, n: int) -> sp.csr_matrix:
    """Return the ``(n, cells)`` indicator of codes; -1 is none."""
    cell = np.flatnonzero(codes >= 0)
    return sp.csr_matrix((np.ones(len(cell)), (codes[cell], cell)), shape=(n, len(codes)))


def _sums(y: sp.csr_matrix, n: sp.csr_matrix, codes: np.ndarray, n_rows: int) -> np.ndarray:
    """Sum y, n, y^2, y n, n^2, y > 0 and n > 0 over the rows of each code, ``(7, rows, m)``."""
    member = _members(codes, n_rows)
    parts = (y, n, y.multiply(y), y.multiply(n), n.multiply(n), y > 0, n > 0)
    return np.stack([(member @ part).toarray() for part in parts]).astype(np.float64)


def _model_means(
    adata: AnnData, model: LeafletFAModel, columns: np.ndarray, row: np.ndarray, n_rows: int
) -> np.ndarray:
    """Average the expected PSI of a model over the cells of each row."""
    names = [str(name) for name in adata.var_names[columns]]
    cells = np.flatnonzero(row >= 0)
    total = np.zeros((n_rows, len(columns)))
    step = max(1, _DENSE // max(1, len(cells)))
    for start in range(0, len(names), step):
        part = names[start : start + step]
        expected = model.get_normalized_splicing(adata, cells, part, return_numpy=True)
        total[:, start : start + step] = _members(row[cells], n_rows) @ np.asarray(expected)
    size = np.bincount(row[cells], minlength=n_rows)[:, None]
    return np.where(size > 0, total / np.maximum(size, 1), np.nan)
