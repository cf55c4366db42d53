"""Fits of several numbers of programs that share starts, of which those behind are stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leafletfa_scvi._constants import EM_ITERATIONS
from leafletfa_scvi.model._initialize import fitted_entries, shared_waypoints, start_em
from leafletfa_scvi.model._training_options import training_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from leafletfa_scvi.inference import Waypoints
    from leafletfa_scvi.model import LeafletFAModel
    from leafletfa_scvi.model._initialize import StartedFit

_STAGES = (20, 60)
"""Iterations after which fits are compared; those that may be chosen then go on to the end."""
_PILOT_ITERATIONS = 20
_MARGIN, _MIN_MARGIN = 0.5, 0.01
"""How much gains may still change: standard errors, and a share of the gain."""
_SHAREABLE = {"method", "accelerator", "devices", "em_iterations", "enable_progress_bar"}
_DEFAULTS = {"init": "waypoints", "n_restarts": 1, "validation_size": None}
"""Other arguments that may be given with their default values."""


def can_share(training: Mapping[str, Any]) -> bool:
    """Return True if arguments of ``train`` leave starts and iterations of EM open."""
    if training["method"] != "em":
        return False
    others = {name: value for name, value in training.items() if name not in _SHAREABLE}
    # Types first, as a start may be a pair of arrays, which == compares by element.
    return all(
        name in _DEFAULTS and type(value) is type(_DEFAULTS[name]) and value == _DEFAULTS[name]
        for name, value in others.items()
    )


class StagedFits:
    """EM fits of several K on one split, which start from the same groups of cells.

    Seeds share nothing, so that programs found with several seeds were found independently.

    Parameters
    ----------
    numbers
        Numbers of programs K.
    training
        Arguments of ``train``.
    """

    def __init__(self, numbers: Sequence[int], training: Mapping[str, Any]) -> None:
        self.numbers = numbers
        self._max_iterations: int = training.get("em_iterations", EM_ITERATIONS)
        self._device_names = training.get("accelerator", "auto"), training.get("devices", "auto")
        self._starts: dict[int, Waypoints] = {}
        self._concentration: torch.Tensor | None = None
        self._fits: dict[int, StartedFit] = {}
        self._n_stages = dict.fromkeys(numbers, 0)
        self._finished: set[int] = set()

    def find_starts(self, model: LeafletFAModel) -> None:
        """Find the waypoints of all K, and a first concentration by EM for that of ``model``."""
        entries = model._training_entries()
        self._starts = shared_waypoints(model, entries, self.numbers)
        pilot = start_em(model, entries, self._starts[model.n_programs], self._device())
        pilot.run.advance(min(_PILOT_ITERATIONS, self._max_iterations))
        self._concentration = pilot.run.result(n_draws=1).concentration

    def advance(
        self, model: LeafletFAModel, callback: Callable[[int, float], None] | None = None
    ) -> bool:
        """Continue EM of a model to the next stage; return whether it has ended.

        The model is untrained, and ``train`` completes it if EM has ended, else :meth:`read`.
        """
        k, device, entries = model.n_programs, self._device(), model._training_entries()
        if k in self._fits:
            self._fits[k].run.set_entries(fitted_entries(model, entries, device))
        else:
            start, kappa = self._starts.pop(k), self._concentration
            self._fits[k] = start_em(model, entries, start, device, kappa, n_draws=1)
        fit, stage = self._fits[k], self._n_stages[k]
        self._n_stages[k] += 1
        until = _STAGES[stage] if stage < len(_STAGES) else self._max_iterations
        fit.run.advance(min(until, self._max_iterations), callback=callback)
        if fit.run.converged or fit.run.n_iterations >= self._max_iterations:
            self._finished.add(k)
            model._started_fit = self._fits.pop(k)
        return k in self._finished

    def has_finished(self, n_programs: int) -> bool:
        """Return True if EM has ended."""
        return n_programs in self._finished

    def read(self, model: LeafletFAModel) -> None:
        """Set the model to its fit as far as it is, and let go of its data."""
        fit = self._fits[model.n_programs]
        model._read_unfinished(fit)
        fit.run.set_entries(None)

    def _device(self) -> torch.device:
        return training_device(*self._device_names)


def undecided(gains: Mapping[int, Sequence[np.ndarray]], finished: set[int]) -> list[int]:
    """Find the K whose fits have to go on, as they may be chosen or change the choice.

    The one chosen is the smallest within one standard error of the best. A smaller K may be chosen
    if it is nearly that good, a larger one may change the choice if it is better by nearly a
    standard error; nearly means half a standard error, but at least 1 % of the best gain. Since
    gains depend on the number of iterations, numbers are compared at the last stage that both have
    reached, and as they are: one that does not matter in both comparisons is stopped. The best K
    always goes on.

    Parameters
    ----------
    gains
        For each K the gains of all seeds, ``(n_seeds,)``, after each stage.
    finished
        Those K whose fits have all ended.
    """
    now = {k: gains[k][-1].mean() for k in gains}
    best = max(sorted(now), key=lambda k: now[k])
    error = _standard_error(gains[best][-1])
    chosen = min(k for k in now if now[k] >= now[best] - error)

    def matters(k: int) -> bool:
        if k in (best, chosen):
            return True
        other = best if k < chosen else chosen
        stage = min(len(gains[k]), len(gains[other])) - 1
        pairs = (gains[k][stage], gains[other][stage]), (gains[k][-1], gains[other][-1])
        return any(_may_change(*pair, error, k < chosen) for pair in pairs)

    return [k for k in sorted(gains) if k not in finished and matters(k)]


def _may_change(own: np.ndarray, other: np.ndarray, error: float, is_smaller: bool) -> bool:
    """Compare a K with the best (a smaller one) or with the one chosen (a larger one)."""
    margin = max(error * _MARGIN, _MIN_MARGIN * abs(float(other.mean())))
    allowed = error if is_smaller else -error
    return bool(own.mean() + margin >= other.mean() - allowed)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
