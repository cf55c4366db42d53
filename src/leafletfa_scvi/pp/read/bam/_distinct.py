"""Counting distinct fragments or molecules of each intron, cell by cell, in bounded memory."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np

from leafletfa_scvi.pp._codes import UNSTRANDED

ITSELF: Final = -1
"""Identity of a read that is no part of a pair or molecule; no text has it as its hash."""

START_BITS, PLACE_BITS, STRAND_BITS = 32, 32, 2
_LENGTH: Final = (1 << 30) - 1
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_PLACE: Final = np.uint64(0xC2B2AE3D27D4EB4F)


class Distinct:
    """Sightings of introns by reads; those of the same fragment or molecule count once.

    Distinct are cell, contig, intron, strand and identity, but a sighting without a strand is
    left out where another that is otherwise the same has one. Sightings stay in memory only
    until the reads have passed the intron, if reads come in the order of their positions, else
    to the end: 24 bytes each.

    Attributes
    ----------
    start
        To be filled with the first base (1-based) of the intron of each sighting.
    length
        To be filled likewise with ``length << 2 | strand``: number of bases (below 2**28, as the
        format has it) and code of the strand.
    identity
        To be filled likewise: hash of the fragment's name or of the UMI, 64 bits; or ``ITSELF``.
    place
        To be filled likewise with ``cell << 32 | contig``, by their numbers.
    repeats
        Sightings that were left out.
    forgotten
        Whether sightings have been forgotten.
    """

    def __init__(self) -> None:
        self.start, self.length, self.identity = array("i"), array("i"), array("q")
        self.place = array("q")
        self.repeats = 0
        self.forgotten = False
        self._kept = (np.empty(0, np.int64),) * 3
        self._counted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def condense(self, position: tuple[int, int] | None) -> int:
        """Leave out repeats, and count and forget introns that the reads have passed.

        Parameters
        ----------
        position
            Contig and 1-based first base of the present read, if reads come in order.

        Returns
        -------
        int
            Sightings that stay in memory.
        """
        intron, place, identity = self._unique()
        if position is not None:
            open_ = (place & ((1 << PLACE_BITS) - 1)) == position[0]
            open_ &= (intron >> START_BITS) >= position[1]
            self._count(intron[~open_], place[~open_])
            intron, place, identity = intron[open_], place[open_], identity[open_]
            self.forgotten = True
        self._kept = intron, place, identity
        return len(intron)

    def finish(self) -> Counts:
        """All counts, once there are no more reads."""
        intron, place, _ = self._unique()
        self._count(intron, place)
        intron, place, count = (np.concatenate(x) for x in zip(*self._counted, strict=True))
        start = intron >> START_BITS
        length = intron >> STRAND_BITS & _LENGTH
        contig = place & ((1 << PLACE_BITS) - 1)
        cell = place >> PLACE_BITS
        return Counts(contig, start, start + length - 1, intron & 3, cell, count)

    def _unique(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All sightings in memory but repeats; those of single reads are counted at once."""
        intron = np.array(self.start, dtype=np.int64) << START_BITS | np.array(self.length)
        new = [intron, np.array(self.place), np.array(self.identity)]
        del self.start[:], self.length[:], self.identity[:], self.place[:]
        single = new[2] == ITSELF
        if single.any():
            self._count(new[0][single], new[1][single])
            new = [values[~single] for values in new]
        intron, place, identity = (
            np.concatenate(pair) for pair in zip(self._kept, new, strict=True)
        )
        # One sort by a number that mixes all, with the strand last, "?" first; then ties are
        # looked at in full.
        strand = (intron & 3).astype(np.uint64)
        mixed = identity.view(np.uint64) ^ (place.view(np.uint64) * _MIX_PLACE)
        mixed ^= (intron >> STRAND_BITS).view(np.uint64) * _MIX
        order = np.argsort((mixed & ~np.uint64(3)) | strand)
        intron, place, identity = intron[order], place[order], identity[order]
        same = (identity[1:] == identity[:-1]) & (place[1:] == place[:-1])
        same &= (intron[1:] >> STRAND_BITS) == (intron[:-1] >> STRAND_BITS)
        same &= (intron[1:] == intron[:-1]) | ((intron[:-1] & 3) == UNSTRANDED)
        keep = np.ones(len(intron), bool)
        keep[:-1] = ~same
        self.repeats += len(keep) - int(keep.sum())
        return intron[keep], place[keep], identity[keep]

    def _count(self, intron: np.ndarray, place: np.ndarray) -> None:
        """Add sightings to the counts."""
        order = np.lexsort((intron, place)) if place.any() else np.argsort(intron)
        intron, place = intron[order], place[order]
        first = np.ones(len(intron), bool)
        first[1:] = (intron[1:] != intron[:-1]) | (place[1:] != place[:-1])
        first = np.flatnonzero(first)
        self._counted.append((intron[first], place[first], np.diff(first, append=len(intron))))


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of introns; a junction and cell may have several.

    Attributes
    ----------
    contig, start, end, strand
        Number of contig, first and last base (1-based, inclusive), code of the strand.
    cell, count
        Number of the cell, and how many it has.
    """

    contig: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    cell: np.ndarray
    count: np.ndarray
