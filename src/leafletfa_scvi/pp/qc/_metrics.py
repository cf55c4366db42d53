"""Measures of quality of cells, junctions and ATSEs."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER
from leafletfa_scvi.data._atse_labels import atse_codes
from leafletfa_scvi.data._blocks import BLOCK
from leafletfa_scvi.pp.qc._matrices import (
    atse_totals,
    column_sums,
    is_splicing,
    junction_counts,
    row_sums,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

JUNCTION_METRICS: Final = (
    "n_cells",
    "reads",
    "mean_psi",
    "pooled_psi",
    "atse_n_cells",
    "atse_reads",
    "atse_n_junctions",
    "atse_entropy",
    "atse_minor_usage",
)
"""Columns of ``var`` that :func:`qc_metrics` writes."""


def qc_metrics(
    adata: AnnData, *, atse_key: str = ATSE_KEY, inplace: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Measure coverage and usage of cells, junctions and ATSEs.

    Works on a splicing data set, and on junction counts in ``X`` for what does not need ATSEs.
    Entries are observed where the ATSE total is above 0. Columns of the same name are replaced.

    Parameters
    ----------
    adata
        Cells x junctions.
    atse_key
        Column of ``adata.var`` with ATSE labels.
    inplace
        Whether to write into ``adata.obs`` and ``adata.var``, or to return the tables.

    Returns
    -------
    tuple of pandas.DataFrame or None
        Unless ``inplace``, measures of cells and of junctions, as named below.

    Raises
    ------
    KeyError
        A splicing data set has no ``var[atse_key]``.
    ValueError
        A count is not a whole number, or there are none.

    Notes
    -----
    Of cells, in ``obs``:

    ``n_junctions``
        Junctions with a read.
    ``junction_reads``
        Reads over all junctions.
    ``pct_reads_known``
        Percent of them on annotated introns; only where ``var["known_junction"]`` is there.
    ``n_atses``
        ATSEs observed (*).
    ``atse_reads``
        Sum of the totals, each ATSE once (*). Equals ``junction_reads`` unless totals count reads
        of junctions that are not in the data set.
    ``reads_per_atse``
        Mean total of the ATSEs observed (*).
    ``pct_atses_observed``
        Percent of all ATSEs (*).

    Of junctions, in ``var``:

    ``n_cells``, ``reads``
        Cells with a read, and reads.
    ``mean_psi``, ``pooled_psi``
        Mean of y / n over the cells in which it is observed, and sum of y over sum of n (*).
    ``atse_n_cells``, ``atse_reads``, ``atse_n_junctions``
        Cells in which its ATSE is observed, sum of the totals, junctions of the ATSE (*).
    ``atse_entropy``
        Entropy of the shares of reads of the ATSE's junctions over all cells, in bits: 0 where
        one has all reads, log2 of their number at most (*).
    ``atse_minor_usage``
        Share of the ATSE's reads, 0 to 1, outside its most used junction (*).

    (*) Needs ATSEs. What has no reads has NaN for percentages, means, shares and entropy.
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
    """Runs of cells with a bounded number of values, one at least."""
    matrix = adata.layers[CLUSTER_LAYER] if is_splicing(adata) else adata.X
    n_values = matrix.nnz if sp.issparse(matrix) else adata.n_obs * adata.n_vars
    step = max(1, BLOCK * adata.n_obs // max(n_values, 1))
    for start in range(0, max(adata.n_obs, 1), step):
        yield slice(start, start + step)


def _cell_metrics(
    counts: sp.csr_matrix, totals: sp.csr_matrix | None, known: np.ndarray | None
) -> pd.DataFrame:
    """Measures of the cells of a block."""
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
    """Sums over the cells of a block, of junctions and of ATSEs."""
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
    """Sum of y / n over cells for each junction, ``(P,)``; y = 0 adds nothing."""
    wanted = _rows(y) * n.shape[1] + codes[y.indices]
    at = np.searchsorted(_rows(n) * n.shape[1] + n.indices, wanted)
    return np.bincount(y.indices, y.data / n.data[at], y.shape[1])


def _rows(matrix: sp.csr_matrix) -> np.ndarray:
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))


def _ratio(above: np.ndarray | pd.Series, below: np.ndarray | pd.Series) -> np.ndarray:
    """Quotient; NaN where the denominator is 0."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
