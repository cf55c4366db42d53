"""Splice sites of junctions, lifted to another genome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leafletfa_scvi.pp._junctions import Introns
    from leafletfa_scvi.pp.map._chain import Chain

NO_STRAND: Final = "strand unknown"
NO_CONTIG: Final = "contig not in the chain file"
SEVERAL_PLACES: Final = "splice site aligned to several places"
NO_DONOR: Final = "5' splice site not aligned"
NO_ACCEPTOR: Final = "3' splice site not aligned"
APART: Final = "splice sites on different contigs or strands"

_EXON_5, _INTRON_5, _INTRON_3, _EXON_3 = range(4)


def lift_sites(
    junctions: Introns, chain: Chain, contigs: Mapping[str, str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Lift the two splice sites of each junction.

    A splice site lies between two bases, the last of the exon and the first of the intron (5'
    site), or the last of the intron and the first of the exon. Both are lifted, and each says
    where the site is: an exon is the better conserved, but where one of its last bases was lost,
    the intron is still aligned, and where bases were inserted, the two differ and both
    possibilities are kept. A junction of the other genome has to be exactly there, or within the
    tolerance.

    Parameters
    ----------
    junctions
        J introns.
    chain
        Alignment to the other genome.
    contigs
        Name in the chain file of each contig that it has.

    Returns
    -------
    lifted
        Possible places of junctions: ``junction`` (0-based), ``contig`` (position in
        ``chain.to_contigs``), ``strand`` (as in ``STRANDS``), and ``donor`` and ``acceptor``, the
        first and last base of the intron on its strand, 1-based.
    reason
        ``(J,)`` object, why there is none; None if there is.
    """
    forward = np.where(junctions.strand == REVERSE, -1, 1)
    five = np.where(forward > 0, junctions.start, junctions.end)
    three = np.where(forward > 0, junctions.end, junctions.start)
    base = np.stack([five - forward, five, three, three + forward], 1)
    n_places, contig, position = (np.zeros(base.shape, np.int64) for _ in range(3))
    orientation = np.ones(base.shape, np.int64)
    known = np.zeros(len(base), bool)
    for code, name in enumerate(junctions.chroms):
        rows = np.flatnonzero(junctions.chrom == code)
        if name not in contigs or not len(rows):
            continue
        known[rows] = True
        found = chain.lift(contigs[name], base[rows].ravel())
        for values, of_contig in zip(
            (n_places, contig, position, orientation), found, strict=True
        ):
            values[rows] = of_contig.reshape(-1, 4)

    direction = forward[:, None] * orientation
    # The intron continues an exon in its own direction, so its end is one base from the exon's.
    site = position + direction * np.array([1, 0, 0, -1])
    aligned = n_places == 1
    parts = []
    usable = (junctions.strand != UNSTRANDED) & ~(n_places > 1).any(1)
    for i in (_EXON_5, _INTRON_5):
        for j in (_INTRON_3, _EXON_3):
            same = (contig[:, i] == contig[:, j]) & (direction[:, i] == direction[:, j])
            rows = np.flatnonzero(usable & aligned[:, i] & aligned[:, j] & same)
            columns = {
                "junction": rows,
                "contig": contig[rows, i],
                "strand": np.where(direction[rows, i] > 0, FORWARD, REVERSE),
                "donor": site[rows, i],
                "acceptor": site[rows, j],
            }
            parts.append(pd.DataFrame(columns))
    lifted = pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)

    reason = np.full(len(base), None, object)
    reason[:] = APART
    reason[~aligned[:, [_INTRON_3, _EXON_3]].any(1)] = NO_ACCEPTOR
    reason[~aligned[:, [_EXON_5, _INTRON_5]].any(1)] = NO_DONOR
    reason[(n_places > 1).any(1)] = SEVERAL_PLACES
    reason[~known] = NO_CONTIG
    reason[junctions.strand == UNSTRANDED] = NO_STRAND
    reason[lifted["junction"].to_numpy()] = None
    return lifted, reason
