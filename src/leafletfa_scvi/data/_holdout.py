"""Hiding observed ATSEs of cells, to see how well a model predicts them."""

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
    """Choose (cell, ATSE) pairs to hide, all junctions of the ATSE in that cell together.

    Each observed pair is drawn independently with probability ``fraction``: a number hashed from
    (seed, cell position, ATSE code) lies below it. A larger fraction hides more of the same pairs.
    A cell that would lose all its pairs keeps one.

    Parameters
    ----------
    entries
        Observed entries of B cells.
    atse_codes
        ``(P,)`` whole numbers, 0-based ATSE of each junction; None makes each entry its own pair.
    fraction
        Share of pairs to hide, ``0 <= fraction < 1``.
    seed
        Non-negative whole number; the same seed gives the same pairs.

    Returns
    -------
    torch.Tensor
        ``(nnz,)`` bool on the device of ``entries``, true where hidden;
        ``entries.keep(~mask)`` is what stays.

    Raises
    ------
    ValueError
        ``fraction`` or ``seed`` is out of range, or there is not one code for each junction.
    """
    fraction = check_inside("fraction", fraction, "[0, 1)")
    seed = check_whole("seed", seed, 0)
    codes = np.arange(entries.n_junctions) if atse_codes is None else atse_codes
    codes = torch.as_tensor(codes, device="cpu").numpy().astype(np.uint64)
    if codes.shape != (entries.n_junctions,):
        raise ValueError(
            f"atse_codes has shape {codes.shape}: expected ({entries.n_junctions},), one code "
            "for each junction."
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
            largest = np.maximum.reduceat(draw, indptr[start + filled] - first)
            kept = draw == np.repeat(largest, n_entries[filled])
            hidden[first:last] = (draw < fraction) & ~kept
    return torch.from_numpy(hidden).to(entries.device)
