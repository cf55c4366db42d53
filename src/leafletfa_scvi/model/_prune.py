"""Dropping programs that hardly any cell uses."""

from __future__ import annotations

import logging
import math
import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch

from leafletfa_scvi.model._posterior import PosteriorMixin

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

log = logging.getLogger(__name__)


class PruneMixin(PosteriorMixin):
    """``prune`` of :class:`~leafletfa_scvi.LeafletFAModel`."""

    init_params_: dict[str, Any]
    _model_summary_string: str
    waypoints_: dict[str, np.ndarray] | None

    @torch.no_grad()
    def prune(self, threshold: float = 0.01) -> list[str]:
        """Drop the programs that cells hardly use, in place.

        Use is the mean activity over the cells of the model. Prevalence would not do: it is a
        parameter of the activities' prior, which cells without a program tell little about, so
        that of an unused program stays well above 0.

        Programs that stay keep their order and their PSI and are named ``SP_1`` .. anew;
        activities and prevalence are renormalised. That is exact for the posterior: where phi is
        Dirichlet(g), the parts that stay, divided by their sum, are Dirichlet of the same g of
        these parts. Other parameters stay as they are. :meth:`train` goes on from there, which
        cells that used a dropped program need most, and :meth:`export_posterior` is to be
        repeated.

        A program of a rare cell type is rare as well. A warning says where a dropped program was
        the main one of a cell.

        Parameters
        ----------
        threshold
            Least mean activity to stay, in [0, 1).

        Returns
        -------
        list of str
            Names that the dropped programs had; empty where nothing was dropped.

        Raises
        ------
        ValueError
            ``threshold`` is out of range, or no program would stay.
        RuntimeError
            The model is not trained, or its programs are those of a reference.
        """
        self._require_trained()
        if self.frozen_programs_:
            raise RuntimeError(
                "The programs of a query model are those of its reference: prune the reference, "
                "then run load_query_data again."
            )
        value = float(threshold) if _is_number(threshold) else math.nan
        if not 0.0 <= value < 1.0:
            raise ValueError(f"Expected threshold in [0, 1), found {threshold!r}.")
        activities = self.module.guide.phi().mean
        use = activities.mean(0, dtype=torch.float64)
        keep = use >= value
        if bool(keep.all()):
            return []
        if not bool(keep.any()):
            raise ValueError(
                f"No program would stay: the largest mean activity is {float(use.max()):.3g}, "
                f"below threshold={threshold}."
            )
        leads = torch.bincount(activities.argmax(1), minlength=self.n_programs).tolist()
        kept = keep.nonzero()[:, 0]
        # Built as for loading without data, so that every option and size agrees with that.
        init = {**self.init_params_["non_kwargs"], "n_programs": len(kept)}
        smaller = type(self)(None, registry=self.registry_, **init)
        state = select_programs(self.module.state_dict(), smaller.module.state_dict(), kept)
        smaller.module.load_state_dict(state)
        smaller.module.to(self.module.device).train(self.module.training)

        gone = (~keep).nonzero()[:, 0].tolist()
        names = self.program_names
        dropped = [names[k] for k in gone]
        self.module = smaller.module
        self.n_programs = smaller.n_programs
        self.init_params_ = smaller.init_params_
        self._model_summary_string = smaller._model_summary_string
        if self.waypoints_ is not None:
            positions = self.waypoints_["positions"][kept.cpu().numpy()]
            self.waypoints_ = {**self.waypoints_, "positions": positions}
        log.info("Dropped %s; %d programs stay.", ", ".join(dropped), self.n_programs)
        main = [f"{names[k]} of {leads[k]} cells" for k in gone if leads[k]]
        if main:
            warnings.warn(
                f"Dropped programs were the main ones of some cells ({', '.join(main)}). Train "
                "again, so that these cells are described by the programs that stay.",
                UserWarning,
                stacklevel=2,
            )
        return dropped


def select_programs(
    state: Mapping[str, torch.Tensor], smaller: Mapping[str, torch.Tensor], kept: torch.Tensor
) -> dict[str, torch.Tensor]:
    """State of a module with only some of its programs.

    Parameters
    ----------
    state
        State of a module with K programs.
    smaller
        State of one that differs in its number of programs alone. Axes whose sizes differ between
        the two are those of programs, whatever the parameter is called.
    kept
        ``(len(kept),)`` positions of the programs that stay.
    """
    chosen: dict[str, Any] = {}
    for name, value in state.items():
        axes = zip(value.shape, smaller[name].shape, strict=True)
        for axis, (many, few) in enumerate(axes):
            if many != few:
                value = value.index_select(axis, kept.to(value.device))
        chosen[name] = value.clone()
    return chosen


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
