"""PSI of the pooled reads of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from leafletfa_scvi._constants import CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.pl._choice import choose
from leafletfa_scvi.pl._groups import cells_by_group
from leafletfa_scvi.pp import pseudobulk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


class GroupPsi(NamedTuple):
    """PSI of P junctions in G groups.

    Attributes
    ----------
    groups
        Names of the groups.
    psi, psi_others
        ``(G, P)`` y / n of the reads of a group, and of those of the other groups; NaN without
        reads.
    observed
        ``(G, P)`` share of the cells of a group with n > 0.
    """

    groups: list[str]
    psi: np.ndarray
    psi_others: np.ndarray
    observed: np.ndarray


def group_psi(adata: AnnData, groupby: str, junctions: Sequence[str]) -> GroupPsi:
    """Pool the reads of the cells of each group.

    Raises
    ------
    KeyError
        A layer, column or junction is missing.
    """
    names = choose("junctions", junctions, adata.var_names)
    groups = cells_by_group(adata, groupby)
    part = adata[:, names].copy()
    sums = pseudobulk(part, groupby)
    order = sums.obs[groupby].astype(str).to_numpy()
    row = [int(np.flatnonzero(order == name)[0]) for name in groups]
    y, n = (_dense(sums.layers[key])[row] for key in (JUNCTION_LAYER, CLUSTER_LAYER))
    seen = _dense(part.layers[CLUSTER_LAYER] > 0)
    observed = np.array([seen[cells].mean(0) for cells in groups.values()])
    return GroupPsi(list(groups), _ratio(y, n), _ratio(y.sum(0) - y, n.sum(0) - n), observed)


def _dense(matrix: object) -> np.ndarray:
    array = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return np.asarray(array, dtype=float)


def _ratio(y: np.ndarray, n: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(y, n, out=np.full(y.shape, np.nan), where=n > 0)
    return ratio
