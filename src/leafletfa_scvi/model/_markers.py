"""Markers of programs: junctions and ATSEs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi._arguments import check_one_of
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._differential_table import best_first
from leafletfa_scvi.model._program_draws import ProgramDraws
from leafletfa_scvi.model._tables import add_annotation, check_numbers, comparison_table
from leafletfa_scvi.ops import Groups, drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

_Level = Literal["junction", "atse"]


class _Sides(NamedTuple):
    """What is compared: n programs, each with the others.

    Attributes
    ----------
    names
        Names of the n programs.
    weights
        ``(2 n, K)`` float32 weights of programs; rows 2 i and 2 i + 1 are program i and the
        others.
    psi
        ``(2 n, P)`` posterior mean of PSI of each side.
    """

    names: list[str]
    weights: torch.Tensor
    psi: np.ndarray


class MarkersMixin(SplicingModelBase):
    """``program_markers`` of the model."""

    @torch.no_grad()
    def program_markers(
        self,
        programs: str | Sequence[str] | None = None,
        delta: float = 0.1,
        fdr_target: float = 0.05,
        n_samples: int = 500,
        seed: int = 0,
        only_significant: bool = False,
        level: _Level = "junction",
    ) -> pd.DataFrame:
        """Find marker junctions, whose PSI under a program differs from that under the others.

        The other programs are averaged, weighted by their prevalence. Programs are drawn from the
        posterior whose intervals :meth:`get_credible_intervals` returns, with the junctions of an
        ATSE as shares of a whole (Dirichlet with the means of the posterior and the sum of its
        variances); ``proba_ds`` is the share of draws in which the difference in PSI exceeds
        ``delta``.

        Parameters
        ----------
        programs
            Name or names of programs, such as ``"SP_1"``; None for all.
        delta
            Difference in PSI that must be exceeded, in [0, 1).
        fdr_target
            Bound on the expected proportion of false discoveries among the markers of a program.
            It then also holds for the markers of several programs together.
        n_samples
            Number of posterior draws.
        seed
            Seed of the draws; torch's random state does not change.
        only_significant
            Return only markers within the bound on false discoveries.
        level
            ``"junction"``: one row per program and junction. ``"atse"``: one row per program and
            ATSE, which differs in a draw if any of its junctions does.

        Returns
        -------
        Programs in order; within a program the most probable first, then by size of effect. The
        index is ``junction`` or ``atse_id``. Columns: ``program``, ``proba_ds``,
        ``proba_not_ds``, ``bayes_factor`` (natural log of the odds), ``effect_size`` (PSI under
        the program minus that under the others; positive means more under the program),
        ``is_ds_fdr_<target>`` (within the bound, and an effect larger than ``delta``),
        ``psi_program``, ``psi_others``, and the annotation in ``var``, if any: ``atse_id``,
        ``gene_id``, ``gene_name``, ``event_type``.

        For ATSEs, effect and annotation are those of the junction with the largest effect,
        ``junction``; ``junctions`` are the names of all of its junctions, joined by commas, and
        ``n_junctions`` is their number.

        Raises
        ------
        KeyError
            A name of ``programs`` is not that of a program.
        RuntimeError
            The model is not trained.
        ValueError
            The model has one program only, ``programs`` is empty, a number is out of range,
            ``level`` is neither of the two, or the model has no ATSE labels for
            ``level="atse"``.
        """
        self._require_trained()
        check_numbers(delta, fdr_target, n_samples, seed)
        check_one_of("level", level, _Level)
        sides = self._sides(programs)
        by_atse = self._atses() if level == "atse" else None
        posterior, n_above = ProgramDraws(self), None
        differences = (sides.weights[0::2] - sides.weights[1::2]).T
        with drawing(seed):
            for _ in range(n_samples):
                above = ((posterior.draw() @ differences).abs() > delta).float()
                if by_atse is not None:
                    above = (by_atse.groups.sum(above) > 0).float()
                n_above = above if n_above is None else n_above + above
        assert n_above is not None
        probability = (n_above / n_samples).numpy()

        annotation = self._annotation()
        frames = []
        for i, name in enumerate(sides.names):
            psi, others = sides.psi[2 * i], sides.psi[2 * i + 1]
            if by_atse is None:
                moments = probability[:, i], psi - others
                frame = comparison_table(self.junction_names, moments, delta, fdr_target)
                frame["psi_program"], frame["psi_others"] = psi, others
                frame = add_annotation(frame, annotation)
            else:
                largest = by_atse.largest(psi - others)
                moments = probability[:, i], (psi - others)[largest]
                names = self.junction_names[largest]
                frame = comparison_table(names, moments, delta, fdr_target)
                frame["psi_program"], frame["psi_others"] = psi[largest], others[largest]
                frame = by_atse.table(add_annotation(frame, annotation))
            frame.insert(0, "program", name)
            frame = frame.iloc[best_first(frame)]
            significant = frame[f"is_ds_fdr_{fdr_target}"]
            frames.append(frame[significant] if only_significant else frame)
        return pd.concat(frames)

    def _sides(self, programs: str | Sequence[str] | None) -> _Sides:
        """Check the names of programs, and weigh the others by their prevalence."""
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
        psi = (weights.double() @ self.module.programs().cpu().double().T).numpy()
        return _Sides(names, weights, psi)

    def _atses(self) -> _AtseTable:
        """Group the junctions by the ATSE labels of the model."""
        if self.atse_codes_ is None:
            raise ValueError(
                "Expected ATSE labels for level='atse', found a model without them. Name their "
                "column, setup_anndata(adata, atse_key=...), and train again."
            )
        return _AtseTable(self.atse_codes_, self._atse_names(), self.junction_names)


class _AtseTable:
    """Junctions by ATSE.

    Parameters
    ----------
    codes
        ``(P,)`` 0-based ATSE of each junction.
    labels
        ``(P,)`` id of the ATSE of each junction.
    junctions
        ``(P,)`` names of the junctions.
    """

    def __init__(self, codes: np.ndarray, labels: np.ndarray, junctions: np.ndarray) -> None:
        _, first, self._code = np.unique(codes, return_index=True, return_inverse=True)
        self.groups = Groups(torch.from_numpy(self._code))
        self._start = self.groups.offsets[:-1]
        self._names = pd.Index(labels[first], name="atse_id")
        in_order = junctions[self.groups.order]
        parts = np.split(in_order, self._start[1:])
        self._columns: dict[str, Any] = {
            "junctions": [",".join(part) for part in parts],
            "n_junctions": np.diff(self.groups.offsets),
        }

    def largest(self, effect: np.ndarray) -> np.ndarray:
        """Find the junction of each ATSE with the largest effect, ``(A,)``; ties: the first."""
        rows: np.ndarray = np.lexsort((-np.abs(effect), self._code))[self._start]
        return rows

    def table(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Turn a table of the junctions with the largest effects into one of ATSEs."""
        frame = frame.drop(columns="atse_id", errors="ignore").reset_index()
        frame = frame.set_index(self._names).assign(**self._columns)
        first = ["proba_ds", "proba_not_ds", "bayes_factor", "junction", *self._columns]
        return frame.reindex(columns=[*first, *frame.columns.drop(first)])
