"""Where training begins: waypoints or other starts, improved by expected-table EM."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi.model._widths import WidthsMixin
from leafletfa_scvi.ops import MultinomialEntries
from leafletfa_scvi.train import has_room

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries

log = logging.getLogger(__name__)

_START_CONCENTRATION = 10.0
_START_ACTIVITY_CONCENTRATION = 1.0
_KEPT_COMPONENTS = 10

Init = Literal["waypoints", "random"]


class StartMixin(WidthsMixin):
    """Start and EM of :class:`~leafletfa_scvi.LeafletFAModel`.

    Attributes
    ----------
    waypoints_
        Positions of ``cells`` among the training cells, their ``scores`` on the components of
        centred PSI, and ``positions`` of the waypoints there; None where it started elsewhere.
    """

    waypoints_: dict[str, np.ndarray] | None = None

    def _start(
        self,
        entries: ObservedEntries,
        init: Init | tuple[Any, Any],
        n_restarts: int,
        n_iterations: int,
        target: torch.device,
    ) -> inference.EMResult:
        """Bring the guide to the EM fit of the best of the starts."""
        best: tuple[inference.EMResult, inference.Waypoints | None] | None = None
        for restart in range(n_restarts):
            fit, found = self._fit_em(entries, init, n_iterations, target)
            value = fit.objective[-1] if fit.objective else -math.inf
            log.info("Start %d: EM objective %.1f", restart + 1, value)
            if best is None or value > best[0].objective[-1]:
                best = fit, found
        assert best is not None
        fit, found = best
        self._weigh_evidence(entries)
        self.module.start_from(fit, self._likelihood_entries(entries))
        self.waypoints_ = None if found is None else _kept(found)
        return fit

    def _fit_em(
        self,
        entries: ObservedEntries,
        init: Init | tuple[Any, Any],
        n_iterations: int,
        target: torch.device,
    ) -> tuple[inference.EMResult, inference.Waypoints | None]:
        """EM from one start, and the waypoints where it is these."""
        model, seed, found = self.module.model, self._seed(), None
        atse = None if self.atse_codes_ is None else torch.from_numpy(self.atse_codes_)
        if not isinstance(init, str):
            start = self._given_start(init, entries)
        elif init == "waypoints":
            found = inference.waypoints(entries, self.n_programs, seed, atse)
            start = found.start
        elif init == "random":
            start = inference.random_start(entries, self.n_programs, seed)
        else:
            raise ValueError(_EXPECTED_INIT.format(found=repr(init)))
        fitted = self._likelihood_entries(entries)
        if isinstance(fitted, MultinomialEntries):
            start = start._replace(psi=inference.shared_programs(start.psi, fitted))
        kappa = _START_CONCENTRATION if model.learns_concentration else model.fixed("kappa")
        delta = model.activity_concentration or _START_ACTIVITY_CONCENTRATION
        near = target.type == "cpu" or has_room(target, fitted)
        fit = inference.fit_em(
            fitted.to(target) if near else fitted,
            start,
            self._first_prior(entries),
            concentration=kappa,
            dispersion=model.dispersion,
            learn_concentration=model.learns_concentration,
            activity_concentration=delta,
            n_iterations=n_iterations,
            device=target,
            seed=seed,
        )
        return fit, found

    def _given_start(self, init: Any, entries: ObservedEntries) -> inference.Start:
        """Activities and programs that the user gives."""
        if not isinstance(init, (tuple, list)) or len(init) != 2:
            raise ValueError(_EXPECTED_INIT.format(found=type(init).__name__))
        given = zip(init, _NAMES, (self.cell_names_, self.junction_names), strict=True)
        phi, psi = (torch.from_numpy(_values(*one)) for one in given)
        shapes = (entries.n_cells, self.n_programs), (entries.n_junctions, self.n_programs)
        if (tuple(phi.shape), tuple(psi.shape)) != shapes:
            raise ValueError(
                f"Expected init arrays of shapes {shapes[0]} (cells x programs) and {shapes[1]} "
                f"(junctions x programs), found {tuple(phi.shape)} and {tuple(psi.shape)}."
            )
        valid = bool(((phi >= 0) & phi.isfinite()).all())
        if not (valid and bool(((psi >= 0) & (psi <= 1)).all())):
            raise ValueError(
                "Expected finite init activities of at least 0 and programs in [0, 1]."
            )
        if not bool((phi.sum(1) > 0).all()):
            cell = int((phi.sum(1) <= 0).nonzero()[0])
            raise ValueError(
                f"Cell {self.cell_names_[cell]!r} has no activity in init: each row needs one "
                "above 0."
            )
        return inference.Start(phi, psi)


_NAMES = ("activities", "programs")
_EXPECTED_INIT = "Expected init 'waypoints', 'random' or (activities, programs), found {found}."


def _values(given: Any, name: str, rows: np.ndarray) -> np.ndarray:
    """A user's array as float32, or a data frame with its rows put in order by name."""
    if isinstance(given, pd.DataFrame):
        given = _in_order(given, name, rows).to_numpy()
    values = np.asarray(given)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"Expected numbers in init's {name}, found {values.dtype} values.")
    return np.ascontiguousarray(values, dtype=np.float32)


def _in_order(frame: pd.DataFrame, name: str, rows: np.ndarray) -> pd.DataFrame:
    """Rows of a data frame by name; as they are where it numbers them, or their number is off."""
    if isinstance(frame.index, pd.RangeIndex) or len(frame) != len(rows):
        return frame
    named = frame.set_axis(frame.index.astype(str))
    missing = pd.Index(rows).difference(named.index, sort=False)
    if len(missing):
        raise ValueError(
            f"The data frame of init's {name} lacks {len(missing)} rows of the model, the first "
            f"of them {missing[0]!r}: give it the model's names, or an array in its order."
        )
    return named.loc[rows]


def _kept(found: inference.Waypoints) -> dict[str, np.ndarray]:
    """What the picture of the waypoints needs, saved with the model."""
    return {
        "cells": found.cells,
        "scores": found.scores[:, :_KEPT_COMPONENTS].astype(np.float32),
        "positions": found.positions[:, :_KEPT_COMPONENTS].astype(np.float32),
    }
