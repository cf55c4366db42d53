"""Rows of sparse matrices: blocks of bounded size, and the row of each stored value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp

BLOCK = 1 << 21
"""Maximum number of values in a block, so that temporaries stay small for any data set."""


def row_blocks(running: np.ndarray, limit: int | None = None) -> Iterator[tuple[int, int]]:
    """Split rows into blocks of at most ``limit`` values, or one row.

    Parameters
    ----------
    running
        ``(rows + 1,)`` number of values before each row, as a CSR ``indptr``; starts at 0.
    limit
        Maximum number of values in a block. If None, 2,097,152.

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


def entry_rows(matrix: sp.csr_array | sp.csr_matrix) -> np.ndarray:
    """Return the row of each stored value, int64."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
