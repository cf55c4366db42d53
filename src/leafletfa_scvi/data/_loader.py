"""Minibatches of cells, served as CSR."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries


class CellBatch(TypedDict):
    """One minibatch: positions of its cells ``(B,)`` int64, and their observed entries."""

    cells: torch.Tensor
    entries: ObservedEntries


class _Cells(Dataset):
    """Cells by lists of positions."""

    def __init__(self, entries: ObservedEntries) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return self.entries.n_cells

    def __getitem__(self, cells: list[int]) -> CellBatch:
        positions = torch.as_tensor(cells, dtype=torch.int64)
        return CellBatch(cells=positions, entries=self.entries.select(positions))


class _Whole(Dataset):
    """All cells as the only batch, without a copy."""

    def __init__(self, entries: ObservedEntries) -> None:
        self.batch = CellBatch(cells=torch.arange(entries.n_cells), entries=entries)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, item: int) -> CellBatch:
        if item:
            raise IndexError(item)
        return self.batch


def cell_loader(
    entries: ObservedEntries, batch_size: int | None = None, shuffle: bool = False
) -> DataLoader:
    """Loader of :class:`CellBatch`.

    Parameters
    ----------
    entries
        Observed entries of all cells; batches are on their device.
    batch_size
        Cells in a batch; None, or at least as many as there are, for one batch of all cells. The
        last batch may be smaller, down to one cell.
    shuffle
        Draw the cells anew at each pass, from torch's random state.
    """
    if batch_size is None or batch_size >= entries.n_cells:
        return DataLoader(_Whole(entries), batch_size=None, sampler=SequentialSampler(range(1)))
    cells = _Cells(entries)
    sampler = RandomSampler(cells) if shuffle else SequentialSampler(cells)
    batches = BatchSampler(sampler, batch_size, drop_last=False)
    return DataLoader(cells, batch_size=None, sampler=batches)
