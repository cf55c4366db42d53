"""Ranges of numbers and overlaps of intervals, for all at once."""

from __future__ import annotations

import numpy as np


def ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate the whole numbers of several ranges.

    Parameters
    ----------
    begin, end
        ``(R,)`` first number, and the number after the last.

    Returns
    -------
    owner
        Range of each number, from 0.
    number
        The numbers.

    Examples
    --------
    >>> ranges(np.array([3, 7]), np.array([5, 8]))
    (array([0, 0, 1]), array([3, 4, 7]))
    """
    size = np.maximum(end - begin, 0)
    owner = np.repeat(np.arange(len(size)), size)
    return owner, np.arange(len(owner)) - (np.cumsum(size) - size)[owner] + begin[owner]


def overlapping(
    start: np.ndarray, end: np.ndarray, query_start: np.ndarray, query_end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of a query and an interval that have a position in common.

    Parameters
    ----------
    start, end
        ``(N,)`` first and last position of intervals. Add a multiple of a number above all
        positions to keep contigs or strands apart.
    query_start, query_end
        ``(Q,)`` first and last position of queries.

    Returns
    -------
    query, interval
        Numbers of both, from 0.
    """
    order = np.argsort(start, kind="stable")
    # Of the intervals that start before a query ends, those before the first whose running
    # maximum of ends reaches the query all end before it.
    reach = np.maximum.accumulate(end[order])
    query, at = ranges(
        np.searchsorted(reach, query_start),
        np.searchsorted(start[order], query_end, side="right"),
    )
    interval = order[at]
    is_overlap = end[interval] >= query_start[query]
    return query[is_overlap], interval[is_overlap]
