"""Cells with activities of programs and expression of genes, from two AnnData or a MuData."""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ACTIVITY_SLOT
from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data import JUNCTIONS, find_modality, is_mudata, joined_cells
from leafletfa_scvi.tl._activities import CellActivities, cell_activities

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model import LeafletFAModel

log = logging.getLogger(__name__)

_CHECKED_VALUES = 100_000


class ExpressionCells(NamedTuple):
    """C cells with both.

    Attributes
    ----------
    programs
        Names of the K programs.
    phi, variance
        ``(C, K)`` activities, and their posterior variances if they are known.
    obs
        ``(C, ...)`` annotation.
    genes
        ``(G,)`` names.
    values
        ``(C, G)`` log expression, CSR or dense.
    """

    programs: list[str]
    phi: np.ndarray
    variance: np.ndarray | None
    obs: pd.DataFrame
    genes: pd.Index
    values: Any

    def select(self, keep: np.ndarray) -> ExpressionCells:
        """Keep some cells."""
        return self._replace(
            phi=self.phi[keep],
            variance=None if self.variance is None else self.variance[keep],
            obs=self.obs[keep],
            values=self.values[np.flatnonzero(keep)],
        )


def expression_cells(
    data: MuData | AnnData | LeafletFAModel, expression: AnnData | str, layer: str | None
) -> ExpressionCells:
    """Match the cells of activities and expression by name.

    Parameters
    ----------
    data
        MuData with both, or AnnData or model with the activities.
    expression
        AnnData with log expression, or the name of its modality.
    layer
        Its layer; None for ``X``.

    Raises
    ------
    TypeError, KeyError, ValueError
        One of them is missing or of another kind, they have no cells in common, or the expression
        is counts.
    """
    cells, mdata = _activities(data)
    genes = _expression(expression, mdata)
    names = cells.adata.obs_names
    for found, what in ((names, "data"), (genes.obs_names, "expression")):
        if not found.is_unique:
            raise ValueError(
                f"Expected unique names of cells in {what}, found "
                f"{found[found.duplicated()][0]!r} twice. Call obs_names_make_unique()."
            )
    position = genes.obs_names.get_indexer(names)
    shared = position >= 0
    if not shared.any():
        raise ValueError(
            f"Expected cells of the same names in data and expression, found none: {names[0]!r} "
            f"and {genes.obs_names[0]!r}. Rename those of one of them."
        )
    if not shared.all():
        log.info("%d cells have activities, but no expression, and are left out.", (~shared).sum())
    rows = position[shared]
    obs = cells.adata.obs[shared]
    more = [key for key in genes.obs if key not in obs and not str(key).startswith("_")]
    obs = pd.concat([obs, genes.obs[more].iloc[rows].set_axis(obs.index)], axis=1)
    phi, variance = cells.select(shared)
    values = _values(genes, layer)[rows]
    return ExpressionCells(cells.programs, phi, variance, obs, genes.var_names.astype(str), values)


def choose_genes(cells: ExpressionCells, genes: Iterable[str] | None) -> ExpressionCells:
    """Keep the named genes that the data have, and log how many they lack.

    Raises
    ------
    ValueError
        They have none of them, or a name occurs twice in the data.
    """
    if genes is None:
        return cells
    wanted = [genes] if isinstance(genes, str) else list(dict.fromkeys(map(str, genes)))
    found = cells.genes[cells.genes.isin(wanted)]
    if found.has_duplicates:
        raise ValueError(
            f"Expected unique names of genes in expression, found {found[found.duplicated()][0]!r}"
            " twice. Call var_names_make_unique()."
        )
    missing = [name for name in wanted if name not in set(found)]
    if len(missing) == len(wanted):
        near = get_close_matches(missing[0], list(cells.genes), 1, 0.5) if missing else []
        raise ValueError(
            f"Expected genes of the data, found none of {len(wanted)} in expression.var_names, "
            f"such as {wanted[:1]}: it has {cells.genes[:3].tolist()}, ..."
            + (f" Do you mean {near[0]!r}?" if near else "")
        )
    if missing:
        log.info(
            "%d of %d genes are not in the data: %s%s.",
            len(missing),
            len(wanted),
            ", ".join(missing[:5]),
            ", ..." if len(missing) > 5 else "",
        )
    columns = cells.genes.get_indexer(pd.Index([name for name in wanted if name in set(found)]))
    return cells._replace(genes=cells.genes[columns], values=cells.values[:, columns])


def _activities(data: Any) -> tuple[CellActivities, MuData | None]:
    """Activities, with the columns of all modalities of a MuData."""
    if not is_mudata(data):
        cells = cell_activities(data)
        own = getattr(data, "adata", None)
        return cells, own if is_mudata(own) else None
    names = [name for name, part in data.mod.items() if ACTIVITY_SLOT in part.obsm]
    if len(names) != 1:
        raise ValueError(
            f"Expected one modality of data with activities in obsm[{ACTIVITY_SLOT!r}], found "
            f"{names or 'none'}. "
            + (
                "Pass the AnnData or the model."
                if names
                else "Write them with model.export_posterior(mdata), or pass the model."
            )
        )
    cells = cell_activities(find_modality(data, names[0]))
    return cells._replace(adata=joined_cells(data, {JUNCTIONS: names[0]}, {})), data


def _expression(expression: Any, mdata: MuData | None) -> AnnData:
    if not isinstance(expression, str):
        adata = check_anndata(expression, "expression")
    elif mdata is None:
        raise TypeError(
            f"Expected expression to be an AnnData, as data is no MuData, found {expression!r}. "
            "Pass the AnnData with the expression of the same cells."
        )
    else:
        adata = find_modality(mdata, expression, "expression")
    if adata.isbacked:
        raise ValueError(
            "Expected expression in memory, found a backed AnnData. Use adata.to_memory()."
        )
    return adata


def _values(adata: AnnData, layer: str | None) -> Any:
    """Log expression ``(cells, genes)``, CSR or dense."""
    if layer is not None and layer not in adata.layers:
        near = get_close_matches(str(layer), list(map(str, adata.layers)), 1)
        raise KeyError(
            f"Expected layer to be one of {sorted(adata.layers)}, found {layer!r}."
            + (f" Do you mean {near[0]!r}?" if near else "")
        )
    values: Any = adata.X if layer is None else adata.layers[layer]
    if values is None:
        raise ValueError("Expected expression in X, found none. Name the layer that has it.")
    values = sp.csr_matrix(values) if is_sparse(values) else np.asarray(values)
    stored: np.ndarray = values.data if is_sparse(values) else values.ravel()
    part = stored[: max(_CHECKED_VALUES, 1)].astype(np.float64)
    if not np.isfinite(stored.sum(dtype=np.float64)):
        raise ValueError(
            "Expected finite expression, found infinite or missing values. Remove these genes."
        )
    if len(part) and part.max() > 1 and (part == np.round(part)).all():
        raise ValueError(
            "Expected logarithms of normalized expression, found whole numbers, which are "
            "counts. Call sc.pp.normalize_total and sc.pp.log1p, or name the layer with layer=."
        )
    return values
