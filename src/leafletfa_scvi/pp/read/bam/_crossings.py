"""Counts of reads aligned across given positions, such as exon-intron boundaries."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp.read._file_counts import FileCounts, file_counts
from leafletfa_scvi.pp.read.bam._cells import MISSING, Cells
from leafletfa_scvi.pp.read.bam._distinct import (
    CONTIG_BITS,
    ITSELF,
    STRAND_BITS,
    Distinct,
    identity_of_umi,
    identity_without_umi,
)
from leafletfa_scvi.pp.read.bam._open import open_alignments
from leafletfa_scvi.pp.read.bam._options import LOCI
from leafletfa_scvi.pp.read.bam._strand import PAIRED, strand_of_reads

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from pysam import AlignedSegment

    from leafletfa_scvi.pp.read.bam._options import BamOptions

_DUPLICATE: Final = 0x400
_LEFT_OUT: Final = 0x4 | 0x100 | 0x200 | 0x800
_N_READS: Final = 1 << 17
_SKIPPED, _ALIGNED = 3, (0, 2, 7, 8)


class Positions:
    """Positions between two bases of the genome.

    Parameters
    ----------
    of_contig
        Positions of each contig, by its name: the 1-based base before them.

    Attributes
    ----------
    of_contig
        The same, sorted and distinct.
    digest
        Text that is the same if and only if the positions are.
    """

    def __init__(self, of_contig: Mapping[str, np.ndarray]) -> None:
        self.of_contig = {
            name: np.unique(positions).astype(np.int32)
            for name, positions in sorted(of_contig.items())
        }
        found = hashlib.sha256()
        for name, positions in self.of_contig.items():
            found.update(f"{name}:{len(positions)}\n".encode() + positions.tobytes())
        self.digest: str = found.hexdigest()


class _OutOfOrder(Exception):
    """A read precedes an earlier one, after fragments have been summed."""


def count_crossings(
    path: str | os.PathLike[str],
    cell: str,
    options: BamOptions,
    positions: Positions,
    more: Sequence[str | os.PathLike[str]] = (),
) -> FileCounts:
    """Count the fragments, or the UMIs, of each cell that are aligned across each position.

    A read crosses a position if an aligned block, without an intron, has at least
    ``options.min_anchor`` bases of the genome on both sides of it: as many places of a read as
    those that support a junction with blocks that are long enough. Reads are left out, and mates
    and copies of a UMI count once, as in ``count_bam``.

    Parameters
    ----------
    path, cell, options, more
        As in ``count_bam``.
    positions
        Positions to count.

    Returns
    -------
    FileCounts
        In place of a junction the two bases on either side of a position, ``start`` and
        ``end = start + 1``. Strands are those of the library, if ``options.strand`` is ``"RF"`` or
        ``"FR"``, else ``?``: a read that is not spliced has no other strand. The report counts
        ``crossings_counted``.
    """
    paths = [path, *more]
    if not more:
        try:
            return _count(paths, cell, options, positions, in_order=True)
        except _OutOfOrder:
            pass
    return _count(paths, cell, options, positions, in_order=False)


def _count(
    paths: Sequence[str | os.PathLike[str]],
    cell: str,
    options: BamOptions,
    positions: Positions,
    *,
    in_order: bool,
) -> FileCounts:
    cells, distinct = Cells(options.barcodes), Distinct()
    numbers: dict[str, int] = {}
    for path in paths:
        with open_alignments(path, reference=options.reference, threads=options.threads) as file:
            of_contig = [positions.of_contig.get(name) for name in file.references]
            wanted = [None if one is None else one.tolist() for one in of_contig]
            contigs = [numbers.setdefault(name, len(numbers)) for name in file.references]
            reads = file.fetch(until_eof=True)
            _collect(reads, wanted, contigs, options, cells, distinct, in_order)
    cells.check_suffix(paths[0])
    counts = distinct.finish()
    names: tuple[str, ...] = (cell,)
    cell_of = counts.cell
    if options.cell_tag is not None:
        names, cell_of = cells.sorted(cell_of)
    return file_counts(
        list(numbers),
        counts.contig,
        counts.start,
        counts.end,
        counts.strand,
        names,
        cell_of,
        counts.count,
        report=Counter(crossings_counted=int(counts.count.sum())),
    )


def _collect(
    reads: Iterable[AlignedSegment],
    wanted: Sequence[list[int] | None],
    contigs: Sequence[int],
    options: BamOptions,
    cells: Cells,
    distinct: Distinct,
    in_order: bool,
) -> None:
    """Collect the crossings of all reads; one that crosses no position costs next to nothing."""
    left_out = _LEFT_OUT | (_DUPLICATE if options.skip_duplicates else 0)
    anchor, min_mapq, cell_tag = max(options.min_anchor, 1), options.min_mapq, options.cell_tag
    drop_multimapped = options.multimapped == "drop"
    strand = options.strand if options.strand in ("RF", "FR") else "none"
    strand_of = strand_of_reads(strand, None, regtools=False)
    last_contig = last_position = -1
    number, n_crossing, condense_at = 0, 0, _N_READS
    for read in reads:
        flag = read.flag
        if flag & left_out or read.reference_id < 0:
            continue
        places = wanted[read.reference_id]
        first, end = read.reference_start, read.reference_end
        if places is None or end is None:
            continue
        at = bisect_left(places, first + anchor)
        if at == len(places) or places[at] > end - anchor:
            continue
        crossed = _crossed(read, places, anchor)
        if not crossed or (min_mapq and read.mapping_quality < min_mapq):
            continue
        if drop_multimapped and read.has_tag(LOCI) and read.get_tag(LOCI) != 1:
            continue
        if cell_tag is not None:
            number = cells.of(read, cell_tag)
            if number < 0:
                continue
        identity = _identity(read, options)
        if identity is None:
            continue
        contig = contigs[read.reference_id]
        if first < last_position or contig != last_contig:
            if contig <= last_contig:
                if in_order and distinct.has_counted:
                    raise _OutOfOrder
                in_order = False
            last_contig = contig
        last_position = first
        n_crossing += 1
        if n_crossing > condense_at:
            n_open = distinct.condense((contig, first + 1) if in_order else None)
            condense_at = n_crossing + max(_N_READS, n_open)
        length = 2 << STRAND_BITS | strand_of(read, flag)
        for place in crossed:
            distinct.start.append(place)
            distinct.length.append(length)
            distinct.identity.append(identity)
            distinct.cell_key.append(number << CONTIG_BITS | contig)


def _crossed(read: AlignedSegment, places: list[int], anchor: int) -> list[int]:
    """Return the positions that the blocks of a read cross; blocks end at introns."""
    crossed = []
    begin = end = read.reference_start
    for operation, length in [*(read.cigartuples or ()), (_SKIPPED, 0)]:
        if operation in _ALIGNED:
            end += length
        elif operation == _SKIPPED:
            low = bisect_left(places, begin + anchor)
            crossed += places[low : bisect_right(places, end - anchor, low)]
            begin = end = end + length
    return crossed


def _identity(read: AlignedSegment, options: BamOptions) -> int | None:
    """Return the hash of the fragment or UMI of a read, ``ITSELF``, or None to leave it out."""
    paired = read.flag & PAIRED
    if options.umi_tag is None:
        return hash(read.query_name) if paired else ITSELF
    umi = read.get_tag(options.umi_tag) if read.has_tag(options.umi_tag) else MISSING[1]
    if umi not in MISSING:
        return identity_of_umi(umi)
    if umi not in {"auto": ("",), "drop": (), "keep": MISSING}[options.umi_missing]:
        return None
    return identity_without_umi(read.query_name) if paired else ITSELF
