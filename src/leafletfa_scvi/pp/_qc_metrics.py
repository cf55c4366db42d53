"""Measures of quality of cells, junctions and ATSEs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi._constants import ATSE_KEY
from leafletfa_scvi.data._atse import atse_codes
from leafletfa_scvi.pp._totals import (
    atse_totals,
    column_sums,
    is_splicing,
    junction_counts,
    row_sums,
)

if TYPE_CHECKING:
    import scipy.sparse as sp
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
    counts = junction_counts(adata)
    reads = column_sums(counts)
    obs = pd.DataFrame(
        {
            "n_junctions": np.diff(counts.indptr).astype(np.int64),
            "junction_reads": row_sums(counts),
        },
        index=adata.obs_names,
    )
    var = pd.DataFrame(
        {"n_cells": np.bincount(counts.indices, minlength=adata.n_vars), "reads": reads},
        index=adata.var_names,
    )
    if "known_junction" in adata.var:
        known = adata.var["known_junction"].to_numpy(bool)
        on_known = counts.astype(np.float64) @ known.astype(np.float64)
        obs["pct_reads_known"] = 100 * _ratio(on_known, obs["junction_reads"])
    if is_splicing(adata):
        _add_atse_metrics(adata, atse_key, counts, obs, var)
    if not inplace:
        return obs, var
    for table, into in ((obs, adata.obs), (var, adata.var)):
        for name in table:
            into[name] = table[name].to_numpy()
    return None


def _add_atse_metrics(
    adata: AnnData, atse_key: str, counts: sp.csr_matrix, obs: pd.DataFrame, var: pd.DataFrame
) -> None:
    codes, n_atses = atse_codes(adata, atse_key)
    totals = atse_totals(adata, codes, n_atses)
    atse_reads = column_sums(totals)
    observed = np.bincount(totals.indices, minlength=n_atses)

    obs["n_atses"] = np.diff(totals.indptr).astype(np.int64)
    obs["atse_reads"] = row_sums(totals)
    obs["reads_per_atse"] = _ratio(obs["atse_reads"], obs["n_atses"])
    obs["pct_atses_observed"] = 100 * _ratio(obs["n_atses"], np.full(len(obs), n_atses))

    used = var["reads"].to_numpy()
    in_atse = np.bincount(codes, used, n_atses)
    most = np.zeros(n_atses)
    np.maximum.at(most, codes, used)
    share = _ratio(used, in_atse[codes])
    bits = -share * np.log2(share, out=np.zeros(len(share)), where=share > 0)
    entropy = np.maximum(np.bincount(codes, np.nan_to_num(bits), n_atses), 0)
    minor = 1 - _ratio(most, in_atse)

    var["mean_psi"] = _ratio(_psi_sums(counts, totals, codes), observed[codes])
    var["pooled_psi"] = _ratio(used, atse_reads[codes])
    var["atse_n_cells"] = observed[codes]
    var["atse_reads"] = atse_reads[codes]
    var["atse_n_junctions"] = np.bincount(codes, minlength=n_atses)[codes]
    var["atse_entropy"] = np.where(in_atse > 0, entropy, np.nan)[codes]
    var["atse_minor_usage"] = minor[codes]


def _psi_sums(counts: sp.csr_matrix, totals: sp.csr_matrix, codes: np.ndarray) -> np.ndarray:
    """Sum of y / n over cells for each junction, ``(P,)``; y = 0 adds nothing."""
    n_atses = totals.shape[1]
    sums = np.zeros(counts.shape[1])
    step = max(1, int(2e6 // max(1, counts.nnz // max(1, counts.shape[0]))))
    for start in range(0, counts.shape[0], step):
        y, n = counts[start : start + step], totals[start : start + step]
        wanted = _rows(y) * n_atses + codes[y.indices]
        key = _rows(n) * n_atses + n.indices
        at = np.searchsorted(key, wanted)
        sums += np.bincount(y.indices, y.data / n.data[at], counts.shape[1])
    return sums


def _rows(matrix: sp.csr_matrix) -> np.ndarray:
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))


def _ratio(above: np.ndarray | pd.Series, below: np.ndarray | pd.Series) -> np.ndarray:
    """Quotient; NaN where the denominator is 0."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
