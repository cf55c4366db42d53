"""Hashes of what cells and layers hold, to recognise training cells and unchanged data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

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


def match_cells(
    names: np.ndarray, prints: np.ndarray, known_names: np.ndarray, known_prints: np.ndarray
) -> np.ndarray:
    """Position of each cell among known cells of the same content.

    Where several known cells share a content, a cell is given the one of its name; cells of other
    names are given those that are left, in order, and the first one where none is.

    Parameters
    ----------
    names, prints
        ``(B,)`` unique names and fingerprints of the cells to look up.
    known_names, known_prints
        ``(C,)`` of the known cells.

    Returns
    -------
    numpy.ndarray
        ``(B,)`` int64, 0-based; -1 for a cell of which there is no known one.
    """
    at = pd.Index(known_names).get_indexer(names)
    same = prints == known_prints[at]
    found = np.where((at >= 0) & same, at, -1)
    rest = np.flatnonzero(found < 0)
    if len(rest) == 0:
        return found
    free = np.ones(len(known_names), bool)
    free[found[found >= 0]] = False
    free = np.flatnonzero(free)
    left = _numbered(known_prints[free])
    place = left.get_indexer(_numbered(prints[rest]))
    found[rest[place >= 0]] = free[place[place >= 0]]
    rest = rest[place < 0]
    distinct, first = np.unique(known_prints, return_index=True)
    place = pd.Index(distinct).get_indexer(prints[rest])
    found[rest[place >= 0]] = first[place[place >= 0]]
    return found


def _numbered(prints: np.ndarray) -> pd.MultiIndex:
    """Each fingerprint with how often it came before."""
    return pd.MultiIndex.from_arrays([prints, pd.Series(prints).groupby(prints).cumcount()])


def layer_digest(layer: Any) -> str | None:
    """SHA-256 of all that a layer in memory stores, several times faster than reading its entries.

    Equal digests mean equal layers; the same values stored in another layout or order have
    another one.

    Parameters
    ----------
    layer
        CSR, CSC or numpy array.

    Returns
    -------
    str or None
        None for other kinds, such as layers on disk and masked arrays.
    """
    if sp.issparse(layer) and layer.format in ("csr", "csc"):
        arrays = [layer.data, layer.indices, layer.indptr]
    elif isinstance(layer, np.ndarray) and not isinstance(layer, np.ma.MaskedArray):
        arrays = [np.asarray(layer)]
    else:
        return None
    kind = layer.format if sp.issparse(layer) else "dense"
    digest = hashlib.sha256(f"{kind} {layer.shape}".encode(), usedforsecurity=False)
    for array in arrays:
        if array.dtype.hasobject:
            return None
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        digest.update(f" {array.shape} {array.dtype.str} {order}".encode())
        plain = array.T if order == "F" else array
        if plain.flags.c_contiguous:
            digest.update(plain.reshape(-1).view(np.uint8))
        else:
            for row in plain:
                digest.update(np.ascontiguousarray(row).data)
    return digest.hexdigest()
