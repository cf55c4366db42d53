"""Observed PSI of junctions in each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata, check_whole
from leafletfa_scvi._constants import CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data import get_layer
from leafletfa_scvi.tl._psi_by_group import junction_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def observed_psi(
    adata: AnnData,
    junctions: Sequence[str],
    *,
    min_reads: int = 1,
    junction_layer: str = JUNCTION_LAYER,
    cluster_layer: str = CLUSTER_LAYER,
) -> pd.DataFrame:
    """Return PSI of junctions in each cell, y / n, NaN where the ATSE has too few reads.

    Parameters
    ----------
    adata
        Cells x junctions with both layers of counts.
    junctions
        Names of junctions. The result is dense.
    min_reads
        Minimum number of reads n of the ATSE in the cell, at least 1.
    junction_layer, cluster_layer
        Layers of junction counts y and of ATSE totals n, in reads.

    Returns
    -------
    pandas.DataFrame
        Cells x junctions, float64 in [0, 1] or NaN.

    Raises
    ------
    KeyError
        A junction or layer is missing.
    ValueError
        ``min_reads`` is below 1.

    See Also
    --------
    leafletfa_scvi.LeafletFAModel.get_normalized_splicing : Expected PSI, of all cells.

    Examples
    --------
    >>> psi = lfa.tl.observed_psi(adata, adata.var_names[:2], min_reads=5)  # doctest: +SKIP
    """
    check_anndata(adata)
    check_whole("min_reads", min_reads, 1)
    columns = junction_positions(adata, list(junctions))
    y, n = (_dense(get_layer(adata, name), columns) for name in (junction_layer, cluster_layer))
    with np.errstate(divide="ignore", invalid="ignore"):
        psi = np.where(n >= min_reads, y / n, np.nan)
    return pd.DataFrame(psi, adata.obs_names, adata.var_names[columns])


def _dense(layer: Any, columns: np.ndarray) -> np.ndarray:
    if is_sparse(layer):
        chosen = layer[:, columns].toarray()
    else:
        chosen = np.asarray(layer[:])[:, columns]
    values: np.ndarray = chosen.astype(np.float64)
    return values
