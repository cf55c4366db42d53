"""Columns of entries for each batch, so that kernels need not know of batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from leafletfa_scvi.ops._multinomial import MultinomialEntries

if TYPE_CHECKING:
    from leafletfa_scvi.ops._entries import ObservedEntries
    from leafletfa_scvi.ops._reference import Entries


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
