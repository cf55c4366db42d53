"""Counting distinct fragments or molecules of each intron, cell by cell, in bounded memory."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np

from leafletfa_scvi.pp._codes import UNSTRANDED

ITSELF: Final = -1
"""Identity of a read without mate or UMI; Python's hash of a text is never -1."""

_HASH: Final = (1 << 62) - 1
_FRAGMENT: Final = 1 << 62

START_BITS, CONTIG_BITS, STRAND_BITS = 32, 32, 2
_LENGTH: Final = (1 << 30) - 1
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_CELL: Final = np.uint64(0xC2B2AE3D27D4EB4F)


def identity_of_umi(umi: object) -> int:
    """Return the identity of reads with a UMI."""
    return hash(str(umi)) & _HASH


def identity_without_umi(name: str | None) -> int:
    """Return the identity of the reads of a fragment beside those of UMIs."""
    return hash(name) & _HASH | _FRAGMENT


class Distinct:
    """Reads that cross introns, of which each fragment or molecule counts once.

    A crossing is one intron of one read. Crossings are distinct by cell, contig, intron, strand
    and identity, but one without a strand is left out if another that is otherwise the same has
    one. If reads come sorted by position, crossings are kept in memory until the reads have
    passed the intron, otherwise to the end: 24 bytes each.

    Attributes
    ----------
    start
        First base (1-based) of the intron of each crossing, appended by the caller, like the
        following attributes.
    length
        ``length << 2 | strand``: number of bases (below 2**28 in BAM) and code of the strand.
    identity
        64-bit hash of the name of the fragment or of the UMI; or ``ITSELF``.
    cell_key
        ``cell << 32 | contig``, by their numbers.
    repeats
        Number of crossings that were left out.
    n_without_umi
        Number of crossings that were counted and are those of single reads or of
        :func:`identity_without_umi`.
    has_counted
        True once crossings have been counted and dropped from memory.
    """

    def __init__(self) -> None:
        self.start, self.length, self.identity = array("i"), array("i"), array("q")
        self.cell_key = array("q")
        self.repeats = self.n_without_umi = 0
        self.has_counted = False
        self._in_memory = (np.empty(0, np.int64),) * 3
        self._counted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def condense(self, position: tuple[int, int] | None) -> int:
        """Leave out repeats, and count introns that the reads have passed.

        Parameters
        ----------
        position
            Contig and 1-based first base of the present read, if reads come in order.

        Returns
        -------
        int
            Number of crossings that stay in memory.
        """
        intron, cell_key, identity = self._unique()
        if position is not None:
            is_open = (cell_key & ((1 << CONTIG_BITS) - 1)) == position[0]
            is_open &= (intron >> START_BITS) >= position[1]
            self._count(intron[~is_open], cell_key[~is_open], identity[~is_open])
            intron, cell_key, identity = intron[is_open], cell_key[is_open], identity[is_open]
            self.has_counted = True
        self._in_memory = intron, cell_key, identity
        return len(intron)

    def finish(self) -> Counts:
        """Return all counts, after the last read."""
        self._count(*self._unique())
        intron, cell_key, count = (np.concatenate(x) for x in zip(*self._counted, strict=True))
        start = intron >> START_BITS
        length = intron >> STRAND_BITS & _LENGTH
        contig = cell_key & ((1 << CONTIG_BITS) - 1)
        cell = cell_key >> CONTIG_BITS
        return Counts(contig, start, start + length - 1, intron & 3, cell, count)

    def _unique(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the crossings in memory without repeats; those of single reads are counted."""
        intron = np.array(self.start, dtype=np.int64) << START_BITS | np.array(self.length)
        new = [intron, np.array(self.cell_key), np.array(self.identity)]
        del self.start[:], self.length[:], self.identity[:], self.cell_key[:]
        single = new[2] == ITSELF
        if single.any():
            self._count(*(values[single] for values in new))
            new = [values[~single] for values in new]
        intron, cell_key, identity = (
            np.concatenate(pair) for pair in zip(self._in_memory, new, strict=True)
        )
        # Sorting by three keys would take three sorts. One sort by a hash of all three brings
        # repeats next to each other; its last two bits are the strand, so that "?" comes first and
        # the crossing with a strand is kept. Neighbors are then compared in full, so that a
        # collision of hashes cannot merge different crossings.
        strand = (intron & 3).astype(np.uint64)
        mixed = identity.view(np.uint64) ^ (cell_key.view(np.uint64) * _MIX_CELL)
        mixed ^= (intron >> STRAND_BITS).view(np.uint64) * _MIX
        order = np.argsort((mixed & ~np.uint64(3)) | strand)
        intron, cell_key, identity = intron[order], cell_key[order], identity[order]
        same = (identity[1:] == identity[:-1]) & (cell_key[1:] == cell_key[:-1])
        same &= (intron[1:] >> STRAND_BITS) == (intron[:-1] >> STRAND_BITS)
        same &= (intron[1:] == intron[:-1]) | ((intron[:-1] & 3) == UNSTRANDED)
        keep = np.ones(len(intron), bool)
        keep[:-1] = ~same
        self.repeats += len(keep) - int(keep.sum())
        return intron[keep], cell_key[keep], identity[keep]

    def _count(self, intron: np.ndarray, cell_key: np.ndarray, identity: np.ndarray) -> None:
        """Add crossings to the counts."""
        self.n_without_umi += int(((identity >= _FRAGMENT) | (identity == ITSELF)).sum())
        order = np.lexsort((intron, cell_key)) if cell_key.any() else np.argsort(intron)
        intron, cell_key = intron[order], cell_key[order]
        first = np.ones(len(intron), bool)
        first[1:] = (intron[1:] != intron[:-1]) | (cell_key[1:] != cell_key[:-1])
        first = np.flatnonzero(first)
        self._counted.append((intron[first], cell_key[first], np.diff(first, append=len(intron))))


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of introns; a junction and cell may have several rows.

    Attributes
    ----------
    contig, start, end, strand
        Number of contig, first and last base (1-based, inclusive), code of the strand.
    cell, count
        Number of the cell, and its count.
    """

    contig: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    cell: np.ndarray
    count: np.ndarray
