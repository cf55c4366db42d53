"""What the batches of a model shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from leafletfa_scvi._arguments import check_inside
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._tables import add_annotation
from leafletfa_scvi.stats import false_discovery_set


class BatchEffectsMixin(SplicingModelBase):
    """``get_batch_effects`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def get_batch_effects(self, *, fdr_target: float = 0.05, level: float = 0.9) -> pd.DataFrame:
        """Shifts of junctions in batches, with intervals and local false discovery rates.

        In batch b, logit psi_kj is logit psi_kj + d_bj in all programs k (the logarithm, if
        junctions share the reads of their ATSE). Shifts of a junction sum to zero over the batches
        that the programs were trained on.

        Parameters
        ----------
        fdr_target
            Expected share of false ones among the shifts that are called, in (0, 1).
        level
            Probability of the intervals, in (0, 1).

        Returns
        -------
        pandas.DataFrame
            One row per junction and batch, by junction. Columns: ``batch``; ``shift``, the
            posterior mean of d, ``sd``, ``lower`` and ``upper``; ``proba_zero``, the posterior
            probability that there is no shift (local false discovery rate);
            ``is_shifted_fdr_0.05`` (or of another target); and annotation of the AnnData.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            It has no batches, or an argument is out of range.

        Notes
        -----
        The prior of shifts is a mixture of normal distributions around 0, one of them a point
        mass, whose weights are fitted to all junctions and batches (adaptive shrinkage, Stephens
        2017, doi:10.1093/biostatistics/kxw041).

        Examples
        --------
        >>> lfa.LeafletFAModel.setup_anndata(adata, batch_key="plate")  # doctest: +SKIP
        >>> model = lfa.LeafletFAModel(adata, n_programs=8)  # doctest: +SKIP
        >>> model.train()  # doctest: +SKIP
        >>> effects = model.get_batch_effects()  # doctest: +SKIP
        >>> effects[effects["is_shifted_fdr_0.05"]]  # doctest: +SKIP
        """
        check_inside("fdr_target", fdr_target)
        check_inside("level", level)
        self._require_trained()
        names = self.batch_names
        if not names:
            raise ValueError(
                "Expected a model with batches, found none: name their column, "
                "LeafletFAModel.setup_anndata(adata, batch_key=...)."
            )
        generative, n_junctions = self.module.model, len(self.junction_names)

        def by_junction(values: torch.Tensor) -> np.ndarray:
            array: np.ndarray = values[:, :n_junctions].cpu().double().numpy().ravel()
            return array

        shift = by_junction(generative.batch_shift)
        sd = np.sqrt(by_junction(generative.batch_shift_variance))
        zero = by_junction(generative.batch_probability_zero)
        half = norm.ppf(0.5 + level / 2.0) * sd
        columns: dict[str, Any] = {
            "batch": pd.Categorical(np.repeat(names, n_junctions), names),
            "shift": shift,
            "sd": sd,
            "lower": shift - half,
            "upper": shift + half,
            "proba_zero": zero,
            f"is_shifted_fdr_{fdr_target}": false_discovery_set(1.0 - zero, fdr_target),
        }
        index = pd.Index(np.tile(self.junction_names, len(names)), name="junction")
        frame = pd.DataFrame(columns, index=index)
        order = np.argsort(np.tile(np.arange(n_junctions), len(names)), kind="stable")
        return add_annotation(frame.iloc[order], self._annotation())

    def _batch_position(self, name: Any) -> int:
        """Return the position of a batch by name.

        Raises
        ------
        ValueError
            The model has no such batch.
        """
        names = self.batch_names
        if str(name) not in names:
            known = ", ".join(map(repr, names)) or "no batches"
            raise ValueError(f"Expected transform_batch among {known}, found {name!r}.")
        return names.index(str(name))
