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
        atse = None if self.atse_codes_ is None else torch.as_tensor(self.atse_codes_)
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
        phi, psi = (torch.as_tensor(_values(x, n)) for x, n in zip(init, _NAMES, strict=True))
        shapes = (entries.n_cells, self.n_programs), (entries.n_junctions, self.n_programs)
        if (tuple(phi.shape), tuple(psi.shape)) != shapes:
            raise ValueError(
                f"Expected init arrays of shapes {shapes[0]} (cells x programs) and {shapes[1]} "
                f"(junctions x programs), found {tuple(phi.shape)} and {tuple(psi.shape)}."
            )
        if not (bool((phi >= 0).all()) and bool(((psi >= 0) & (psi <= 1)).all())):
            raise ValueError("Expected init activities of at least 0 and programs in [0, 1].")
        if not bool((phi.sum(1) > 0).all()):
            cell = int((phi.sum(1) <= 0).nonzero()[0])
            raise ValueError(
                f"Cell {self.cell_names_[cell]!r} has no activity in init: each row needs one "
                "above 0."
            )
        return inference.Start(phi, psi)


_NAMES = ("activities", "programs")
_EXPECTED_INIT = "Expected init 'waypoints', 'random' or (activities, programs), found {found}."


def _values(given: Any, name: str) -> np.ndarray:
    """A user's array or data frame as float32."""
    values = given.to_numpy() if isinstance(given, pd.DataFrame) else np.asarray(given)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"Expected numbers in init's {name}, found {values.dtype} values.")
    return np.ascontiguousarray(values, dtype=np.float32)


def _kept(found: inference.Waypoints) -> dict[str, np.ndarray]:
    """What the picture of the waypoints needs, saved with the model."""
    return {
        "cells": found.cells,
        "scores": found.scores[:, :_KEPT_COMPONENTS].astype(np.float32),
        "positions": found.positions[:, :_KEPT_COMPONENTS].astype(np.float32),
    }
