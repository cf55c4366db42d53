"""Lines of BED12 files, and texts that they can hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp._codes import STRANDS
from leafletfa_scvi.pp.write._blocks import intron_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from leafletfa_scvi.pp._junctions import Introns

UNPRINTABLE: Final = r"[\s\x00-\x1f\x7f]+"


def bed_lines(
    place: Introns,
    names: pd.Index,
    labels: Iterable[str],
    scores: Iterable[int],
    colors: Iterable[str],
    anchor: int,
) -> list[str]:
    """Return a line for each intron, which lies between two blocks, in their order.

    Parameters
    ----------
    place
        Coordinates of J introns.
    names
        Their names, for messages.
    labels, scores, colors
        J values of the fields ``name``, ``score`` (0 to 1,000) and ``itemRgb``.
    anchor
        Length of the blocks in bases; the first is shorter at the beginning of a contig.

    Raises
    ------
    ValueError
        If an intron begins at the first base of its contig.
    """
    blocks = intron_blocks(place, names, anchor)
    strands = np.array([".", *STRANDS[1:]], object)[place.strand]
    fields = zip(
        *(place.contig, blocks.begin, blocks.end, labels, scores, strands),
        *(blocks.begin, blocks.end, colors),
        *(["2"] * len(names), blocks.sizes, blocks.starts),
        strict=True,
    )
    return ["\t".join(map(str, line)) + "\n" for line in fields]


def genome_order(place: Introns) -> np.ndarray:
    """Return the positions of introns in order of the genome, ``(J,)``."""
    return np.lexsort((place.strand, place.end, place.start, place.chrom))


def quotable(text: str) -> str:
    """Return text that can stand between double quotes on one line, without what escapes them."""
    return re.sub(UNPRINTABLE, " ", text).replace('"', "'").replace("\\", "/").strip()
