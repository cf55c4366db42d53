"""Construction of a splicing AnnData from observed entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._constants import CLUSTER_LAYER, DATASET_SLOT, JUNCTION_LAYER
from leafletfa_scvi._version import package_version

if TYPE_CHECKING:
    import pandas as pd


def splicing_anndata(
    indptr: np.ndarray,
    column: np.ndarray,
    count: np.ndarray,
    total: np.ndarray,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    source: str,
    **record: Any,
) -> AnnData:
    """Build an AnnData with both layers and ``X`` on the CSR pattern of the observed entries.

    Arrays of the right type are used without a copy, so the caller must not modify them.

    Parameters
    ----------
    indptr
        ``(C + 1,)`` integers; entries of cell ``c`` are ``indptr[c]:indptr[c + 1]``.
    column
        ``(nnz,)`` integers, 0-based junction of each entry, ascending within a cell.
    count
        ``(nnz,)`` junction counts y, integers; zeros are stored.
    total
        ``(nnz,)`` ATSE totals n > 0, integers.
    obs, var
        Annotation of the C cells and the P junctions; not copied.
    source
        Name of the function that made the data, for ``uns["splicing"]``.
    record
        Additional items of ``uns["splicing"]``.

    Returns
    -------
    AnnData
        Layers of junction counts and ATSE totals as int32, and junction counts as float32 in
        ``X``, without common arrays.
    """
    shape = (len(obs), len(var))
    counts = sp.csr_matrix((count.astype(np.int32, copy=False), column, indptr), shape=shape)

    def matrix(values: np.ndarray, dtype: type) -> sp.csr_matrix:
        pattern = counts.indices.copy(), counts.indptr.copy()
        return sp.csr_matrix((values.astype(dtype, copy=False), *pattern), shape=shape)

    layers = {JUNCTION_LAYER: counts, CLUSTER_LAYER: matrix(total, np.int32)}
    adata = AnnData(matrix(count, np.float32), obs=obs, var=var, layers=layers)
    adata.uns[DATASET_SLOT] = {"source": source, "version": package_version(), **record}
    return adata
