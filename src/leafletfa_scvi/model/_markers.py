"""Marker junctions of programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from leafletfa_scvi.data import check_axes
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._tables import (
    add_annotation,
    check_numbers,
    comparison_table,
    psi_differences,
)
from leafletfa_scvi.ops import drawing

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        check_numbers(delta, fdr_target, n_samples, seed)
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
            moments = psi_differences(self, draws, len(names), delta, n_samples)
        estimate = (weights @ self.module.programs().cpu().T).numpy()
        frames, annotation = [], None if self.adata is None else self.adata.var
        if annotation is not None:
            check_axes(self.adata)
        for i, name in enumerate(names):
            frame = comparison_table(self.junction_names, moments[i], delta, fdr_target)
            frame.insert(0, "program", name)
            frame["psi_program"], frame["psi_others"] = estimate[2 * i], estimate[2 * i + 1]
            frame = add_annotation(frame, annotation)
            frame = frame.sort_values("proba_ds", ascending=False)
            significant = frame[f"is_ds_fdr_{fdr_target}"]
            frames.append(frame[significant] if only_significant else frame)
        return pd.concat(frames)
