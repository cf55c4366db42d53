"""From junction counts to the counts and totals of all observed entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from leafletfa_scvi.data._blocks import entry_rows, row_blocks
from leafletfa_scvi.data._layers import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 18
"""Counts handled at a time; each may stand for several entries."""


def expand_counts(
    counts: sp.csr_matrix | sp.csr_array, atse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts y and totals n of every observed entry, n > 0, block of cells by block of cells.

    Blocks are gone through twice, for the number of entries and for the entries themselves, which
    are then written to where they stay: memory holds the result and one block.

    Parameters
    ----------
    counts
        ``(C, P)`` CSR of whole, non-negative numbers in canonical order; zeros may be stored.
    atse
        ``(P,)`` 0-based ATSE of each junction.

    Returns
    -------
    indptr
        ``(C + 1,)`` int64.
    column
        ``(nnz,)`` int32, ascending within a cell.
    count, total
        ``(nnz,)`` int32 junction counts, zeros included, and totals of the junction's ATSE.

    Raises
    ------
    ValueError
        A total is above 16,777,216.
    """
    n_cells, n_junctions = counts.shape
    order = np.argsort(atse, kind="stable")
    size = np.bincount(atse, minlength=1)
    first = np.cumsum(size) - size
    ones = (np.ones(n_junctions, np.int64), (np.arange(n_junctions), atse))
    member = sp.csr_array(ones, shape=(n_junctions, len(size)))

    def blocks() -> Iterator[tuple[int, int, sp.csr_array, sp.csr_array]]:
        """Cells from and to, their counts, and their totals, each ATSE once."""
        for start, stop in row_blocks(counts.indptr, _BLOCK):
            block = sp.csr_array(counts[start:stop])
            _check_size(block.data)
            block = block.astype(np.int64)
            totals = block @ member
            totals.eliminate_zeros()
            _check_size(totals.data)
            yield start, stop, block, totals

    indptr = np.zeros(n_cells + 1, np.int64)
    for start, stop, _, totals in blocks():
        of_cell = np.bincount(entry_rows(totals), size[totals.indices], stop - start)
        indptr[start + 1 : stop + 1] = of_cell.astype(np.int64)
    np.cumsum(indptr, out=indptr)
    column, count, total = (np.zeros(indptr[-1], np.int32) for _ in range(3))
    for start, stop, block, totals in blocks():
        place = slice(indptr[start], indptr[stop])
        n_members = size[totals.indices]
        begin = np.cumsum(n_members) - n_members
        within = np.arange(n_members.sum()) - np.repeat(begin, n_members)
        member_of = order[np.repeat(first[totals.indices], n_members) + within]
        key = np.repeat(entry_rows(totals), n_members) * n_junctions + member_of
        sorting = np.argsort(key, kind="stable")
        key = key[sorting]
        column[place] = member_of[sorting]
        total[place] = np.repeat(totals.data, n_members)[sorting]
        stored = block.data > 0
        at = np.searchsorted(key, (entry_rows(block) * n_junctions + block.indices)[stored])
        count[indptr[start] + at] = block.data[stored]
    return indptr, column, count, total


def _check_size(values: np.ndarray) -> None:
    if len(values) and values.max() > MAX_COUNT:
        raise ValueError(
            f"An ATSE total is {values.max():,.0f}: totals beyond {MAX_COUNT:,} cannot be "
            "represented. These are not reads of single cells; check the units."
        )
