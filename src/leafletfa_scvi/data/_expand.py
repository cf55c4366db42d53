"""Expansion of junction counts to the counts and totals of all observed entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from leafletfa_scvi.data._blocks import row_blocks, stored_rows
from leafletfa_scvi.data._layers import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 18
"""Number of counts in a block; each may expand to several entries."""


def expand_counts(
    counts: sp.csr_matrix | sp.csr_array, atse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compute counts y and totals n of every observed entry, n > 0, by blocks of cells.

    The first pass over blocks counts entries, the second writes them into arrays of the final
    size, so that memory holds the result and one block.

    Parameters
    ----------
    counts
        ``(C, P)`` CSR matrix of non-negative integers in canonical order; zeros may be stored.
    atse
        ``(P,)`` 0-based ATSE of each junction.

    Returns
    -------
    indptr
        ``(C + 1,)`` int64.
    column
        ``(nnz,)`` int32, ascending within a cell.
    count, total
        ``(nnz,)`` int32 junction counts, including zeros, and ATSE totals.

    Raises
    ------
    ValueError
        A total is above 16,777,216.
    """
    n_cells, n_junctions = counts.shape
    # Junctions of ATSE a are order[first[a] : first[a] + size[a]].
    order = np.argsort(atse, kind="stable")
    size = np.bincount(atse, minlength=1)
    first = np.cumsum(size) - size
    ones = (np.ones(n_junctions, np.int64), (np.arange(n_junctions), atse))
    membership = sp.csr_array(ones, shape=(n_junctions, len(size)))

    def blocks() -> Iterator[tuple[int, int, sp.csr_array, sp.csr_array]]:
        """Yield the first and last cell of a block, its counts, and its totals (cells x ATSEs)."""
        for start, stop in row_blocks(counts.indptr, _BLOCK):
            block = sp.csr_array(counts[start:stop])
            _check_size(block.data)
            block = block.astype(np.int64)
            totals = block @ membership
            totals.eliminate_zeros()
            _check_size(totals.data)
            yield start, stop, block, totals

    indptr = np.zeros(n_cells + 1, np.int64)
    for start, stop, _, totals in blocks():
        # An ATSE with reads contributes an entry for each of its junctions.
        n_entries = np.bincount(stored_rows(totals), size[totals.indices], stop - start)
        indptr[start + 1 : stop + 1] = n_entries.astype(np.int64)
    np.cumsum(indptr, out=indptr)
    column, count, total = (np.zeros(indptr[-1], np.int32) for _ in range(3))
    for start, stop, block, totals in blocks():
        entries = slice(indptr[start], indptr[stop])
        # Repeat each (cell, ATSE) pair for all junctions of the ATSE; ``rank`` counts them from 0.
        length = size[totals.indices]
        begin = np.cumsum(length) - length
        rank = np.arange(length.sum()) - np.repeat(begin, length)
        junction = order[np.repeat(first[totals.indices], length) + rank]
        # Pairs are sorted by cell and ATSE, entries have to be sorted by cell and junction.
        key = np.repeat(stored_rows(totals), length) * n_junctions + junction
        sorting = np.argsort(key, kind="stable")
        key = key[sorting]
        column[entries] = junction[sorting]
        total[entries] = np.repeat(totals.data, length)[sorting]
        # Every positive count is an entry of its ATSE, so that searchsorted finds its exact key.
        stored = block.data > 0
        position = np.searchsorted(key, (stored_rows(block) * n_junctions + block.indices)[stored])
        count[indptr[start] + position] = block.data[stored]
    return indptr, column, count, total


def _check_size(values: np.ndarray) -> None:
    if len(values) and values.max() > MAX_COUNT:
        raise ValueError(
            f"An ATSE total is {values.max():,.0f}: totals beyond {MAX_COUNT:,} cannot be "
            "represented. These are not reads of single cells; check the units."
        )
