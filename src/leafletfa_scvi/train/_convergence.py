"""Whether the training loss has levelled off, told from its noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_EPOCHS = 20
_NOISE_FACTOR = 3.0
_LEAST_SHARE = 2e-5


def fall(losses: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """By how much noisy losses fell from their first half to their second, and what counts.

    Parameters
    ----------
    losses
        Training losses of successive epochs.

    Returns
    -------
    fall
        Mean of the first half minus that of the second.
    threshold
        What a fall must exceed to be one: three standard errors of that difference, the noise
        being estimated from differences between neighbours so that a trend is not taken for it,
        and 2e-5 of the loss.
    """
    values = np.asarray(losses, dtype=np.float64)
    half = len(values) // 2
    first, second = values[:half], values[len(values) - half :]
    # Half the mean square of successive differences is the variance, whatever the slow trend.
    noise = np.sqrt(np.mean(np.diff(values) ** 2) / 2.0)
    error = noise * np.sqrt(2.0 / max(half, 1))
    threshold = max(_NOISE_FACTOR * error, _LEAST_SHARE * abs(values.mean()))
    return float(first.mean() - second.mean()), float(threshold)


def has_levelled_off(losses: Sequence[float] | np.ndarray, window: int) -> bool:
    """Whether the last ``window`` losses no longer fall; never of fewer than 20."""
    window = max(window, _LEAST_EPOCHS)
    if len(losses) < window:
        return False
    fallen, threshold = fall(losses[-window:])
    return fallen <= threshold


class StopWhenLevel(pl.Callback):
    """Stop training when the loss has levelled off.

    Parameters
    ----------
    patience
        Epochs over which the loss must not fall, at least 20: the mean of the later half is
        compared with that of the earlier one.
    least_epochs
        Epochs before which training goes on in any case.
    """

    def __init__(self, patience: int = 40, least_epochs: int = 60) -> None:
        self.patience, self.least_epochs = patience, least_epochs
        self.losses: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Forget the losses of an earlier run."""
        self.losses = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at the losses so far."""
        self.losses.append(pl_module.epoch_loss())
        if len(self.losses) >= self.least_epochs and has_levelled_off(self.losses, self.patience):
            trainer.should_stop = True
