"""Activities of cells, from a model or from the slots of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from leafletfa_scvi._arguments import check_anndata
from leafletfa_scvi._constants import ACTIVITY_SLOT, RESULTS_SLOT, program_names

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.model import LeafletFAModel


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


def cell_activities(data: AnnData | LeafletFAModel | Any) -> CellActivities:
    """Read activities from a trained model and its AnnData, or from ``obsm["X_PHI"]``.

    Raises
    ------
    TypeError
        ``data`` is neither a model nor an AnnData.
    ValueError
        The model was loaded without data, or the AnnData has no finite activities.
    """
    if hasattr(data, "get_cell_activities"):
        return _of_model(data)
    adata = check_anndata(data, "data")
    if ACTIVITY_SLOT not in adata.obsm:
        raise ValueError(
            f"Expected activities in adata.obsm[{ACTIVITY_SLOT!r}], found none. Write them with "
            "model.export_posterior(adata), or pass the model."
        )
    slot = adata.obsm[ACTIVITY_SLOT]
    mean = np.asarray(slot, dtype=np.float64)
    if mean.ndim != 2 or not np.isfinite(mean).all() or (mean < 0).any():
        raise ValueError(
            f"Expected adata.obsm[{ACTIVITY_SLOT!r}] to hold activities of cells, from 0 to 1, "
            "found others. Write them with model.export_posterior(adata)."
        )
    results = adata.uns.get(RESULTS_SLOT, {})
    names = [str(name) for name in results.get("programs", ())] if hasattr(results, "get") else []
    if len(names) != mean.shape[1]:
        names = program_names(mean.shape[1])
    return CellActivities(names, mean, None, adata)


def _of_model(model: Any) -> CellActivities:
    """Posterior of the activities of the cells of a model's AnnData."""
    from leafletfa_scvi.model._cells import cell_posterior, cell_variance

    if model.adata is None:
        raise ValueError(
            "Expected a model with its AnnData, found one that was loaded without. Load it with "
            "LeafletFAModel.load(path, adata=adata)."
        )
    cells = cell_posterior(model, None, None)
    mean = cells.mean.double().numpy()
    total = cells.concentration.double().sum(1, keepdim=True).numpy()
    # The larger of two variances, as in credible intervals.
    variance = np.maximum(
        mean * (1.0 - mean) / (total + 1.0), cell_variance(model, cells).double().numpy()
    )
    return CellActivities(model.program_names, mean, variance, model.adata)
