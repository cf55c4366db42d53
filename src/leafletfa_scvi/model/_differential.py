"""Differential splicing between groups of cells, and marker junctions of programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from leafletfa_scvi._arguments import (
    check_column,
    check_inside,
    check_once,
    check_whole,
)
from leafletfa_scvi.data import check_axes
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._cells import Indices, cell_posterior
from leafletfa_scvi.model._groups import comparisons
from leafletfa_scvi.ops import drawing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anndata import AnnData

_MAX_SEED = 2**63 - 1
_ANNOTATION = ("atse_id", "gene_id", "gene_name", "event_type")


class DifferentialSplicingMixin(SplicingModelBase):
    """``differential_splicing`` and ``program_markers`` of the model."""

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
        _check_numbers(delta, fdr_target, n_samples, seed)
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
            moments = self._psi_differences(draws, len(pairs), delta, n_samples)
        estimate = (weights @ cells.mean @ self.module.programs().cpu().T).numpy()
        pooled = _pooled_psi(cells.observed(), members)
        annotation = None if data is None else data.var
        frames = []
        for i, (name1, name2, _, _) in enumerate(pairs):
            frame = self._result(moments[i], delta, fdr_target)
            frame.insert(0, "comparison", f"{name1} vs {name2}")
            frame.insert(1, "group1", name1)
            frame.insert(2, "group2", name2)
            for side, row in (("1", 2 * i), ("2", 2 * i + 1)):
                frame[f"est_psi{side}"] = estimate[row]
                frame[f"emp_psi{side}"] = pooled[0][row]
                frame[f"n_obs_group{side}"] = pooled[1][row]
            frame["emp_effect"] = frame["emp_psi1"] - frame["emp_psi2"]
            frames.append(_annotate(frame, annotation))
        return pd.concat([f.sort_values("proba_ds", ascending=False) for f in frames])

    @torch.no_grad()
    def program_markers(
        self,
        programs: str | Sequence[str] | None = None,
        delta: float = 0.1,
        fdr_target: float = 0.05,
        n_samples: int = 500,
        seed: int = 0,
        only_significant: bool = False,
    ) -> pd.DataFrame:
        """Find marker junctions, whose PSI under a program differs from that under the others.

        The other programs are averaged, weighted by their prevalence.

        Parameters
        ----------
        programs
            Name or names of programs, such as ``"SP_1"``; None for all.
        delta, fdr_target, n_samples, seed
            As in :meth:`differential_splicing`.
        only_significant
            Return only junctions within the bound on false discoveries.

        Returns
        -------
        One row per program and junction, programs in order and the most probable junction first:
        ``program``, ``proba_ds``, ``proba_not_ds``, ``bayes_factor``, ``effect_size`` (PSI under
        the program minus that under the others), ``psi_program``, ``psi_others``,
        ``is_ds_fdr_<target>``, and the annotation in ``var``, if any.
        """
        self._require_trained()
        _check_numbers(delta, fdr_target, n_samples, seed)
        if self.n_programs == 1:
            raise ValueError(
                "Expected at least two programs to compare, found only one. Train a model with a "
                "larger n_programs."
            )
        names = self.program_names if programs is None else programs
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise ValueError("Expected at least one program, found an empty list.")
        unknown = [name for name in names if name not in self.program_names]
        if unknown:
            raise KeyError(
                f"Expected names of programs in {self.program_names}, found {unknown[0]!r}."
            )
        prevalence = self.module.guide.pi().mean.cpu()
        sides = []
        for name in names:
            k = self.program_names.index(name)
            one = torch.zeros_like(prevalence)
            one[k] = 1.0
            others = prevalence.clone()
            others[k] = 0.0
            sides += [one, others / others.sum()]
        weights = torch.stack(sides)
        with drawing(seed):
            draws = (weights for _ in range(n_samples))
            moments = self._psi_differences(draws, len(names), delta, n_samples)
        estimate = (weights @ self.module.programs().cpu().T).numpy()
        frames, annotation = [], None if self.adata is None else self.adata.var
        if annotation is not None:
            check_axes(self.adata)
        for i, name in enumerate(names):
            frame = self._result(moments[i], delta, fdr_target)
            frame.insert(0, "program", name)
            frame["psi_program"], frame["psi_others"] = estimate[2 * i], estimate[2 * i + 1]
            frame = _annotate(frame, annotation)
            frame = frame.sort_values("proba_ds", ascending=False)
            significant = frame[f"is_ds_fdr_{fdr_target}"]
            frames.append(frame[significant] if only_significant else frame)
        return pd.concat(frames)

    def _psi_differences(
        self, draws: Iterator[torch.Tensor], n_pairs: int, delta: float, n_samples: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Estimate the probability of a difference above delta, and its mean, from draws.

        Each of ``draws`` holds weights of programs, ``(2 n_pairs, K)``, of groups 1 and 2 of each
        pair. The result has two arrays ``(P,)`` for each pair.
        """
        programs, n_junctions = self.module.guide.psi(), len(self.junction_names)
        n_above = torch.zeros(n_pairs, n_junctions, dtype=torch.float32, device="cpu")
        total = torch.zeros_like(n_above)
        for weights in draws:
            sides = weights[0::2] - weights[1::2]
            difference = sides @ programs.sample()[:n_junctions].cpu().T
            n_above += difference.abs() > delta
            total += difference
        probability, mean = n_above / n_samples, total / n_samples
        return [(probability[i].numpy(), mean[i].numpy()) for i in range(n_pairs)]

    def _result(
        self, moments: tuple[np.ndarray, np.ndarray], delta: float, fdr_target: float
    ) -> pd.DataFrame:
        """Table of one comparison, one row for each junction."""
        probability, effect = (m.astype(np.float64) for m in moments)
        eps = 1e-8
        odds = np.log(probability + eps) - np.log(1.0 - probability + eps)
        selected = false_discovery_set(probability, fdr_target) & (np.abs(effect) > delta)
        columns: dict[str, Any] = {
            "proba_ds": probability,
            "proba_not_ds": 1.0 - probability,
            "bayes_factor": odds,
            "effect_size": effect,
            f"is_ds_fdr_{fdr_target}": selected,
        }
        return pd.DataFrame(columns, index=pd.Index(self.junction_names, name="junction"))


def false_discovery_set(probability: np.ndarray, target: float) -> np.ndarray:
    """Select as many of the most probable hypotheses as keep the expected FDR at the target.

    Parameters
    ----------
    probability
        ``(P,)`` posterior probabilities.
    target
        Bound on the expected false discovery proportion.

    Returns
    -------
    ``(P,)`` bool, in the order of ``probability``.
    """
    order = np.argsort(-probability, kind="stable")
    expected = np.cumsum(1.0 - probability[order]) / np.arange(1, len(order) + 1)
    selected = np.zeros(len(order), dtype=bool)
    selected[order] = expected <= target
    return selected


def _check_numbers(delta: Any, fdr_target: Any, n_samples: Any, seed: Any) -> None:
    """Check the numbers that both tests take."""
    check_inside("delta", delta, "[0, 1)")
    check_inside("fdr_target", fdr_target)
    check_whole("n_samples", n_samples, 1)
    check_whole("seed", seed, 0, _MAX_SEED)


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


def _annotate(frame: pd.DataFrame, var: pd.DataFrame | None) -> pd.DataFrame:
    """Add the annotation of the junctions to a table."""
    if var is None:
        return frame
    columns = [c for c in _ANNOTATION if c in var]
    for column in columns:
        check_once(var, column, "var")
    return frame.assign(**{c: var[c].reindex(frame.index).to_numpy() for c in columns})
