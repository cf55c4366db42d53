"""Columns or blocks of entries for each batch, so that kernels need not know of batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from leafletfa_scvi.ops._multinomial import MultinomialEntries

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries
    from leafletfa_scvi.ops._reference import Entries


class CellsOfBatch(NamedTuple):
    """Cells of one batch.

    Attributes
    ----------
    batch
        0-based batch.
    cells
        ``(B',)`` int64 positions of its cells. Those without an entry are in the first batch.
    entries
        Entries of these cells over the P' junctions.
    """

    batch: int
    cells: torch.Tensor
    entries: Entries


def split_by_batch(entries: Entries, batch: torch.Tensor, n_batches: int) -> Entries:
    """Give the junctions of each batch columns of their own: b P' + j for j in batch b.

    Parameters
    ----------
    entries
        Entries of B cells and P' junctions.
    batch
        ``(B,)`` int64, 0-based batch of each cell.
    n_batches
        Number of batches.

    Returns
    -------
    Entries over ``n_batches`` P' columns. ATSE totals keep their columns.

    Raises
    ------
    OverflowError
        There are more columns than an int32 can number.
    """
    if isinstance(entries, MultinomialEntries):
        reads = _split(entries.reads, batch, n_batches)
        return replace(entries, reads=reads, atse=entries.atse.repeat(n_batches))
    return _split(entries, batch, n_batches)


def cells_by_batch(entries: Entries, n_batches: int) -> list[CellsOfBatch]:
    """Gather the cells of each batch; a copy of the entries, made at the first call and kept.

    Parameters
    ----------
    entries
        Entries with columns for each batch; see :func:`split_by_batch`.
    n_batches
        Number of batches. Those without a cell are left out.
    """
    return entries.scored.derived("cells_by_batch", lambda: _gather(entries, n_batches))


def _gather(entries: Entries, n_batches: int) -> list[CellsOfBatch]:
    scored = entries.scored
    n_rows = scored.n_junctions // n_batches
    filled = scored.indptr.diff().nonzero()[:, 0]
    batch = scored.column.new_zeros(scored.n_cells)  # any, for cells without an entry
    batch[filled] = scored.column[scored.indptr[filled]] // n_rows
    parts = []
    for b in batch.unique().tolist():
        cells = (batch == b).nonzero()[:, 0]
        own = scored.select(cells)
        own = replace(own, column=own.column - b * n_rows, n_junctions=n_rows)
        if isinstance(entries, MultinomialEntries):
            totals = entries.totals.select(cells)
            parts.append(
                CellsOfBatch(b, cells, MultinomialEntries(own, totals, entries.atse[:n_rows]))
            )
        else:
            parts.append(CellsOfBatch(b, cells, own))
    return parts


def _split(entries: ObservedEntries, batch: torch.Tensor, n_batches: int) -> ObservedEntries:
    n_columns = entries.n_junctions * n_batches
    if n_columns > torch.iinfo(torch.int32).max:
        raise OverflowError(
            f"Expected at most {torch.iinfo(torch.int32).max:,} junctions times batches, found "
            f"{n_columns:,}. Merge batches."
        )
    first = (batch.to(entries.device) * entries.n_junctions).to(torch.int32)
    column = entries.column + first.repeat_interleave(entries.indptr.diff())
    cache = dict(entries._cache)  # of counts and totals, which are the same
    return replace(
        entries, column=column, n_junctions=n_columns, batch=None, _cache=cache, _derived={}
    )
