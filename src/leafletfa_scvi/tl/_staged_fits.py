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
_MIN_MARGIN = 0.02
"""Smallest difference of gains, as a share of the best, that stops a fit."""
_SHAREABLE = {"method", "accelerator", "devices", "em_iterations", "enable_progress_bar"}


def can_share(training: Mapping[str, Any]) -> bool:
    """Return True if arguments of ``train`` leave starts and iterations of EM open."""
    return training["method"] == "em" and set(training) <= _SHAREABLE


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
            self._fits[k] = start_em(model, entries, start, device, kappa)
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
    """Find the K whose fits have to go on, as they may be chosen or be the best.

    Fits are compared with the best one at the same stage, and as they are. One that is behind in
    both is stopped: a smaller K if it is further behind than the standard error of the best, a
    larger one if it is behind at all; in either case by more than the standard error of their
    difference. Numbers between the one that is chosen and the best change neither.

    Parameters
    ----------
    gains
        For each K the gains of all seeds, ``(n_seeds,)``, after each stage.
    finished
        Those K whose fits have all ended.
    """
    numbers = sorted(gains)
    now = {k: gains[k][-1] for k in numbers}
    best = max(numbers, key=lambda k: now[k].mean())
    error = _standard_error(now[best])
    chosen = min(k for k in numbers if now[k].mean() >= now[best].mean() - error)
    going_on = []
    for k in numbers:
        if k in finished or chosen < k < best:
            continue
        stage = min(len(gains[k]), len(gains[best])) - 1
        at_stage = gains[k][stage], gains[best][stage]
        if not all(_is_behind(*pair, k < best) for pair in (at_stage, (now[k], now[best]))):
            going_on.append(k)
    return going_on


def _is_behind(own: np.ndarray, best: np.ndarray, is_smaller: bool) -> bool:
    difference = best - own
    margin = max(_standard_error(difference), _MIN_MARGIN * abs(float(best.mean())))
    allowed = _standard_error(best) if is_smaller else 0.0
    return bool(difference.mean() > allowed + margin)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
