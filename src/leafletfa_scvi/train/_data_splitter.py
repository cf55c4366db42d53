"""What Lightning trains on: all cells, some of their (cell, ATSE) pairs hidden for validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch

from leafletfa_scvi.data import cell_loader

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries


class SplicingDataSplitter(pl.LightningDataModule):
    """Loaders of training and hidden entries.

    Every cell has activities of its own, so a split by cells could validate nothing: training sees
    all cells, and validation scores reads hidden from them.

    Parameters
    ----------
    training
        Observed entries to train on.
    hidden
        Observed entries to validate on, of the same cells; None for no validation.
    batch_size
        Cells in a minibatch; None for the full batch.

    Notes
    -----
    Entries are moved to the trainer's device once and stay there, where they take at most half of
    its free memory; minibatches are then selected on the device. Else each batch is moved.
    """

    def __init__(
        self,
        training: ObservedEntries | MultinomialEntries,
        hidden: ObservedEntries | MultinomialEntries | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.training = training
        self.hidden = hidden
        self.batch_size = batch_size
        self.n_train = training.n_cells
        self.train_idx = np.arange(training.n_cells)
        self._kept: dict[int, ObservedEntries | MultinomialEntries] = {}

    def train_dataloader(self) -> DataLoader:
        """Minibatches in random order, or the one full batch."""
        return cell_loader(self._on_device(self.training), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader | list:
        """The hidden entries in order; empty where nothing is hidden."""
        if self.hidden is None:
            return []
        return cell_loader(self._on_device(self.hidden), self.batch_size)

    def _on_device(
        self, entries: ObservedEntries | MultinomialEntries
    ) -> ObservedEntries | MultinomialEntries:
        """Entries where batches are wanted; as they are without a trainer or without room."""
        device = None if self.trainer is None else self.trainer.strategy.root_device
        if device is None or device.type == "cpu":
            return entries
        key = id(entries)
        if key not in self._kept:
            self._kept[key] = entries.to(device) if has_room(device, entries) else entries
        return self._kept[key]


def has_room(device: torch.device, entries: ObservedEntries | MultinomialEntries) -> bool:
    """True where entries take at most half of a CUDA device's free memory, and elsewhere."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return entries.nbytes() <= free // 2
