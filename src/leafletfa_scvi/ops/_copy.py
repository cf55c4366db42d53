"""The numba kernel that copies the entries of selected cells."""

from __future__ import annotations

from numba import njit, prange


@njit(parallel=True, cache=True)
def copy_rows(start, indptr, column, count, total, columns, counts, totals):
    """Fill ``indptr[i]:indptr[i + 1]`` of the last three from ``start[i]`` of the other arrays."""
    for i in prange(start.shape[0]):
        first, last = indptr[i], indptr[i + 1]
        for e in range(last - first):
            columns[first + e] = column[start[i] + e]
            counts[first + e] = count[start[i] + e]
            totals[first + e] = total[start[i] + e]
