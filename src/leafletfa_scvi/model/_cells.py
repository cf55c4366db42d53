"""Posterior of the activities of cells: looked up for training cells, fitted for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi.data import cell_fingerprints
from leafletfa_scvi.model._variances import activity_variance

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.ops import ObservedEntries

Indices = Sequence[int] | Sequence[bool] | np.ndarray | slice | None


@dataclass(frozen=True)
class CellPosterior:
    """Dirichlet posterior of the activities of some cells.

    Attributes
    ----------
    names
        ``(n,)`` cell names.
    concentration
        ``(n, K)`` Dirichlet concentrations, on the CPU.
    entries
        Their observed entries; None if the model holds no data.
    position
        ``(n,)`` positions among the training cells, -1 for new cells.
    """

    names: np.ndarray
    concentration: torch.Tensor
    entries: ObservedEntries | None
    position: np.ndarray

    @property
    def mean(self) -> torch.Tensor:
        """Mean activities, ``(n, K)``."""
        return self.concentration / self.concentration.sum(1, keepdim=True)

    def observed(self) -> ObservedEntries:
        """Return the observed entries, or raise an error without data."""
        if self.entries is None:
            raise ValueError(
                "This needs the counts of the cells: pass adata, or load the model with its data, "
                "LeafletFAModel.load(path, adata=adata)."
            )
        return self.entries


@torch.no_grad()
def cell_posterior(
    model: SplicingModelBase, adata: AnnData | MuData | None, indices: Indices
) -> CellPosterior:
    """Posterior of the activities of cells, looked up for training cells and fitted for others.

    Parameters
    ----------
    model
        Trained model.
    adata
        Cells; None for the model's own AnnData as it is now, or, if it has none, the training
        cells.
    indices
        Cells of ``adata`` to use; None for all.
    """
    model._require_trained()
    trained = model._trained_concentration()
    data = model._data(adata)
    if data is None:
        model._require_cells()
        rows = positions(indices, model.cell_names_)
        return CellPosterior(model.cell_names_[rows], trained[rows], None, rows)
    names, entries, position = model._match_training_cells(data)
    if indices is not None:
        rows = positions(indices, data.obs_names)
        names, position = names[rows], position[rows]
        entries = entries.select(torch.from_numpy(rows))
    concentration = trained.new_empty(len(names), model.n_programs)
    is_known = torch.from_numpy(position >= 0)
    concentration[is_known] = trained[torch.from_numpy(position[position >= 0])]
    if not bool(is_known.all()):
        new = (~is_known).nonzero()[:, 0]
        concentration[new] = fit_new_cells(model, entries.select(new))
    return CellPosterior(names, concentration, entries, position)


def cell_variance(model: SplicingModelBase, cells: CellPosterior) -> torch.Tensor:
    """Variances ``(n, K)`` of the activities of cells, looked up or from the curvature."""
    position = torch.from_numpy(cells.position)
    known = position >= 0
    variance = torch.empty(cells.mean.shape, dtype=torch.float32, device="cpu")
    variance[known] = model.module.guide.phi_variance.cpu()[position[known]]
    new = (~known).nonzero()[:, 0]
    if len(new):
        entries = cells.observed().select(new)
        variance[new] = activity_variance(model, entries, cells.mean[new], True)
    return variance


def larger_variance(concentration: torch.Tensor, laplace: torch.Tensor) -> np.ndarray:
    """Return the larger of two variances of activities, ``(n, K)`` float64, as in intervals.

    Parameters
    ----------
    concentration
        ``(n, K)`` concentrations of their Dirichlet posterior.
    laplace
        ``(n, K)`` variances from the curvature.
    """
    concentration = concentration.double()
    total = concentration.sum(1, keepdim=True)
    mean = concentration / total
    own = mean * (1.0 - mean) / (total + 1.0)
    variance: np.ndarray = torch.maximum(own, laplace.double()).numpy()
    return variance


@torch.no_grad()
def fit_new_cells(
    model: SplicingModelBase, entries: ObservedEntries, **options: Any
) -> torch.Tensor:
    """Fit Dirichlet concentrations ``(n, K)`` of new cells, programs fixed at their posterior.

    Parameters
    ----------
    model
        Trained model or query.
    entries
        Observed entries of n cells.
    **options
        Passed to :func:`leafletfa_scvi.inference.fit_activities`.
    """
    module = model.module
    alpha = module.activity_prior()
    factors = module.predictive_factors(alpha[None] / alpha.sum()).by_column()
    return inference.fit_activities(
        model._likelihood_entries(entries),
        factors.psi,
        factors.kappa,
        alpha.detach(),
        streams=cell_fingerprints(entries),
        weight=float(module.model.activity_weight),
        **options,
    )


def positions(indices: Indices, names: np.ndarray | pd.Index) -> np.ndarray:
    """Resolve positions, a mask, a slice, or None (all) to positions of cells, ``(m,)`` int64.

    Raises
    ------
    IndexError
        A position is out of range, or a mask has a different length or the names of the cells
        in a different order.
    """
    n = len(names)
    if indices is None:
        return np.arange(n)
    if isinstance(indices, slice):
        return np.ascontiguousarray(np.arange(n)[indices])
    chosen = np.asarray(indices)
    if chosen.dtype == object:  # so are nullable values without missing ones in pandas 2.1
        kind = pd.api.types.infer_dtype(chosen, skipna=False)
        chosen = chosen.astype({"boolean": bool, "integer": np.int64}.get(kind, object))
    if isinstance(indices, pd.Series) and pd.api.types.is_bool_dtype(indices.dtype):
        _check_labels(indices, names)
    if chosen.size == 0:
        return np.empty(0, dtype=np.int64)
    if chosen.dtype == bool and chosen.shape != (n,):
        raise IndexError(f"Expected a mask of {n} cells, found shape {chosen.shape}.")
    if chosen.dtype != bool and chosen.dtype.kind not in "iu":
        remedy = " Positions of names are adata.obs_names.get_indexer(names)."
        raise IndexError(
            f"Expected positions or a mask of cells, found {chosen.dtype} values."
            + (remedy if all(isinstance(x, str) for x in chosen.reshape(-1)[:1]) else "")
        )
    if chosen.ndim > 1:
        raise IndexError(f"Expected positions of cells in one list, found shape {chosen.shape}.")
    positions: np.ndarray = np.arange(n)[chosen].reshape(-1)
    return positions


def _check_labels(mask: pd.Series, names: np.ndarray | pd.Index) -> None:
    """Check that a mask with names of these cells has their order; ignore other labels."""
    if isinstance(mask.index, pd.RangeIndex) or len(mask) != len(names):
        return
    labels = mask.index.astype(str)
    position = pd.Index(names).astype(str).get_indexer(labels)
    moved = np.flatnonzero((position >= 0) & (position != np.arange(len(names))))
    if len(moved):
        i = moved[0]
        raise IndexError(
            f"Expected the mask to have the order of the cells, found cell {labels[i]!r} at "
            f"position {i}, where the data hold {names[i]!r}. Reorder it, "
            "mask[adata.obs_names], or pass mask.to_numpy()."
        )
