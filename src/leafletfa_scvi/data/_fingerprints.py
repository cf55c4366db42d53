"""A 64-bit hash of what a cell holds, to recognise cells of the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi.data._blocks import row_blocks

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries

_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix64(x: np.ndarray) -> np.ndarray:
    """One step of splitmix64 (Steele, Lea and Flood 2014), a bijection of uint64 arrays."""
    z = x + _STEP
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def cell_fingerprints(entries: ObservedEntries) -> np.ndarray:
    """Hash of the (junction, count, total) triples of each cell.

    The same cell gives the same hash on every machine, whatever its neighbours, the order of its
    entries or the dtype of its counts. All cells without an entry share one.

    Parameters
    ----------
    entries
        Observed entries of B cells.

    Returns
    -------
    numpy.ndarray
        ``(B,)`` uint64.
    """
    indptr = entries.indptr.cpu().numpy()
    out = np.zeros(entries.n_cells, np.uint64)
    for start, stop in row_blocks(indptr):
        first, last = indptr[start], indptr[stop]
        hashed = np.zeros(last - first, np.uint64)
        for part in (entries.column, entries.count, entries.total):
            value = part[first:last].cpu().numpy().astype(np.uint64)
            hashed = mix64(hashed ^ value)
        filled = start + np.flatnonzero(np.diff(indptr[start : stop + 1]))
        if len(filled):
            out[filled] = np.add.reduceat(hashed, indptr[filled] - first)
    return mix64(out)
