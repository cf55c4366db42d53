"""Masks of (cell, ATSE) pairs that are held out from training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from leafletfa_scvi._arguments import check_inside, check_whole
from leafletfa_scvi.data._blocks import row_blocks
from leafletfa_scvi.data._fingerprints import mix64

if TYPE_CHECKING:
    from leafletfa_scvi.ops import ObservedEntries


def holdout_mask(
    entries: ObservedEntries,
    atse_codes: np.ndarray | torch.Tensor | None,
    fraction: float,
    seed: int = 0,
) -> torch.Tensor:
    """Select (cell, ATSE) pairs to hide, with all junctions of the ATSE in the cell.

    Each observed pair is hidden with probability ``fraction``: if a number in [0, 1) hashed from
    (seed, position of the cell, ATSE code) is below it. A larger fraction therefore hides a
    superset of the pairs. A cell that would lose all its pairs keeps one.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    atse_codes
        ``(P,)`` integers, 0-based ATSE of each junction. If None, entries are hidden
        independently.
    fraction
        Share of pairs to hide, in [0, 1).
    seed
        Non-negative integer; the same seed hides the same pairs.

    Returns
    -------
    torch.Tensor
        ``(nnz,)`` bool on the device of ``entries``, True for hidden entries;
        ``entries.keep(~mask)`` returns the others.

    Raises
    ------
    ValueError
        ``fraction`` or ``seed`` is out of range, or ``atse_codes`` has another length than P.
    """
    fraction = check_inside("fraction", fraction, "[0, 1)")
    seed = check_whole("seed", seed, 0)
    codes = np.arange(entries.n_junctions) if atse_codes is None else atse_codes
    codes = torch.as_tensor(codes, device="cpu").numpy().astype(np.uint64)
    if codes.shape != (entries.n_junctions,):
        raise ValueError(
            f"Expected atse_codes of shape ({entries.n_junctions},), one code per junction, found "
            f"{codes.shape}."
        )
    salt = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    indptr, column = entries.indptr.cpu().numpy(), entries.column.cpu().numpy()
    hidden = np.zeros(entries.n_entries, bool)
    for start, stop in row_blocks(indptr):
        first, last = indptr[start], indptr[stop]
        n_entries = np.diff(indptr[start : stop + 1])
        cells = mix64(mix64(salt) ^ np.arange(start, stop, dtype=np.uint64))
        bits = mix64(np.repeat(cells, n_entries) ^ codes[column[first:last]])
        draw = (bits >> np.uint64(11)) * 2.0**-53
        filled = np.flatnonzero(n_entries)
        if len(filled):
            # The pair with the largest number always stays, so that no cell loses all of them.
            largest = np.maximum.reduceat(draw, indptr[start + filled] - first)
            stays = draw == np.repeat(largest, n_entries[filled])
            hidden[first:last] = (draw < fraction) & ~stays
    return torch.from_numpy(hidden).to(entries.device)
