"""Posterior of the activities of cells: looked up where trained on, fitted where new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi.data import cell_fingerprints, match_cells
from leafletfa_scvi.model._widths import WidthsMixin
from leafletfa_scvi.ops import ObservedEntries

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.ops import MultinomialEntries

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
        Their observed entries; None where the model holds no data.
    known
        ``(n,)`` positions among the training cells, -1 for others.
    """

    names: np.ndarray
    concentration: torch.Tensor
    entries: ObservedEntries | None
    known: np.ndarray

    @property
    def mean(self) -> torch.Tensor:
        """Mean activities, ``(n, K)``."""
        return self.concentration / self.concentration.sum(1, keepdim=True)

    def observed(self) -> ObservedEntries:
        """The observed entries, or an error where there are none to be had."""
        if self.entries is None:
            raise ValueError(
                "This needs the counts of the cells: pass adata, or load the model with it, "
                "LeafletFAModel.load(path, adata=adata)."
            )
        return self.entries


class CellsMixin(WidthsMixin):
    """Activities of any cells, for the other mixins."""

    @torch.no_grad()
    def _cells(self, adata: AnnData | None, indices: Indices) -> CellPosterior:
        """Posterior of cells: looked up where they were trained on, fitted where not.

        None is the model's own AnnData as it is now, or the training cells where it has none.
        """
        self._require_trained()
        trained = self._trained_concentration()
        data = self.adata if adata is None else adata
        if data is None:
            known = positions(indices, self.cell_names_)
            return CellPosterior(self.cell_names_[known], trained[known], None, known)
        names, entries, known = self._recognise(data)
        if indices is not None:
            at = positions(indices, data.obs_names)
            names, known, entries = names[at], known[at], entries.select(torch.from_numpy(at))
        concentration = trained.new_empty(len(names), self.n_programs)
        seen = torch.from_numpy(known >= 0)
        concentration[seen] = trained[torch.from_numpy(known[known >= 0])]
        if not bool(seen.all()):
            new = (~seen).nonzero()[:, 0]
            concentration[new] = self._fit_new(entries.select(new))
        return CellPosterior(names, concentration, entries, known)

    def _cell_variance(self, cells: CellPosterior) -> torch.Tensor:
        """Variances ``(n, K)`` of their activities, looked up or from the curvature."""
        known = torch.from_numpy(cells.known)
        variance = self.module.guide.phi_variance.cpu()[known.clamp(min=0)]
        new = (known < 0).nonzero()[:, 0]
        if len(new):
            entries = cells.observed().select(new)
            variance[new] = self._activity_variance(entries, cells.mean[new])
        return variance

    def _recognise(self, adata: AnnData) -> tuple[np.ndarray, ObservedEntries, np.ndarray]:
        """Names of the cells of ``adata``, their entries, and positions among training cells.

        Cells are known by their content, whatever their name; -1 for others.
        """
        entries, prints = self._read_entries(adata)
        names = adata.obs_names.astype(str).to_numpy()
        known = match_cells(names, prints, self.cell_names_, self.cell_fingerprints_)
        return names, entries, known

    def _trained_concentration(self) -> torch.Tensor:
        """Dirichlet concentrations ``(C, K)`` of the training cells, on the CPU."""
        return self.module.guide.phi().concentration.cpu()

    @torch.no_grad()
    def _trained_activities(self) -> pd.DataFrame:
        """Mean activities of the training cells, whatever the model's AnnData holds now."""
        self._require_trained()
        phi = self._trained_concentration()
        mean = (phi / phi.sum(1, keepdim=True)).numpy()
        return pd.DataFrame(mean, self.cell_names_, self.program_names)

    def _training_rows(self, adata: AnnData) -> np.ndarray:
        """Row of ``adata`` that holds each training cell, ``(C,)``; -1 for a cell not there."""
        _, _, known = self._recognise(adata)
        rows = np.full(len(self.cell_names_), -1)
        there = np.flatnonzero(known >= 0)
        rows[known[there]] = there
        return rows

    def _fit_new(
        self, entries: ObservedEntries | MultinomialEntries, n_steps: int = 150
    ) -> torch.Tensor:
        """Dirichlet concentrations ``(n, K)`` of new cells, programs fixed at their posterior."""
        module = self.module
        kappa = module.site_mean("kappa")
        programs = module.guide.psi()
        streams = None
        if isinstance(entries, ObservedEntries):
            streams = cell_fingerprints(entries)
        return inference.fit_activities(
            self._likelihood_entries(entries),
            programs.mean.detach(),
            programs.sample,
            kappa,
            module.activity_prior().detach(),
            streams=streams,
            weight=float(module.model.activity_weight),
            n_steps=n_steps,
        )


def positions(indices: Indices, names: np.ndarray | pd.Index) -> np.ndarray:
    """Positions ``(m,)`` int64 chosen from cells by positions, a mask, a slice, or None (all).

    Raises
    ------
    IndexError
        A position is out of range, or a mask has another length or the names of the
        cells in another order.
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
    return np.arange(n)[chosen].reshape(-1)


def _check_labels(mask: pd.Series, names: np.ndarray | pd.Index) -> None:
    """A mask by the names of these cells has their order; other labels do not matter."""
    if isinstance(mask.index, pd.RangeIndex) or len(mask) != len(names):
        return
    labels = mask.index.astype(str)
    place = pd.Index(names).astype(str).get_indexer(labels)
    other = np.flatnonzero((place >= 0) & (place != np.arange(len(names))))
    if len(other):
        at = other[0]
        raise IndexError(
            f"The mask is of cell {labels[at]!r} at position {at}, where the data hold "
            f"{names[at]!r}: bring it to their order, mask[adata.obs_names], or pass "
            "mask.to_numpy()."
        )
