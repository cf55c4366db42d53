"""Minibatches of cells, served as CSR."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from leafletfa_scvi._arguments import check_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.ops import MultinomialEntries, ObservedEntries


class CellBatch(TypedDict):
    """One minibatch: positions of its cells ``(B,)`` int64, and their observed entries."""

    cells: torch.Tensor
    entries: ObservedEntries | MultinomialEntries


class _Cells(Dataset):
    """Cells by their positions, ``(B,)`` int64."""

    def __init__(self, entries: ObservedEntries | MultinomialEntries) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return self.entries.n_cells

    def __getitem__(self, cells: torch.Tensor) -> CellBatch:
        return CellBatch(cells=cells, entries=self.entries.select(cells))


class _Batches(Sampler):
    """Positions of the cells of each batch as one tensor, not number by number."""

    def __init__(self, n_cells: int, batch_size: int, shuffle: bool) -> None:
        self.n_cells, self.batch_size, self.shuffle = n_cells, batch_size, shuffle

    def __len__(self) -> int:
        return -(-self.n_cells // self.batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        draw = torch.randperm if self.shuffle else torch.arange
        cells = draw(self.n_cells, device="cpu")
        return iter(cells.split(self.batch_size))


class _Whole(Dataset):
    """All cells as the only batch, without a copy."""

    def __init__(self, entries: ObservedEntries | MultinomialEntries) -> None:
        self.batch = CellBatch(cells=torch.arange(entries.n_cells, device="cpu"), entries=entries)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, item: int) -> CellBatch:
        if item:
            raise IndexError(item)
        return self.batch


def cell_loader(
    entries: ObservedEntries | MultinomialEntries,
    batch_size: int | None = None,
    shuffle: bool = False,
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
    if batch_size is not None:
        batch_size = check_whole("batch_size", batch_size, 1)
    if batch_size is None or batch_size >= entries.n_cells:
        return DataLoader(_Whole(entries), batch_size=None, sampler=SequentialSampler(range(1)))
    batches = _Batches(entries.n_cells, batch_size, shuffle)
    return DataLoader(_Cells(entries), batch_size=None, sampler=batches)
