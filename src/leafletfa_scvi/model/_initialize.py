"""Initialization of training: waypoints or others, improved by expected-table EM."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from leafletfa_scvi import inference
from leafletfa_scvi.model._extend import initialize_extension
from leafletfa_scvi.model._variances import initial_prior, set_activity_weight
from leafletfa_scvi.train import fits_on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leafletfa_scvi.model._base import SplicingModelBase
    from leafletfa_scvi.model._training_options import Init, TrainingOptions
    from leafletfa_scvi.ops import Entries, ObservedEntries

log = logging.getLogger(__name__)

_INITIAL_CONCENTRATION = 10.0
_INITIAL_ACTIVITY_CONCENTRATION = 0.3
"""For each program."""
_SAVED_COMPONENTS = 10
_INIT_PARTS = ("activities", "programs")
_EXPECTED_INIT = "Expected init 'waypoints', 'random' or (activities, programs), found {found}."


class StartedFit(NamedTuple):
    """EM of a model that has begun, and the waypoints that it began from, if any."""

    run: inference.EMRun
    waypoints: inference.Waypoints | None

    def result(
        self, n_iterations: int, callback: Callable[[int, float], None] | None = None
    ) -> tuple[inference.EMResult, inference.Waypoints | None]:
        """Continue to ``n_iterations`` in all, or to convergence."""
        self.run.advance(n_iterations, callback=callback)
        return self.run.result(), self.waypoints


def initialize(
    model: SplicingModelBase, entries: ObservedEntries, options: TrainingOptions
) -> inference.EMResult:
    """Initialize the guide of an untrained model.

    Parameters
    ----------
    model
        Model to initialize.
    entries
        Observed entries to train on.
    options
        Checked arguments of ``train``.

    Returns
    -------
    EMResult
        Best EM fit of ``n_restarts``, or that of EM which has begun.
    """
    if model.n_reference_programs_ is not None:
        return initialize_extension(model, entries, options)
    best: tuple[inference.EMResult, inference.Waypoints | None] | None = None
    for restart in range(options.n_restarts):
        if model._started_fit is not None:
            fit, groups = model._started_fit.result(options.em_iterations, options.report_em)
        else:
            options.progress("start", 0, None)
            data, given, groups = _em_arguments(
                model,
                entries,
                options.init,
                options.device,
                lambda done, of: options.progress("start", done, of),
            )
            fit = inference.fit_em(
                *data,
                **given,
                n_iterations=options.em_iterations,
                callback=options.report_em,
            )
        value = fit.objective[-1] if fit.objective else -math.inf
        log.info("Initialization %d: EM objective %.1f", restart + 1, value)
        if best is None or value > best[0].objective[-1]:
            best = fit, groups
    assert best is not None
    set_fit(model, entries, *best)
    return best[0]


def set_fit(
    model: SplicingModelBase,
    entries: ObservedEntries,
    fit: inference.EMResult,
    groups: inference.Waypoints | None,
) -> None:
    """Set the guide of an untrained model to an EM fit."""
    set_activity_weight(model, entries)
    model.module.initialize(fit, model._likelihood_entries(entries))
    model.waypoints_ = None if groups is None else _saved_waypoints(groups)


def start_em(
    model: SplicingModelBase,
    entries: ObservedEntries,
    init: Init | inference.Waypoints,
    device: torch.device,
    concentration: torch.Tensor | None = None,
    n_draws: int = 4,
) -> StartedFit:
    """Begin EM from one initialization.

    Parameters
    ----------
    model, entries, device
        Model, observed entries to fit it to, and where.
    init
        As of ``train``, or waypoints of K programs, such as :func:`shared_waypoints` finds.
    concentration
        First kappa, if it is learned: one value, or one for each junction (ATSE). If None, 10.
    n_draws
        Number of draws that kappa is fitted to on the way.
    """
    data, given, groups = _em_arguments(model, entries, init, device)
    if concentration is not None and model.module.model.learns_concentration:
        given["concentration"] = concentration
    return StartedFit(inference.EMRun(*data, **given, n_draws=n_draws), groups)


def _em_arguments(
    model: SplicingModelBase,
    entries: ObservedEntries,
    init: Init | inference.Waypoints,
    device: torch.device,
    callback: Callable[[int, int], None] | None = None,
) -> tuple[tuple[Any, ...], dict[str, Any], inference.Waypoints | None]:
    """Return entries, start and prior of EM, its other arguments, and waypoints, if any."""
    options, seed, groups = model.module.model, model._seed(), None
    pooled, effects = model._pooled_entries(entries), None
    if options.n_batches > 1:
        grouped, effects = _without_batches(model, entries)
    else:
        grouped = entries
    if isinstance(init, inference.Waypoints):
        groups, start = init, init.start
    elif not isinstance(init, str):
        start = given_initialization(model, init, entries)
    elif init == "waypoints":
        groups = inference.waypoints(grouped, model.n_programs, seed, _atse(model), callback)
        start = groups.start
    elif init == "random":
        start = inference.random_initialization(entries, model.n_programs, seed)
    else:
        raise ValueError(_EXPECTED_INIT.format(found=repr(init)))
    psi = options.likelihood.complete_programs(start.psi, pooled)
    if psi is not start.psi:
        start = start._replace(psi=psi)
    kappa = _INITIAL_CONCENTRATION if options.learns_concentration else options.fixed("kappa")
    delta = options.activity_concentration or _INITIAL_ACTIVITY_CONCENTRATION * model.n_programs
    set_activity_weight(model, entries)
    data = fitted_entries(model, entries, device), start, initial_prior(model, entries)
    given: dict[str, Any] = {
        "concentration": kappa,
        "dispersion": options.dispersion,
        "learn_concentration": options.learns_concentration,
        "activity_concentration": delta,
        "activity_weight": float(options.activity_weight),
        "device": device,
        "seed": seed,
        "effects": effects,
    }
    return data, given, groups


def fitted_entries(
    model: SplicingModelBase, entries: ObservedEntries, device: torch.device
) -> Entries:
    """Return the entries that EM is run on, on ``device`` if they fit there."""
    fitted = model._likelihood_entries(entries)
    return fitted.to(device) if fits_on_device(device, fitted) else fitted


def shared_waypoints(
    model: SplicingModelBase, entries: ObservedEntries, numbers: Sequence[int]
) -> dict[int, inference.Waypoints]:
    """Find waypoints for several numbers of programs from the same groups of cells."""
    if model.module.model.n_batches > 1:
        entries, _ = _without_batches(model, entries)
    return inference.waypoint_path(entries, numbers, model._seed(), _atse(model), n_tries=1)


def _without_batches(
    model: SplicingModelBase, entries: ObservedEntries
) -> tuple[ObservedEntries, inference.BatchEffects]:
    """Return entries without the first estimate of the effects of batches, and these."""
    options, pooled = model.module.model, model._pooled_entries(entries)
    assert entries.batch is not None
    effects = inference.first_batch_effects(
        pooled, entries.batch, options.n_batches, options.likelihood, options.program_atse
    )
    mean_psi = options.likelihood.mean_psi(pooled.to("cpu"))
    return inference.without_batch_effects(entries, mean_psi, effects.shift), effects


def _atse(model: SplicingModelBase) -> torch.Tensor | None:
    return None if model.atse_codes_ is None else torch.from_numpy(model.atse_codes_)


def given_initialization(
    model: SplicingModelBase, init: Any, entries: ObservedEntries
) -> inference.Initialization:
    """Check activities and programs that the user passed as ``init``."""
    if not isinstance(init, (tuple, list)) or len(init) != 2:
        raise ValueError(_EXPECTED_INIT.format(found=type(init).__name__))
    rows = (model.cell_names_, model.junction_names_)
    parts = zip(init, _INIT_PARTS, rows, strict=True)
    phi, psi = (torch.from_numpy(_values(*part)) for part in parts)
    shapes = (entries.n_cells, model.n_programs), (entries.n_junctions, model.n_programs)
    if (tuple(phi.shape), tuple(psi.shape)) != shapes:
        raise ValueError(
            f"Expected init arrays of shapes {shapes[0]} (cells x programs) and {shapes[1]} "
            f"(junctions x programs), found {tuple(phi.shape)} and {tuple(psi.shape)}."
        )
    valid = bool(((phi >= 0) & phi.isfinite()).all())
    if not (valid and bool(((psi >= 0) & (psi <= 1)).all())):
        raise ValueError("Expected finite init activities of at least 0 and programs in [0, 1].")
    if not bool((phi.sum(1) > 0).all()):
        cell = int((phi.sum(1) <= 0).nonzero()[0])
        raise ValueError(
            f"Expected an activity above 0 in each row of init, found none for cell "
            f"{model.cell_names_[cell]!r}."
        )
    return inference.Initialization(phi, psi)


def _values(given: Any, part: str, rows: np.ndarray) -> np.ndarray:
    """Convert the user's array to float32, the rows of a data frame ordered by name."""
    if isinstance(given, pd.DataFrame):
        given = _in_order(given, part, rows).to_numpy()
    values = np.asarray(given)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"Expected numbers in init's {part}, found {values.dtype} values.")
    return np.ascontiguousarray(values, dtype=np.float32)


def _in_order(frame: pd.DataFrame, part: str, rows: np.ndarray) -> pd.DataFrame:
    """Order the rows of a data frame by name, unless they are numbered or of another number."""
    if isinstance(frame.index, pd.RangeIndex) or len(frame) != len(rows):
        return frame
    named = frame.set_axis(frame.index.astype(str))
    missing = pd.Index(rows).difference(named.index, sort=False)
    if len(missing):
        raise ValueError(
            f"The data frame of init's {part} lacks {len(missing)} rows of the model, the first "
            f"of them {missing[0]!r}: give it the model's names, or an array in its order."
        )
    return named.loc[rows]


def _saved_waypoints(groups: inference.Waypoints) -> dict[str, np.ndarray]:
    """Select what a figure of the waypoints needs."""
    return {
        "cells": groups.cells,
        "scores": groups.scores[:, :_SAVED_COMPONENTS].astype(np.float32),
        "positions": groups.positions[:, :_SAVED_COMPONENTS].astype(np.float32),
        "explained": groups.explained[:_SAVED_COMPONENTS].astype(np.float32),
    }
