"""From junction counts to the counts and totals of all observed entries."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from leafletfa_scvi.data._blocks import BLOCK, row_blocks
from leafletfa_scvi.data._layers import MAX_COUNT


def expand_counts(
    counts: sp.csr_matrix | sp.csr_array, atse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Counts y and totals n of every observed entry, n > 0, block of cells by block of cells.

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

    length = np.zeros(n_cells, np.int64)
    columns, counted, totals = [], [], []
    for start, stop in row_blocks(counts.indptr, BLOCK // 2):
        block = sp.csr_array(counts[start:stop])
        _check_size(block.data)
        block = block.astype(np.int64)
        pairs = block @ member
        pairs.eliminate_zeros()
        _check_size(pairs.data)
        n_members = size[pairs.indices]
        begin = np.cumsum(n_members) - n_members
        within = np.arange(n_members.sum()) - np.repeat(begin, n_members)
        column = order[np.repeat(first[pairs.indices], n_members) + within]
        row = np.repeat(_rows(pairs), n_members)
        key = row * n_junctions + column
        sorting = np.argsort(key, kind="stable")
        key = key[sorting]
        stored = block.data > 0
        count = np.zeros(len(key), np.int32)
        place = np.searchsorted(key, (_rows(block) * n_junctions + block.indices)[stored])
        count[place] = block.data[stored]
        columns.append(column[sorting].astype(np.int32))
        counted.append(count)
        totals.append(np.repeat(pairs.data, n_members)[sorting].astype(np.int32))
        length[start:stop] = np.bincount(row, minlength=stop - start)
    indptr = np.concatenate([[0], np.cumsum(length)])
    return indptr, _joined(columns), _joined(counted), _joined(totals)


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    """One array; the pieces are given up, so that memory holds little more than it."""
    joined = np.concatenate([np.empty(0, np.int32), *pieces])
    pieces.clear()
    return joined


def _check_size(values: np.ndarray) -> None:
    if len(values) and values.max() > MAX_COUNT:
        raise ValueError(
            f"An ATSE total is {values.max():,.0f}: totals beyond {MAX_COUNT:,} cannot be "
            "represented. These are not reads of single cells; check the units."
        )


def _rows(matrix: sp.csr_array) -> np.ndarray:
    """Row of each stored value, int64."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
