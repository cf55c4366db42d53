"""How far training is, and what Lightning says of itself meanwhile."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import lightning.pytorch as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Function of a stage of training, how many of its steps are done, and of how many."""

_ADVERTS = ("\N{ELECTRIC LIGHT BULB} Tip:", "TPU available: False")
_LOGGER = "lightning.pytorch.utilities.rank_zero"
"""Logger of all messages of Lightning's trainer."""


class EpochProgress(pl.Callback):
    """Report the epochs of variational inference.

    Parameters
    ----------
    progress
        Function to call at the start and after each epoch.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def _report(self, done: int, trainer: pl.Trainer) -> None:
        self._progress("variational inference", done, trainer.max_epochs)

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Report that no epoch is done."""
        self._report(0, trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Report one epoch more."""
        self._report(trainer.current_epoch + 1, trainer)


def no_progress(stage: str, done: int, of: int | None) -> None:
    """Report nothing."""


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_ADVERTS)


@contextmanager
def without_adverts() -> Iterator[None]:
    """Drop Lightning's tips to install loggers, the lack of a TPU and its own deprecations.

    Other messages pass, and levels and handlers of loggers stay as they are.
    """
    logger = logging.getLogger(_LOGGER)
    logger.addFilter(_is_news)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec", module=r"lightning\.")
            yield
    finally:
        logger.removeFilter(_is_news)
