"""How much each junction uses its splice sites, and a filter on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from leafletfa_scvi._arguments import check_inside
from leafletfa_scvi.pp._codes import REVERSE
from leafletfa_scvi.pp._junctions import introns, read_numbers, splice_sites

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def splice_site_usage(junctions: pd.DataFrame, reads: ArrayLike) -> pd.DataFrame:
    """Share of the reads at its donor, and at its acceptor, that each junction has.

    The donor (5' splice site) is the first base of the intron on ``+`` and the last on ``-``.
    Where the strand is ``?``, the left end of the intron counts as the donor. Sites of different
    strands are different sites, ``?`` included.

    Parameters
    ----------
    junctions
        J rows in any order: ``chrom``; ``start`` and ``end``, the first and last base of the
        intron, 1-based; ``strand``, one of ``+``, ``-`` and ``?``.
    reads
        ``(J,)`` reads of each junction, summed over cells.

    Returns
    -------
    DataFrame
        ``(J, 2)`` float64 columns ``usage_5ss`` and ``usage_3ss`` from 0 to 1, index of
        ``junctions``; 0 at sites without any read.

    Raises
    ------
    ValueError
        A column is missing or holds something else than stated, or ``reads`` are not J finite
        numbers of at least 0, or a Series of another index.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"chrom": "chr1", "start": [11, 11, 31], "end": [20, 40, 40], "strand": "-"}
    ... )
    >>> splice_site_usage(table, [6, 2, 2])
       usage_5ss  usage_3ss
    0        1.0       0.75
    1        0.5       0.25
    2        0.5       1.00
    """
    table = introns(junctions)
    values = read_numbers(reads, junctions)
    usage = []
    for site in splice_sites(table.place, table.start, table.end):
        total = np.bincount(site, values)[site]
        usage.append(np.divide(values, total, out=np.zeros(len(values)), where=total > 0))
    left, right = usage
    reverse = table.strand == REVERSE
    return pd.DataFrame(
        {
            "usage_5ss": np.where(reverse, right, left),
            "usage_3ss": np.where(reverse, left, right),
        },
        index=junctions.index,
    )


def filter_usage(
    junctions: pd.DataFrame, reads: ArrayLike, min_usage: float = 0.01
) -> tuple[np.ndarray, dict[str, int]]:
    """Which junctions have at least a share of the reads at both of their splice sites.

    Usages are computed once, on the junctions given: a junction that falls out still counts in
    the totals of its sites, as in ATSEmapper. What is left may fall apart, and junctions may stay
    behind alone: find the ATSEs afterwards, with :func:`find_atses`.

    Parameters
    ----------
    junctions, reads
        As for :func:`splice_site_usage`.
    min_usage
        Least usage at the 5' and at the 3' splice site, from 0 (keeps all) to 1.

    Returns
    -------
    mask
        ``(J,)`` bool, true for junctions to keep.
    report
        ``junctions``, ``junctions_kept``, and of those that fall out
        ``junctions_below_usage_5ss`` and ``junctions_below_usage_3ss`` (some in both).

    Raises
    ------
    ValueError
        As :func:`splice_site_usage`, or ``min_usage`` is not between 0 and 1.
    """
    check_inside("min_usage", min_usage, "[0, 1]")
    usage = splice_site_usage(junctions, reads)
    below = usage.to_numpy() < min_usage
    mask = ~below.any(axis=1)
    return mask, {
        "junctions": len(mask),
        "junctions_kept": int(mask.sum()),
        "junctions_below_usage_5ss": int(below[:, 0].sum()),
        "junctions_below_usage_3ss": int(below[:, 1].sum()),
    }
