"""Quality metrics of cells, junctions and ATSEs."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data import BLOCK, atse_codes, stored_rows
from leafletfa_scvi.pp.qc._matrices import (
    atse_totals,
    column_sums,
    is_splicing,
    junction_counts,
    row_sums,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp
    from anndata import AnnData


def qc_metrics(
    adata: AnnData, *, atse_key: str = ATSE_KEY, inplace: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Compute coverage and usage of cells, junctions and ATSEs.

    ``adata`` is a splicing data set, or junction counts in ``X`` for metrics that need no ATSEs.
    Entries with an ATSE total above 0 are observed. Columns of the same name are replaced.

    Parameters
    ----------
    adata
        Cells x junctions.
    atse_key
        Column of ``adata.var`` with ATSE labels.
    inplace
        If True, write to ``adata.obs`` and ``adata.var``; otherwise return the tables.

    Returns
    -------
    tuple of pandas.DataFrame or None
        Unless ``inplace``, metrics of cells and of junctions, as named below.

    Raises
    ------
    KeyError
        If a splicing data set has no ``var[atse_key]``.
    ValueError
        If a count is not a whole number, or counts are missing.

    Notes
    -----
    For cells, in ``obs``:

    ``n_junctions``
        Number of junctions with reads.
    ``junction_reads``
        Number of reads over all junctions.
    ``pct_reads_known``
        Percentage of them on annotated introns; only if ``var["known_junction"]`` is present.
    ``n_atses``
        Number of observed ATSEs (*).
    ``atse_reads``
        Sum of the totals, each ATSE once (*). Equals ``junction_reads`` unless totals count reads
        of junctions that are not in the data set.
    ``reads_per_atse``
        Mean total of the observed ATSEs (*).
    ``pct_atses_observed``
        Percentage of all ATSEs that are observed (*).

    For junctions, in ``var``:

    ``n_cells``, ``reads``
        Number of cells with reads, and of reads.
    ``mean_psi``, ``pooled_psi``
        Mean of y / n over the cells in which it is observed, and sum of y over sum of n (*).
    ``atse_n_cells``, ``atse_reads``, ``atse_n_junctions``
        Number of cells in which the ATSE is observed, sum of its totals, number of its junctions
        (*).
    ``atse_entropy``
        Entropy of the shares of reads of the ATSE's junctions over all cells, in bits: 0 if one
        has all reads, at most log2 of their number (*).
    ``atse_minor_usage``
        Share of the ATSE's reads, 0 to 1, outside its most used junction (*).

    (*) Needs ATSEs. Percentages, means, shares and entropy are NaN without reads.
    """
    splicing = is_splicing(adata)
    codes, n_atses = atse_codes(adata, atse_key) if splicing else (np.empty(0, np.int64), 0)
    known = None
    if "known_junction" in adata.var:
        known = adata.var["known_junction"].to_numpy(np.float64)
    of_cells, of_junctions = [], []
    for rows in _row_blocks(adata):
        counts = junction_counts(adata[rows])
        totals = atse_totals(adata[rows], codes, n_atses) if splicing else None
        of_cells.append(_cell_metrics(counts, totals, known))
        of_junctions.append(_sums(counts, totals, codes))
    obs = pd.concat(of_cells).set_axis(adata.obs_names)
    sums = {name: reduce(np.add, (s[name] for s in of_junctions)) for name in of_junctions[0]}
    var = pd.DataFrame({name: sums[name] for name in ("n_cells", "reads")}, adata.var_names)
    if splicing:
        _add_atse_metrics(codes, n_atses, sums, var)
    if not inplace:
        return obs, var
    for table, into in ((obs, adata.obs), (var, adata.var)):
        for name in table:
            into[name] = table[name].to_numpy()
    return None


def _row_blocks(adata: AnnData) -> Iterator[slice]:
    """Yield runs of at least one cell with a bounded number of values."""
    matrix = adata.layers[CLUSTER_LAYER] if is_splicing(adata) else adata.X
    n_values = matrix.nnz if is_sparse(matrix) else adata.n_obs * adata.n_vars
    step = max(1, BLOCK * adata.n_obs // max(n_values, 1))
    for start in range(0, max(adata.n_obs, 1), step):
        yield slice(start, start + step)


def _cell_metrics(
    counts: sp.csr_matrix, totals: sp.csr_matrix | None, known: np.ndarray | None
) -> pd.DataFrame:
    """Compute the metrics of the cells of a block."""
    obs = pd.DataFrame(
        {
            "n_junctions": np.diff(counts.indptr).astype(np.int64),
            "junction_reads": row_sums(counts),
        }
    )
    if known is not None:
        obs["pct_reads_known"] = 100 * _ratio(counts @ known, obs["junction_reads"])
    if totals is not None:
        n_atses = np.diff(totals.indptr).astype(np.int64)
        obs["n_atses"] = n_atses
        obs["atse_reads"] = row_sums(totals)
        obs["reads_per_atse"] = _ratio(obs["atse_reads"], n_atses)
        obs["pct_atses_observed"] = 100 * _ratio(n_atses, np.full(len(obs), totals.shape[1]))
    return obs


def _sums(
    counts: sp.csr_matrix, totals: sp.csr_matrix | None, codes: np.ndarray
) -> dict[str, np.ndarray]:
    """Sum over the cells of a block, for junctions and for ATSEs."""
    sums = {
        "n_cells": np.bincount(counts.indices, minlength=counts.shape[1]),
        "reads": column_sums(counts),
    }
    if totals is not None:
        sums["psi"] = _psi_sums(counts, totals, codes)
        sums["atse_n_cells"] = np.bincount(totals.indices, minlength=totals.shape[1])
        sums["atse_reads"] = column_sums(totals)
    return sums


def _add_atse_metrics(
    codes: np.ndarray, n_atses: int, sums: dict[str, np.ndarray], var: pd.DataFrame
) -> None:
    used = sums["reads"]
    in_atse = np.bincount(codes, used, n_atses)
    most = np.zeros(n_atses)
    np.maximum.at(most, codes, used)
    share = _ratio(used, in_atse[codes])
    bits = -share * np.log2(share, out=np.zeros(len(share)), where=share > 0)
    entropy = np.maximum(np.bincount(codes, np.nan_to_num(bits), n_atses), 0)
    minor = 1 - _ratio(most, in_atse)

    var["mean_psi"] = _ratio(sums["psi"], sums["atse_n_cells"][codes])
    var["pooled_psi"] = _ratio(used, sums["atse_reads"][codes])
    var["atse_n_cells"] = sums["atse_n_cells"][codes]
    var["atse_reads"] = sums["atse_reads"][codes]
    var["atse_n_junctions"] = np.bincount(codes, minlength=n_atses)[codes]
    var["atse_entropy"] = np.where(in_atse > 0, entropy, np.nan)[codes]
    var["atse_minor_usage"] = minor[codes]


def _psi_sums(y: sp.csr_matrix, n: sp.csr_matrix, codes: np.ndarray) -> np.ndarray:
    """Sum y / n over cells for each junction, ``(P,)``; entries with y = 0 add nothing."""
    wanted = stored_rows(y) * n.shape[1] + codes[y.indices]
    at = np.searchsorted(stored_rows(n) * n.shape[1] + n.indices, wanted)
    return np.bincount(y.indices, y.data / n.data[at], y.shape[1])


def _ratio(above: np.ndarray | pd.Series, below: np.ndarray | pd.Series) -> np.ndarray:
    """Return the quotient; NaN if the denominator is 0."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    quotient = np.full(len(below), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient
