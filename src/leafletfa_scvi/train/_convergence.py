"""Convergence of the training loss, judged against its noise."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIN_EPOCHS = 20
_N_STANDARD_ERRORS = 3.0
_MIN_FRACTION = 2e-5


def decrease(losses: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Compute the decrease of noisy losses from their first to their second half.

    Parameters
    ----------
    losses
        Training losses of successive epochs.

    Returns
    -------
    decrease
        Mean of the first half minus that of the second.
    threshold
        Largest decrease that may be noise: three standard errors of the difference, or 2e-5 of the
        loss if that is more. The noise is estimated from differences between neighbors, so that a
        trend does not count as noise.
    """
    values = np.asarray(losses, dtype=np.float64)
    half = len(values) // 2
    first, second = values[:half], values[len(values) - half :]
    # Half the mean square of successive differences is the variance, whatever the slow trend.
    noise = np.sqrt(np.mean(np.diff(values) ** 2) / 2.0)
    error = noise * np.sqrt(2.0 / max(half, 1))
    threshold = max(_N_STANDARD_ERRORS * error, _MIN_FRACTION * abs(values.mean()))
    return float(first.mean() - second.mean()), float(threshold)


def has_plateaued(losses: Sequence[float] | np.ndarray, window: int) -> bool:
    """Return True if the last ``window`` losses, at least 20, no longer decrease."""
    window = max(window, _MIN_EPOCHS)
    if len(losses) < window:
        return False
    change, threshold = decrease(losses[-window:])
    return change <= threshold


class ElboPlateau(pl.Callback):
    """Stop training when the loss has reached a plateau.

    Parameters
    ----------
    patience
        Number of epochs, at least 20, over which the loss must not decrease: the mean of their
        second half is compared with that of the first.
    min_epochs
        Minimum number of epochs.
    """

    def __init__(self, patience: int = 40, min_epochs: int = 60) -> None:
        self.patience, self.min_epochs = patience, min_epochs
        self.losses: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Clear the losses of an earlier run."""
        self.losses = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop if the losses so far have reached a plateau."""
        self.losses.append(pl_module.epoch_loss())
        if len(self.losses) >= self.min_epochs and has_plateaued(self.losses, self.patience):
            trainer.should_stop = True


class StopWhenLevel(ElboPlateau):
    """Earlier name of :class:`ElboPlateau`."""

    def __init__(self, patience: int = 40, least_epochs: int = 60) -> None:
        warnings.warn(
            "leafletfa_scvi.train.StopWhenLevel is deprecated: use ElboPlateau, whose "
            "least_epochs is min_epochs.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(patience, least_epochs)
