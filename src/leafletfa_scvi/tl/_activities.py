"""Activities of cells, from a model or from the slots of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ACTIVITY_SLOT, RESULTS_SLOT, program_names
from leafletfa_scvi._narrow_stubs import is_sparse

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model import LeafletFAModel


_TOLERANCE = 1e-2


class CellActivities(NamedTuple):
    """Activities of C cells.

    Attributes
    ----------
    programs
        Names of the K programs.
    mean
        ``(C, K)`` posterior means.
    variance
        ``(C, K)`` posterior variances; None if they are not known.
    adata
        The cells.
    """

    programs: list[str]
    mean: np.ndarray
    variance: np.ndarray | None
    adata: AnnData

    def select(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Means and variances of some cells."""
        return self.mean[cells], None if self.variance is None else self.variance[cells]


def cell_activities(
    data: AnnData | LeafletFAModel | Any, argument: str = "data"
) -> CellActivities:
    """Read activities from a trained model and its AnnData, or from ``obsm["X_PHI"]``.

    Parameters
    ----------
    data
        Model or AnnData.
    argument
        Name of the argument, for messages.

    Raises
    ------
    TypeError
        ``data`` is neither a model nor an AnnData.
    ValueError
        The model has no data, or the AnnData has no activities that sum to 1 in each cell.
    """
    if hasattr(data, "get_cell_activities"):
        return _of_model(data)
    adata = check_anndata(data, argument)
    if ACTIVITY_SLOT not in adata.obsm:
        raise ValueError(
            f"Expected activities in adata.obsm[{ACTIVITY_SLOT!r}], found none. Write them with "
            "model.export_posterior(adata), or pass the model."
        )
    slot: Any = adata.obsm[ACTIVITY_SLOT]
    results = adata.uns.get(RESULTS_SLOT, {})
    names = [str(name) for name in results.get("programs", ())] if hasattr(results, "get") else []
    if slot.shape[1:] != (len(names),):
        names = program_names(slot.shape[1] if slot.ndim == 2 else 0)
    if isinstance(slot, pd.DataFrame) and set(names) == set(slot.columns):
        slot = slot[names]
    mean = np.asarray(slot.toarray() if is_sparse(slot) else slot, dtype=np.float64)
    if mean.ndim != 2 or not np.isfinite(mean).all() or (mean < 0).any():
        raise ValueError(
            f"Expected adata.obsm[{ACTIVITY_SLOT!r}] to hold activities of cells, from 0 to 1, "
            "found others. Write them with model.export_posterior(adata)."
        )
    total = mean.sum(1)
    wrong = np.flatnonzero(np.abs(total - 1.0) > _TOLERANCE)
    if len(wrong):
        raise ValueError(
            f"Expected adata.obsm[{ACTIVITY_SLOT!r}] to hold activities, which sum to 1 in each "
            f"cell, found a sum of {total[wrong[0]]:g} for cell {adata.obs_names[wrong[0]]!r}, "
            f"in total {len(wrong):,} such cells. Write them with model.export_posterior(adata), "
            "or leave these cells out."
        )
    return CellActivities(names, mean, None, adata)


def _of_model(model: Any) -> CellActivities:
    """Posterior of the activities of the cells of a model's AnnData."""
    from leafletfa_scvi.model._cells import cell_posterior, cell_variance, larger_variance

    if model.module.model.n_obs == 0:
        raise ValueError(
            "Expected a model with cells, found one that was made from programs and has none. "
            f"Pass the AnnData with its cells, activities in obsm[{ACTIVITY_SLOT!r}]."
        )
    if model.adata is None:
        raise ValueError(
            "Expected a model with its AnnData, found one that was loaded without. Load it with "
            "LeafletFAModel.load(path, adata=adata)."
        )
    cells = cell_posterior(model, None, None)
    variance = larger_variance(cells.concentration, cell_variance(model, cells))
    mean = cells.mean.double().numpy()
    return CellActivities(model.program_names, mean, variance, model._data(None))
