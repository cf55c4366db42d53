"""Posterior of the activities of cells: looked up where trained on, fitted where new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi.data import cell_fingerprints
from leafletfa_scvi.model._widths import WidthsMixin

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries

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
        """Posterior of cells: looked up where they were trained on, fitted where not."""
        self._require_trained()
        trained = self.module.guide.phi().concentration.cpu()
        if adata is None or (adata is self.adata and self._is_untouched(adata)):
            at = positions(indices, len(self.cell_names_))
            chosen = None if self._entries is None else self._entries
            if chosen is not None and indices is not None:
                chosen = chosen.select(torch.from_numpy(at))
            return CellPosterior(self.cell_names_[at], trained[torch.from_numpy(at)], chosen, at)
        self._check_junctions(adata)
        entries = self._read_entries(adata, check=True)
        at = positions(indices, adata.n_obs)
        names = adata.obs_names.astype(str).to_numpy()[at]
        if indices is not None:
            entries = entries.select(torch.from_numpy(at))
        known = self._recognise(names, entries)
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

    def _is_untouched(self, adata: AnnData) -> bool:
        """Whether the model's own data still hold its cells and junctions, in its order."""
        axes = (adata.obs_names, self.cell_names_), (adata.var_names, self.junction_names_)
        return all(np.array_equal(now.astype(str), then) for now, then in axes)

    def _recognise(self, names: np.ndarray, entries: ObservedEntries) -> np.ndarray:
        """Position of each cell among those trained on, -1 for a cell that is not one of them."""
        known = pd.Index(self.cell_names_).get_indexer(names)
        same = cell_fingerprints(entries) == self.cell_fingerprints_[known]
        return np.where(same, known, -1)

    def _fit_new(
        self, entries: ObservedEntries | MultinomialEntries, n_steps: int = 150
    ) -> torch.Tensor:
        """Dirichlet concentrations ``(n, K)`` of new cells, programs fixed at their posterior."""
        module = self.module
        kappa = module.site_mean("kappa")
        programs = module.guide.psi()
        return inference.fit_activities(
            self._likelihood_entries(entries),
            programs.mean.detach(),
            programs.sample,
            kappa,
            module.activity_prior().detach(),
            weight=float(module.model.activity_weight),
            n_steps=n_steps,
        )

    def _check_junctions(self, adata: AnnData) -> None:
        """The junctions of ``adata`` are those of the model, in its order."""
        ours, theirs = pd.Index(self.junction_names), adata.var_names.astype(str)
        if len(ours) == len(theirs) and bool((ours == theirs).all()):
            return
        missing = ours.difference(theirs, sort=False)
        if len(missing) == 0:
            raise ValueError(
                "The junctions of adata hold the model's in another order or with others: "
                "pass adata[:, model.junction_names]."
            )
        raise ValueError(
            f"adata lacks {len(missing)} of the model's {len(ours)} junctions, the first of them "
            f"{missing[0]!r}: LeafletFAModel.prepare_query_anndata(adata, model) reorders them "
            "and fills in missing ones as not observed."
        )


def positions(indices: Indices, n: int) -> np.ndarray:
    """Positions ``(m,)`` int64 chosen from ``n`` by positions, a mask, a slice, or None (all).

    Raises
    ------
    IndexError
        A position is out of range, or a mask has another length.
    """
    if indices is None:
        return np.arange(n)
    if isinstance(indices, slice):
        return np.ascontiguousarray(np.arange(n)[indices])
    chosen = np.asarray(indices)
    if chosen.size == 0:
        return np.empty(0, dtype=np.int64)
    if chosen.dtype == bool and chosen.shape != (n,):
        raise IndexError(f"Expected a mask of {n} cells, found shape {chosen.shape}.")
    if chosen.dtype != bool and chosen.dtype.kind not in "iu":
        raise IndexError(f"Expected positions or a mask of cells, found {chosen.dtype} values.")
    return np.arange(n)[chosen].reshape(-1)
