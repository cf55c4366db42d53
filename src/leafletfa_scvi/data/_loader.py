"""Data loader of minibatches of cells, in CSR."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from leafletfa_scvi._arguments import check_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.ops import Entries


class CellBatch(TypedDict):
    """Minibatch: positions of its cells ``(B,)`` int64, and their observed entries."""

    cells: torch.Tensor
    entries: Entries


class _CellDataset(Dataset[CellBatch]):
    """Dataset indexed by positions of cells, ``(B,)`` int64."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return self.entries.n_cells

    def __getitem__(self, cells: torch.Tensor) -> CellBatch:
        return CellBatch(cells=cells, entries=self.entries.select(cells))


class _BatchSampler(Sampler[torch.Tensor]):
    """Sampler of batches, the positions of whose cells are one tensor rather than many numbers."""

    def __init__(self, n_cells: int, batch_size: int, shuffle: bool) -> None:
        self.n_cells, self.batch_size, self.shuffle = n_cells, batch_size, shuffle

    def __len__(self) -> int:
        return -(-self.n_cells // self.batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        draw = torch.randperm if self.shuffle else torch.arange
        cells = draw(self.n_cells, device="cpu")
        return iter(cells.split(self.batch_size))


class _FullBatch(Dataset[CellBatch]):
    """Dataset of all cells as one batch, without a copy."""

    def __init__(self, entries: Entries) -> None:
        self.batch = CellBatch(cells=torch.arange(entries.n_cells, device="cpu"), entries=entries)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, item: int) -> CellBatch:
        if item:
            raise IndexError(item)
        return self.batch


def cell_loader(
    entries: Entries,
    batch_size: int | None = None,
    shuffle: bool = False,
) -> DataLoader[CellBatch]:
    """Create a data loader of :class:`CellBatch`.

    Parameters
    ----------
    entries
        Observed entries of all cells; batches are on their device.
    batch_size
        Number of cells in a batch; the last one may be smaller. If None, or if the data
        have no more cells than that, all cells are one batch.
    shuffle
        Shuffle the cells at each pass, from torch's random state.
    """
    if batch_size is not None:
        batch_size = check_whole("batch_size", batch_size, 1)
    if batch_size is None or batch_size >= entries.n_cells:
        return DataLoader(
            _FullBatch(entries), batch_size=None, sampler=SequentialSampler(range(1))
        )
    batches = _BatchSampler(entries.n_cells, batch_size, shuffle)
    return DataLoader(_CellDataset(entries), batch_size=None, sampler=batches)
