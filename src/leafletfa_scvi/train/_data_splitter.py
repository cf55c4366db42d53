"""Data loaders for Lightning: all cells, with some (cell, ATSE) pairs hidden for validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
import torch

from leafletfa_scvi.data import cell_loader

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from leafletfa_scvi.data import CellBatch
    from leafletfa_scvi.ops import Entries


class SplicingDataSplitter(pl.LightningDataModule):
    """Data loaders of training entries and of entries hidden for validation.

    Activities are fitted cell by cell, so a split by cells could not validate anything: training
    sees all cells, and validation scores reads that were hidden from them.

    Parameters
    ----------
    training
        Observed entries to train on.
    hidden
        Observed entries of the same cells to validate on. If None, nothing is validated.
    batch_size
        Number of cells in a minibatch. If None, all cells are one batch.

    Notes
    -----
    If the entries take at most half of the free memory of the trainer's device, they are moved
    to it once and minibatches are selected on the device. Otherwise each batch is moved.
    """

    def __init__(
        self,
        training: Entries,
        hidden: Entries | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.training = training
        self.hidden = hidden
        self.batch_size = batch_size
        self.n_train = training.n_cells
        self.train_idx = np.arange(training.n_cells)
        self._moved: dict[int, Entries] = {}

    def train_dataloader(self) -> DataLoader[CellBatch]:
        """Return minibatches in random order, or the one full batch."""
        return cell_loader(self._on_device(self.training), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[CellBatch] | list[CellBatch]:
        """Return minibatches of the hidden entries in order; an empty list if none are."""
        if self.hidden is None:
            return []
        return cell_loader(self._on_device(self.hidden), self.batch_size)

    def _on_device(self, entries: Entries) -> Entries:
        """Move entries to the trainer's device if it has one and they fit."""
        device = None if self.trainer is None else self.trainer.strategy.root_device
        if device is None or device.type == "cpu":
            return entries
        key = id(entries)
        if key not in self._moved:
            self._moved[key] = entries.to(device) if fits_on_device(device, entries) else entries
        return self._moved[key]


def fits_on_device(device: torch.device, entries: Entries) -> bool:
    """Return True if entries take at most half of a CUDA device's free memory; True elsewhere."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return entries.nbytes() <= free // 2
