"""Counting distinct fragments or molecules of each intron, cell by cell, in bounded memory."""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

ITSELF: Final = -1
"""Identity of a read that is no part of a pair or molecule; no text has it as its hash."""

STRAND_BITS: Final = 2
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_STRANDS: Final = np.uint64(3)


class Distinct:
    """Sightings of introns by reads; those of the same fragment or molecule count once.

    A sighting is an intron with the read's strand, a cell and an identity: the hash of the
    fragment's name or of the UMI, 64 bits wide. Distinct are cell, intron, strand and identity,
    but a sighting without a strand is left out where another of the same cell, intron and
    identity has one. Sightings stay in memory only until the reads have passed the intron, if
    reads come in the order of their positions, else to the end: 20 bytes each.

    Attributes
    ----------
    contig, start, end
        Of each intron, by its number: contig's number, first and last base (1-based, inclusive).
    repeats
        Sightings that were left out.
    forgotten
        Whether sightings have been forgotten.
    """

    def __init__(self, limit: int = 1 << 20) -> None:
        self.contig, self.start, self.end = array("i"), array("i"), array("i")
        self.repeats = 0
        self.forgotten = False
        self.key, self.cell, self.identity = array("q"), array("i"), array("q")
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._limit = self._room = limit
        self._kept = _empty()
        self._counted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def number(self, intron: tuple[int, int, int]) -> int:
        """Number of an intron (contig, start, end)."""
        number = self._numbers.get(intron)
        if number is None:
            number = self._numbers[intron] = len(self.start)
            self.contig.append(intron[0])
            self.start.append(intron[1])
            self.end.append(intron[2])
        return number

    @property
    def full(self) -> bool:
        """Whether it is time for :meth:`condense`."""
        return len(self.key) >= self._room

    def condense(self, position: tuple[int, int] | None) -> None:
        """Leave out repeats, and count and forget introns that the reads have passed.

        Parameters
        ----------
        position
            Contig and 1-based first base of the present read, if reads come in order.
        """
        key, cell, identity = self._unique()
        if position is None:
            self._kept = key, cell, identity
        else:
            intron = key >> STRAND_BITS
            open_ = np.array(self.contig)[intron] == position[0]
            open_ &= np.array(self.start)[intron] >= position[1]
            self._count(key[~open_], cell[~open_])
            self._kept = key[open_], cell[open_], identity[open_]
            self.forgotten = True
        self._room = max(self._limit, len(self._kept[0]))

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Number of intron, code of strand, cell and count; a pair may have several rows."""
        key, cell, _ = self._unique()
        self._count(key, cell)
        self._kept = _empty()
        key, cell, count = (np.concatenate(parts) for parts in zip(*self._counted, strict=True))
        return key >> STRAND_BITS, key & 3, cell, count

    def _unique(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All sightings in memory but repeats; those of single reads are counted at once."""
        key, cell, identity = (
            np.concatenate([kept, np.array(new, dtype=kept.dtype)])
            for kept, new in zip(self._kept, (self.key, self.cell, self.identity), strict=True)
        )
        for values in (self.key, self.cell, self.identity):
            del values[:]
        single = identity == ITSELF
        if single.any():
            self._count(key[single], cell[single])
            key, cell, identity = key[~single], cell[~single], identity[~single]
        if not len(key):
            return key, cell, identity

        # One sort by a number that mixes all, with the strand last; ties are then checked.
        place = (cell.astype(np.uint64) << np.uint64(40)) ^ (key >> STRAND_BITS).astype(np.uint64)
        mixed = (identity.view(np.uint64) ^ (place * _MIX)) | _STRANDS
        order = np.argsort(mixed ^ _STRANDS ^ (key & 3).astype(np.uint64))
        key, cell, identity = key[order], cell[order], identity[order]
        same = (identity[1:] == identity[:-1]) & (cell[1:] == cell[:-1])
        same &= (key[1:] >> STRAND_BITS) == (key[:-1] >> STRAND_BITS)
        keep = np.ones(len(key), bool)
        keep[:-1] = ~(same & ((key[1:] == key[:-1]) | (key[:-1] & 3 == 0)))
        self.repeats += len(key) - int(keep.sum())
        return key[keep], cell[keep], identity[keep]

    def _count(self, key: np.ndarray, cell: np.ndarray) -> None:
        """Add sightings to the counts."""
        order = np.lexsort((key, cell)) if len(cell) and cell.any() else np.argsort(key)
        key, cell = key[order], cell[order]
        new = np.ones(len(key), bool)
        new[1:] = (key[1:] != key[:-1]) | (cell[1:] != cell[:-1])
        first = np.flatnonzero(new)
        count = np.diff(first, append=len(key))
        self._counted.append((key[first], cell[first], count))


def _empty() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64)
