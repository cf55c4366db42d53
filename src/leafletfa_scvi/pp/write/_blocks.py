"""Introns as the two blocks of a BED12 line, which stand for the bases on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from leafletfa_scvi.pp._junctions import Introns


@dataclass(frozen=True, eq=False)
class Blocks:
    """Columns of BED12 for J introns; positions are 0-based and half open.

    Attributes
    ----------
    begin, end
        ``(J,)`` int64, ``chromStart`` and ``chromEnd``: begin of the first block and end of the
        second.
    sizes
        ``(J,)`` texts, ``blockSizes``.
    starts
        ``(J,)`` texts, ``blockStarts``, relative to ``begin``.
    """

    begin: np.ndarray
    end: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray


def intron_blocks(introns: Introns, names: pd.Index, anchor: int) -> Blocks:
    """Return the blocks beside each intron, ``anchor`` bases long.

    The first block is shorter at the beginning of a contig.

    Raises
    ------
    ValueError
        If an intron begins at the first base of its contig, so that no block fits before it.
    """
    if (introns.start < 2).any():
        name = names[int(introns.start.argmin())]
        raise ValueError(f"Expected an exon before each intron, found {name!r} at the first base.")
    # The first block ends, and the intron begins, at start - 1.
    left = np.minimum(anchor, introns.start - 1)
    begin = introns.start - 1 - left
    return Blocks(
        begin,
        introns.end + anchor,
        np.array([f"{size},{anchor}" for size in left.tolist()], object),
        np.array([f"0,{start}" for start in (introns.end - begin).tolist()], object),
    )
