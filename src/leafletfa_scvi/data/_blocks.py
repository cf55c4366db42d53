"""Rows of sparse matrices: blocks of limited size, and the row of each stored value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp

BLOCK = 1 << 21
"""Default number of values in a block."""


def row_blocks(running: np.ndarray, limit: int | None = None) -> Iterator[tuple[int, int]]:
    """Split rows into blocks of at most ``limit`` values and at least one row.

    Parameters
    ----------
    running
        ``(rows + 1,)`` number of values before each row, like a CSR ``indptr``; starts at 0.
    limit
        Maximum number of values in a block; 2,097,152 by default.

    Yields
    ------
    start, stop
        0-based rows ``start:stop``, which cover all rows in order.
    """
    limit = BLOCK if limit is None else limit
    start, n_rows = 0, len(running) - 1
    while start < n_rows:
        stop = int(np.searchsorted(running, running[start] + limit, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield start, stop
        start = stop


def stored_rows(matrix: sp.csr_array | sp.csr_matrix) -> np.ndarray:
    """Return the row of each stored value of a CSR matrix, int64."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
