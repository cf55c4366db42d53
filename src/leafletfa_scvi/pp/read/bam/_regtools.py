"""Counting as ``regtools junctions extract`` does: no filters, each mate by itself."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from leafletfa_scvi.pp._codes import UNSTRANDED
from leafletfa_scvi.pp.read._file_counts import FileCounts, file_counts
from leafletfa_scvi.pp.read.bam._cells import Cells
from leafletfa_scvi.pp.read.bam._open import open_alignments, reads_of
from leafletfa_scvi.pp.read.bam._strand import strand_of_reads

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from pysam import AlignedSegment

    from leafletfa_scvi.pp.read.bam._options import BamOptions

    _Key = tuple[int, int, int, int]

_SKIP: Final = 3
_ALIGNED: Final = (0, 2, 7, 8)  # M, D, = and X


def introns_of(cigar: list[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    """Introns of a read, and the aligned bases on either side.

    Parameters
    ----------
    cigar
        Operations by pysam's codes, and their lengths.

    Yields
    ------
    tuple
        First and last base, counted from 1 for the read's first aligned base; bases of M, D, =
        and X between the intron and the one before it or the start of the read, and between it
        and the next or the end.
    """
    position = left = right = 0
    intron: tuple[int, int, int] | None = None
    for operation, length in cigar:
        if operation == _SKIP:
            if intron is not None:
                yield (*intron, right)
                left = right
            intron = position + 1, position + length, left
            position += length
            right = 0
        elif operation in _ALIGNED:
            position += length
            if intron is None:
                left += length
            else:
                right += length
    if intron is not None:
        yield (*intron, right)


class _Junctions:
    """Junctions of a file, with their longest anchors and counts of each cell."""

    def __init__(self, path: str | os.PathLike[str], options: BamOptions) -> None:
        self.report: Counter[str] = Counter()
        self.cells = Cells(options.barcodes)
        anchors: dict[_Key, list[int]] = {}
        counts: Counter[tuple[int, _Key]] = Counter()
        with open_alignments(path, reference=options.reference, threads=options.threads) as file:
            self.contigs = file.references
            reads = reads_of(file, str(path), options.region)
            self._count(reads, options, anchors, counts)
        self.cells.check_suffix(path)
        self.cells.add_to(self.report)
        kept = {key: a for key, a in anchors.items() if min(a) >= options.min_anchor}
        self.anchors = kept
        self.counts = {key: n for key, n in counts.items() if key[1] in kept}
        self.report["introns_counted"] = sum(self.counts.values())
        self.report["introns_short_anchor"] = counts.total() - self.report["introns_counted"]

    def _count(
        self,
        reads: Iterable[AlignedSegment],
        options: BamOptions,
        anchors: dict[_Key, list[int]],
        counts: Counter[tuple[int, _Key]],
    ) -> None:
        strand_of = strand_of_reads(options.strand, options.strand_tag, regtools=True)
        report = self.report
        cell = 0
        for read in reads:
            report["reads"] += 1
            cigar = read.cigarstring
            if cigar is None or "N" not in cigar:
                continue
            report["reads_spliced"] += 1
            contig, position = read.reference_id, read.reference_start
            if contig < 0 or position < 0:
                report["reads_without_contig"] += 1
                continue
            if options.cell_tag is not None:
                cell = self.cells.of(read, options.cell_tag)
                if cell < 0:
                    continue
            strand = strand_of(read, read.flag)
            operations = read.cigartuples
            assert operations is not None  # its text has an N
            for start, end, left, right in introns_of(operations):
                if end - start + 1 < options.min_intron:
                    report["introns_too_short"] += 1
                elif end - start + 1 > options.max_intron:
                    report["introns_too_long"] += 1
                else:
                    key = contig, position + start, position + end, strand
                    longest = anchors.setdefault(key, [left, right])
                    longest[0], longest[1] = max(longest[0], left), max(longest[1], right)
                    counts[cell, key] += 1


def count_as_regtools(path: str | os.PathLike[str], cell: str, options: BamOptions) -> FileCounts:
    """Counts of reads by regtools' rules; see ``count_bam``."""
    found = _Junctions(path, options)
    cells = np.array([number for number, _ in found.counts], np.int64)
    keys = np.array([key for _, key in found.counts], np.int64).reshape(-1, 4)
    count = np.array(list(found.counts.values()), np.int64)
    found.report["introns_without_strand"] = int(count[keys[:, 3] == UNSTRANDED].sum())
    names: tuple[str, ...] = (cell,)
    if options.cell_tag is not None:
        names, cells = found.cells.sorted(cells)
    contig, start, end, strand = keys.T
    return file_counts(
        found.contigs, contig, start, end, strand, names, cells, count, report=found.report
    )
