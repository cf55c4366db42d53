"""Hashes of cells and layers, to recognize training cells and unchanged data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from leafletfa_scvi._narrow_stubs import is_sparse
from leafletfa_scvi.data._blocks import row_blocks
from leafletfa_scvi.ops._splitmix import GOLDEN, scramble

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries


def mix64(x: np.ndarray) -> np.ndarray:
    """Apply one step of SplitMix64, a bijection of uint64 arrays."""
    mixed: np.ndarray = scramble(x + GOLDEN)
    return mixed


def cell_fingerprints(entries: ObservedEntries) -> np.ndarray:
    """Hash the (junction, count, total) triples of each cell.

    The hash depends only on these triples: not on the machine, other cells, the order of entries
    or the dtype of counts. Cells without entries have the same hash.

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
    """Find the position of each cell among known cells with the same content.

    If several known cells have the same content, a cell is matched to the one with its name. Cells
    with other names are matched to the remaining ones in order, and to the first one if none
    remains.

    Parameters
    ----------
    names, prints
        ``(B,)`` unique names and fingerprints of the cells to match.
    known_names, known_prints
        ``(C,)`` names and fingerprints of the known cells.

    Returns
    -------
    numpy.ndarray
        ``(B,)`` int64, 0-based; -1 for cells without a match.
    """
    if len(known_names) == 0:
        return np.full(len(names), -1)
    # 1. Same name and content.
    by_name = pd.Index(known_names).get_indexer(pd.Index(names))
    same = prints == known_prints[by_name]
    match = np.where((by_name >= 0) & same, by_name, -1)
    unmatched = np.flatnonzero(match < 0)
    if len(unmatched) == 0:
        return match
    # 2. Same content, among known cells that are still free: the n-th with the n-th.
    is_free = np.ones(len(known_names), bool)
    is_free[match[match >= 0]] = False
    free = np.flatnonzero(is_free)
    position = _numbered(known_prints[free]).get_indexer(_numbered(prints[unmatched]))
    match[unmatched[position >= 0]] = free[position[position >= 0]]
    # 3. Same content as a known cell that is already matched.
    unmatched = unmatched[position < 0]
    distinct, first = np.unique(known_prints, return_index=True)
    position = pd.Index(distinct).get_indexer(pd.Index(prints[unmatched]))
    match[unmatched[position >= 0]] = first[position[position >= 0]]
    return match


def _numbered(prints: np.ndarray) -> pd.MultiIndex:
    """Pair each fingerprint with its number of earlier occurrences."""
    return pd.MultiIndex.from_arrays([prints, pd.Series(prints).groupby(prints).cumcount()])


def layer_digest(layer: Any) -> str | None:
    """Compute the SHA-256 of a layer as stored, several times faster than reading its entries.

    Equal digests mean equal layers; the same values in another layout or order have another
    digest.

    Parameters
    ----------
    layer
        CSR, CSC or numpy array.

    Returns
    -------
    str or None
        None for other types, such as backed layers and masked arrays.
    """
    if is_sparse(layer) and layer.format in ("csr", "csc"):
        arrays = [layer.data, layer.indices, layer.indptr]
    elif isinstance(layer, np.ndarray) and not isinstance(layer, np.ma.MaskedArray):
        arrays = [np.asarray(layer)]
    else:
        return None
    kind = layer.format if is_sparse(layer) else "dense"
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
