"""Runs of rows of bounded size, so that temporaries stay small whatever the data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 21
"""Values handled at a time."""


def row_blocks(running: np.ndarray, limit: int | None = None) -> Iterator[tuple[int, int]]:
    """Split rows into runs of at most ``limit`` values, one row at least.

    Parameters
    ----------
    running
        ``(rows + 1,)`` values before each row, as a CSR ``indptr``; starts at 0.
    limit
        Values in a run; 2,097,152 by default.

    Yields
    ------
    start, stop
        0-based rows ``start:stop``, in order, together all rows.
    """
    limit = BLOCK if limit is None else limit
    start, n_rows = 0, len(running) - 1
    while start < n_rows:
        stop = int(np.searchsorted(running, running[start] + limit, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield start, stop
        start = stop
