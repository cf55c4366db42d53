"""Differential splicing between groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from leafletfa_scvi._arguments import check_column
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._cells import Indices, cell_posterior
from leafletfa_scvi.model._groups import comparisons
from leafletfa_scvi.model._tables import (
    add_annotation,
    check_numbers,
    comparison_table,
    psi_differences,
)
from leafletfa_scvi.ops import drawing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData


class DifferentialSplicingMixin(SplicingModelBase):
    """``differential_splicing`` of the model."""

    @torch.no_grad()
    def differential_splicing(
        self,
        adata: AnnData | None = None,
        groupby: str | None = None,
        group1: str | float | Iterable[str | float] | None = None,
        group2: str | float | None = None,
        idx1: Indices = None,
        idx2: Indices = None,
        delta: float = 0.1,
        fdr_target: float = 0.05,
        n_samples: int = 500,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Test junctions for differential splicing between two groups of cells.

        In each posterior draw the PSI of a group is psi times the mean activity of its cells; a
        junction is differentially spliced if the two differ by more than ``delta``. Junctions are
        selected by the probability of that, with a bound on the expected proportion of false
        discoveries. Programs and the activities of the cells are drawn, conditional on these
        cells: animals or donors are not modeled as replicates.

        Parameters
        ----------
        adata
            Cells, as in :meth:`get_cell_activities`.
        groupby
            Column of ``obs`` with the groups.
        group1
            Group or groups to compare, by name or number. If None, each group in turn.
        group2
            Group to compare with. If None, all other cells, including those without a label.
        idx1, idx2
            Positions or masks of cells, instead of ``groupby``. If ``idx2`` is None, all cells
            that are not in ``idx1``.
        delta
            Difference in PSI that must be exceeded, in [0, 1).
        fdr_target
            Bound on the expected false discovery proportion.
        n_samples
            Number of posterior draws.
        seed
            Seed of the draws; torch's random state does not change.

        Returns
        -------
        One row per comparison and junction, the most probable first: ``comparison``, ``group1``,
        ``group2``, ``proba_ds``, ``proba_not_ds``, ``bayes_factor`` (natural log of the odds),
        ``effect_size`` (mean PSI of group 1 minus group 2), ``est_psi1``, ``est_psi2``,
        ``emp_psi1``, ``emp_psi2`` (pooled y / n, NaN without reads), ``emp_effect``,
        ``n_obs_group1``, ``n_obs_group2`` (cells with n > 0), ``is_ds_fdr_<target>``, and the
        annotation of the junction in ``var``, if any.

        Raises
        ------
        KeyError
            ``groupby`` is not a column, or a group is not one of its values.
        TypeError
            ``groupby`` is a list of columns.
        ValueError
            ``group1`` is a mask of cells, ``group2`` is several groups, a group has no cells, the
            groups share cells, or a number is out of range.
        """
        check_numbers(delta, fdr_target, n_samples, seed)
        if groupby is not None:
            check_column("groupby", groupby)
        self._require_trained()
        data = self.adata if adata is None else adata
        cells = cell_posterior(self, data, None)
        pairs = list(comparisons(data, cells.names, groupby, group1, group2, idx1, idx2))
        members = np.zeros((2 * len(pairs), len(cells.names)), dtype=np.float32)
        for i, (_, _, first, second) in enumerate(pairs):
            members[2 * i, first], members[2 * i + 1, second] = 1.0, 1.0
        weights = torch.from_numpy(members / members.sum(1, keepdims=True))
        phi = torch.distributions.Dirichlet(cells.concentration)
        with drawing(seed):
            draws = (weights @ phi.sample() for _ in range(n_samples))
            moments = psi_differences(self, draws, len(pairs), delta, n_samples)
        estimate = (weights @ cells.mean @ self.module.programs().cpu().T).numpy()
        pooled = _pooled_psi(cells.observed(), members)
        annotation = None if data is None else data.var
        frames = []
        for i, (name1, name2, _, _) in enumerate(pairs):
            frame = comparison_table(self.junction_names, moments[i], delta, fdr_target)
            frame.insert(0, "comparison", f"{name1} vs {name2}")
            frame.insert(1, "group1", name1)
            frame.insert(2, "group2", name2)
            for side, row in (("1", 2 * i), ("2", 2 * i + 1)):
                frame[f"est_psi{side}"] = estimate[row]
                frame[f"emp_psi{side}"] = pooled[0][row]
                frame[f"n_obs_group{side}"] = pooled[1][row]
            frame["emp_effect"] = frame["emp_psi1"] - frame["emp_psi2"]
            frames.append(add_annotation(frame, annotation))
        return pd.concat([f.sort_values("proba_ds", ascending=False) for f in frames])


def _pooled_psi(entries: Any, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pool y / n and count the cells with n > 0, ``(groups, P)`` each."""
    shape = (entries.n_cells, entries.n_junctions)
    layout = (entries.column.numpy(), entries.indptr.numpy())
    sums = [
        sp.csr_matrix((v.numpy().astype(np.float64), *layout), shape=shape).T @ members.T
        for v in (entries.count, entries.total, (entries.total > 0).float())
    ]
    with np.errstate(invalid="ignore"):
        pooled = (sums[0] / np.where(sums[1] > 0, sums[1], np.nan)).T
    return pooled, sums[2].T.astype(np.int64)
