"""Dropping of programs that hardly any cell uses."""

from __future__ import annotations

import logging
import warnings

import torch

from leafletfa_scvi._arguments import check_inside
from leafletfa_scvi.model import _fit_state
from leafletfa_scvi.model._base import SplicingModelBase
from leafletfa_scvi.model._extend import freeze

log = logging.getLogger(__name__)


class PruneMixin(SplicingModelBase):
    """``prune`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    @torch.no_grad()
    def prune(self, threshold: float = 0.01) -> list[str]:
        """Drop the programs that cells hardly use, in place.

        The criterion is the mean activity over the training cells, not the prevalence: that is a
        parameter of the prior of activities, about which cells without a program say little, so
        that it stays well above 0 for an unused program.

        The remaining programs keep their order and PSI and are renamed ``SP_1``, ``SP_2``, ...;
        activities and prevalence are renormalized. For the posterior this is exact: if phi is
        Dirichlet(g), the remaining parts divided by their sum are Dirichlet with the g of these
        parts. Other parameters are unchanged. Call :meth:`train` to continue from the pruned
        model, which matters most for cells that used a dropped program, and then
        :meth:`export_posterior` again.

        A program of a rare cell type has a low mean activity, too. A warning is given if a dropped
        program was the main one of some cells.

        Parameters
        ----------
        threshold
            Programs with a mean activity below this are dropped; in [0, 1).

        Returns
        -------
        list of str
            Former names of the dropped programs; empty if none was dropped.

        Raises
        ------
        ValueError
            ``threshold`` is out of range, or no program would remain.
        RuntimeError
            The model is not trained, or its programs are those of a reference.
        """
        self._require_trained()
        self._require_cells()
        if self.frozen_programs_:
            raise RuntimeError(
                "The programs of a query model are those of its reference: prune the reference, "
                "then run load_query_data again."
            )
        value = check_inside("threshold", threshold, "[0, 1)")
        activities = self.module.guide.phi().mean
        use = activities.mean(0, dtype=torch.float64)
        keep = use >= value
        if bool(keep.all()):
            return []
        if not bool(keep.any()):
            raise ValueError(
                f"No program would remain: the largest mean activity is {float(use.max()):.3g}, "
                f"below threshold={threshold}. Use a lower threshold."
            )
        n_main = torch.bincount(activities.argmax(1), minlength=self.n_programs).tolist()
        kept = keep.nonzero()[:, 0]
        # Built as when loading without data, so that options and shapes agree with those of load.
        init = {**self.init_params_["non_kwargs"], "n_programs": len(kept)}
        smaller = type(self)(None, registry=self.registry_, **init)
        smaller.module.load_state_dict(self.module.selected_state("programs", kept))
        smaller.module.to(self.module.device).train(self.module.training)

        positions = (~keep).nonzero()[:, 0].tolist()
        names = self.program_names
        dropped = [names[k] for k in positions]
        self.module = smaller.module
        self.n_programs = smaller.n_programs
        self.init_params_ = smaller.init_params_
        self._model_summary_string = smaller._model_summary_string
        _fit_state.select_programs(self, kept.cpu().numpy())
        freeze(self)
        log.info("Dropped %s; %d programs remain.", ", ".join(dropped), self.n_programs)
        main = [f"{names[k]} of {n_main[k]} cells" for k in positions if n_main[k]]
        if main:
            warnings.warn(
                f"Dropped programs were the main ones of some cells ({', '.join(main)}). Call "
                "train() again to describe these cells by the remaining programs.",
                UserWarning,
                stacklevel=2,
            )
        return dropped
