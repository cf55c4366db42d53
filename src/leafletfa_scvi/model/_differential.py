"""Differential splicing between groups of cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from scvi.utils import track

from leafletfa_scvi import inference
from leafletfa_scvi._arguments import check_column, check_inside, check_one_of
from leafletfa_scvi._constants import CELLS_AS_REPLICATES
from leafletfa_scvi._deprecated import removed_arguments
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._cells import CellPosterior, Indices, cell_posterior
from leafletfa_scvi.model._differential_table import atse_rows, best_first, junction_rows, select
from leafletfa_scvi.model._expected import in_own_batch
from leafletfa_scvi.model._group_differences import Programs, group_difference
from leafletfa_scvi.model._groups import check_samples, compared_cells, sample_codes
from leafletfa_scvi.model._sample_sums import sample_sums
from leafletfa_scvi.model._tables import add_annotation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

log = logging.getLogger(__name__)

_SCOPE = {
    True: "samples: the result holds for the populations that the samples come from",
    False: "cells: the result holds for the cells of these samples only",
}
_Level = Literal["junction", "atse"]
_Mode = Literal["change", "vanilla"]


class DifferentialSplicingMixin(SplicingModelBase):
    """``differential_splicing`` of the model."""

    @removed_arguments("probabilities are computed without draws", "n_samples", "seed")
    @torch.no_grad()
    def differential_splicing(
        self,
        adata: AnnData | MuData | None = None,
        groupby: str | None = None,
        group1: str | float | Iterable[str | float] | None = None,
        group2: str | float | None = None,
        idx1: Indices | str = None,
        idx2: Indices | str = None,
        *,
        sample_key: str | None = None,
        subset_idx: Indices | str = None,
        all_pairs: bool = False,
        mode: _Mode = "change",
        delta: float = 0.1,
        fdr_target: float = 0.05,
        level: _Level = "junction",
        silent: bool = False,
    ) -> pd.DataFrame:
        """Test junctions for differential splicing between groups of cells.

        With ``sample_key`` (donor, mouse, plate) samples are the replicates, and the result holds
        for the populations that they come from: PSI is estimated in each sample, and the variance
        between samples is estimated for each junction and moderated over junctions. Cell types of
        the same samples are compared within samples. Without it cells are the replicates, and the
        result holds for the cells of these samples only. See the user guide for the estimator.

        Parameters
        ----------
        adata
            Cells, as in :meth:`get_cell_activities`.
        groupby
            Column of ``obs`` with the groups. Cells without a value are left out.
        group1
            Group or groups to compare, by name or number. If None, each group in turn.
        group2
            Group to compare with. If None or ``"rest"``, the cells of all other groups.
        idx1, idx2
            Positions or masks of cells, or queries of ``obs`` (:meth:`pandas.DataFrame.query`),
            instead of ``groupby``. If ``idx2`` is None, all cells that are not in ``idx1``.
        sample_key
            Column of ``obs`` with the samples. Cells without a value are left out. Samples with
            cells of both groups are paired. If None, cells are the replicates.
        subset_idx
            Positions or a mask of cells, or a query; others, and groups without any of them, are
            not used.
        all_pairs
            Whether to compare all pairs of groups (of those in ``group1``, if given) instead of
            each with the others.
        mode
            ``"change"``: probability of a difference in PSI larger than ``delta``. ``"vanilla"``:
            probability that PSI is larger in group 1 (``proba_m1``) or in group 2 (``proba_m2``),
            without selection, as in scvi-tools.
        delta
            Difference in PSI that must be exceeded, in [0, 1).
        fdr_target
            Bound on the expected false discovery proportion over all comparisons of the call.
        level
            ``"junction"``, or ``"atse"`` for one row per ATSE, with the values of the junction
            that differs most.
        silent
            Whether to hide the progress bar of several comparisons.

        Returns
        -------
        One row per comparison and junction (ATSE), the most probable first and the largest effect
        first among equals:

        - ``comparison``, ``group1``, ``group2``
        - ``proba_ds``, ``proba_not_ds``: probability of a difference above ``delta``, and of none
        - ``bayes_factor``: natural log of the odds of ``proba_ds``
        - ``effect_size``: PSI of group 1 minus group 2; **positive: more in group 1**
        - ``effect_lower``, ``effect_upper``: 90 % interval of the difference
        - ``is_ds_fdr_<target>``: selected with the bound on false discoveries, and the size of
          ``effect_size`` is above ``delta``
        - ``df``: degrees of freedom of the variance between samples, of the prior included;
          10,000 where cells are the replicates
        - ``est_psi1``, ``est_psi2``: PSI of the groups
        - ``emp_psi1``, ``emp_psi2``, ``emp_effect``: pooled y / n and their difference, NaN
          without reads
        - ``n_obs_group1``, ``n_obs_group2``: cells with n > 0
        - ``n_samples_group1``, ``n_samples_group2``, ``n_paired``: with ``sample_key``, samples
          with reads, and those compared within themselves
        - ``reads_disagree``: the pooled reads differ from ``effect_size`` by more than ``delta``,
          and are outside its interval (a few samples or cells have most of the reads)
        - ``is_tested``: False where a group has no reads; probabilities and effects are then NaN
        - ``replicates``: ``"samples"`` or ``"cells"``
        - the annotation of the junction in ``var``, if any

        With ``level="atse"`` the index is the ATSE, and ``junction`` is the one that the values
        are of, ``junctions`` all, joined by commas, and ``n_junctions`` their number. The
        probability is that of this junction, at most that of any change of the ATSE.

        ``attrs`` repeats what the sign of effects means and what the result holds for.

        Raises
        ------
        KeyError
            ``groupby`` or ``sample_key`` is not a column, or a group is not one of its values.
        TypeError
            ``groupby`` is a list of columns.
        ValueError
            ``group1`` is a mask of cells, ``group2`` is several groups, a group has no cells or
            fewer than two samples, the groups share cells, the model knows no ATSEs
            (``level="atse"``), or a number is out of range.
        """
        delta = check_inside("delta", delta, "[0, 1)")
        check_inside("fdr_target", fdr_target)
        check_one_of("level", level, _Level)
        check_one_of("mode", mode, _Mode)
        if groupby is not None:
            check_column("groupby", groupby)
        self._require_trained()
        if level == "atse" and self.atse_codes_ is None:
            raise ValueError(
                "Expected ATSEs for level='atse', but the model was set up without: name their "
                "column with LeafletFAModel.setup_anndata(adata, atse_key=...)."
            )
        data = self._data(adata)
        cells = cell_posterior(self, data, None)
        compared = compared_cells(
            data,
            cells.names,
            groupby,
            group1,
            group2,
            idx1,
            idx2,
            subset_idx=subset_idx,
            all_pairs=all_pairs,
        )
        samples = np.zeros(len(cells.names), dtype=np.int64)
        if sample_key is not None:
            samples = sample_codes(data, sample_key, compared.codes >= 0)
            check_samples(compared, samples, sample_key)
        else:
            log.info(CELLS_AS_REPLICATES)
        programs = self._programs(cells)
        psi = torch.from_numpy(programs.mean.astype(np.float32))
        by_batch = self.module.programs_by_batch()
        by_batch = None if by_batch is None else by_batch.cpu()
        sums = sample_sums(self, cells, psi, programs.kappa, samples, compared.codes, by_batch)
        frames = []
        hidden = silent or len(compared.comparisons) == 1
        for comparison in track(
            compared.comparisons, description="Comparing groups", disable=hidden
        ):
            found = group_difference(sums, comparison, programs, replicates=sample_key is not None)
            rows = junction_rows(
                self.junction_names,
                comparison,
                found,
                sums,
                delta=delta,
                mode=mode,
                replicates="cells" if sample_key is None else "samples",
            )
            rows = add_annotation(rows, None if data is None else data.var)
            frames.append(rows if level == "junction" else atse_rows(rows, self._atse_names()))
        if mode == "change":
            frames = select(frames, delta, fdr_target)
        frames = [frame.iloc[best_first(frame)] for frame in frames]
        table = pd.concat(frames)
        table.attrs = {
            "effect_size": "PSI of group1 minus PSI of group2: positive means more in group1",
            "replicates": _SCOPE[sample_key is not None],
        }
        return table

    def _programs(self, cells: CellPosterior) -> Programs:
        """Programs, their variances and finite concentrations as arrays."""
        n_junctions = len(self.junction_names)
        mean, kappa = self.module.programs().cpu(), self.get_concentrations().to_numpy()
        if not np.isfinite(kappa).all():  # the binomial and the multinomial
            own, in_batches = in_own_batch(self, cells)
            fitted = inference.fit_concentration(own.observed(), own.mean, in_batches)
            kappa = np.full(n_junctions, fitted)
        variance = self.module.guide.psi_variance[:n_junctions].cpu().double().numpy()
        return Programs(mean.double().numpy(), variance, kappa.astype(np.float64))
