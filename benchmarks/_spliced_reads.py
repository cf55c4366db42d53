"""Alignments of reads of spliced transcripts on one contig."""

from __future__ import annotations

import pysam


def spliced_read(
    header: pysam.AlignmentHeader, exons: list[tuple[int, int]], first: int, length: int
) -> pysam.AlignedSegment:
    """Align a read of a transcript, with the tag ``XS`` if it is spliced.

    Parameters
    ----------
    header
        Header of the file, whose first contig has the transcript.
    exons
        First and last base of each exon, 1-based and inclusive, on ``+``.
    first, length
        First base of the read in the transcript, 0-based, and number of its bases.
    """
    read = pysam.AlignedSegment(header)
    read.query_name, read.reference_id, read.mapping_quality = "r", 0, 255
    position, left, cigar = -1, length, []
    for i, (start, end) in enumerate(exons):
        size = end - start + 1
        if first >= size:
            first -= size
            continue
        if position < 0:
            position = start - 1 + first
        else:
            cigar.append((3, start - exons[i - 1][1] - 1))
        aligned = min(left, size - first)
        cigar.append((0, aligned))
        left, first = left - aligned, 0
        if not left:
            break
    read.reference_start, read.cigartuples = position, cigar
    read.query_sequence = "A" * length
    if len(cigar) > 1:
        read.set_tag("XS", "+")
    return read
