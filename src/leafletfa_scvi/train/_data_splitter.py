"""What Lightning trains on: all cells, some of their (cell, ATSE) pairs hidden for validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np

from leafletfa_scvi.data import cell_loader

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    from leafletfa_scvi.ops import ObservedEntries


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
        Cells in a minibatch; None for the full batch, which stays on the device once moved.
    """

    def __init__(
        self,
        training: ObservedEntries,
        hidden: ObservedEntries | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.training = training
        self.hidden = hidden
        self.batch_size = batch_size
        self.n_train = training.n_cells
        self.train_idx = np.arange(training.n_cells)
        self._moved: dict[int, Any] = {}

    def train_dataloader(self) -> DataLoader:
        """Minibatches in random order, or the one full batch."""
        return cell_loader(self.training, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader | list:
        """The hidden entries in order; empty where nothing is hidden."""
        return [] if self.hidden is None else cell_loader(self.hidden, self.batch_size)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch, once only if it is the full one."""
        whole = batch["entries"] is self.training or batch["entries"] is self.hidden
        if not whole:
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        key = id(batch["entries"])
        if key not in self._moved:
            self._moved[key] = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return self._moved[key]
