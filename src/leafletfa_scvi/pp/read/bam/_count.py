"""Counts of introns in the spliced reads of a BAM or CRAM file."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Final

from leafletfa_scvi.pp._codes import UNSTRANDED
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
from leafletfa_scvi.pp.read.bam._microexons import reach_over_microexons
from leafletfa_scvi.pp.read.bam._open import open_alignments, reads_of
from leafletfa_scvi.pp.read.bam._options import LOCI
from leafletfa_scvi.pp.read.bam._regtools import count_as_regtools, introns_of
from leafletfa_scvi.pp.read.bam._strand import strand_of_reads

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from pysam import AlignedSegment

    from leafletfa_scvi.pp.read.bam._microexons import Intron
    from leafletfa_scvi.pp.read.bam._options import BamOptions

PAIRED, SKIP, DUPLICATE = 0x1, 0x4 | 0x100 | 0x200 | 0x800, 0x400
_REASONS: Final = {
    "reads_unmapped": 0x4,
    "reads_secondary": 0x100,
    "reads_supplementary": 0x800,
    "reads_qc_fail": 0x200,
    "reads_duplicate": DUPLICATE,
}
_NO_TAG: Final = "-"
"""Value that stands for a missing UMI tag."""
_N_PEEKED: Final = 10_000
_MATCH: Final = 0  # code of M in a CIGAR
_N_READS: Final = 1 << 17


class _OutOfOrder(Exception):
    """A read precedes an earlier one, after fragments have been summed."""


def count_bam(
    path: str | os.PathLike[str],
    cell: str,
    options: BamOptions,
    more: Sequence[str | os.PathLike[str]] = (),
) -> FileCounts:
    """Count the fragments, or the UMIs, of each cell that support each intron.

    Secondary and supplementary alignments, reads that fail quality control, unmapped ones and,
    unless ``options.multimapped`` keeps them, those of several loci are left out. A read supports
    the introns (N in its CIGAR) of the lengths asked for that have anchors on both sides, which
    reach over annotated microexons (``options.microexons``). The
    mates of a pair count once for an intron, and so, if UMIs are counted, do all reads of a cell
    with the same UMI, in whichever of the files. Of these, one that tells the intron's strand
    goes before one that does not. The records may be in any order; memory is bounded by the
    output and the reads at one position if a single file is sorted by position, and otherwise
    takes another 24 bytes for each intron of a fragment or UMI. Names and UMIs are distinguished
    by 64-bit hashes.

    Parameters
    ----------
    path
        SAM, BAM or CRAM file; it needs no index.
    cell
        Name of the cell, if ``options.cell_tag`` is None.
    options
        What to count.
    more
        Further files of the same sample, such as lanes. Their contigs may be in another order.

    Returns
    -------
    FileCounts
        Cells are ``[cell]``, or the barcodes in the order of ``options.barcodes``, or all
        barcodes of the reads with an intron to count, sorted. Strands are ``?`` if a read
        does not tell. The report counts

        - of all records ``reads``, and the first that applies of ``reads_unmapped``,
          ``reads_secondary``, ``reads_supplementary``, ``reads_qc_fail`` and ``reads_duplicate``
          (marked, left out or not);
        - ``reads_spliced``, with an N in their CIGAR and not left out by their flag; of these,
          those left out: the first that applies of ``reads_low_mapq``, ``reads_multimapped``
          (``options.multimapped``), ``reads_without_barcode``,
          ``reads_other_barcode`` and ``reads_without_umi``; and of those that are not,
          ``reads_without_umi_counted``, counted as fragments (``options.umi_missing``);
        - of the introns of the others, those left out: the first that applies of
          ``introns_too_short``, ``introns_too_long`` and ``introns_short_anchor``; and then
          ``mates_of_one_fragment`` or, if UMIs are counted, ``umi_copies``;
        - ``introns_beside_microexons``, those that have an anchor only because it reaches over a
          microexon, before mates or copies are left out;
        - what remains, ``introns_counted``, and of it ``introns_without_strand`` and, if UMIs are
          counted, ``introns_counted_by_umi`` and ``introns_counted_by_fragment`` (without UMI);
        - ``reads_with_unused_barcode``, the reads with a ``CB`` tag among the first 10,000, if
          ``options.cell_tag`` is None and several barcodes occur.

        Keys of things that do not occur may be missing. With ``options.regtools`` the keys are
        ``reads``, ``reads_spliced``, ``reads_without_barcode``, ``reads_other_barcode``,
        ``introns_too_short``, ``introns_too_long``, ``introns_short_anchor`` (of junctions left
        out), ``introns_counted`` and ``introns_without_strand``.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is empty, truncated, damaged or in another format, or its barcodes and
        ``options.barcodes`` differ in their suffix.
    """
    if options.regtools:
        return count_as_regtools(path, cell, options)
    paths = [path, *more]
    if not more:
        try:
            return _Counting(paths, options, in_order=True).file_counts(cell)
        except _OutOfOrder:
            pass
    return _Counting(paths, options, in_order=False).file_counts(cell)


class _Counting:
    """Counts of one pass over the files."""

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], options: BamOptions, *, in_order: bool
    ) -> None:
        self.options = options
        self.report: Counter[str] = Counter()
        self.cells = Cells(options.barcodes)
        self.distinct = Distinct()
        self.flags = [0] * (1 << 16)
        self.numbers: dict[str, int] = {}  # of contigs, over all files
        for path in paths:
            with open_alignments(
                path, reference=options.reference, threads=options.threads
            ) as file:
                numbers = [self.numbers.setdefault(c, len(self.numbers)) for c in file.references]
                microexons = options.microexons
                sites = {} if microexons is None else microexons.on(file.references)
                self.sites = {self.numbers[name]: found for name, found in sites.items()}
                reads = reads_of(file, str(path), options.region)
                peeked = self._peek(reads) if options.cell_tag is None else iter(())
                self._count((peeked, reads), numbers, in_order)
        _count_flags(self.flags, self.report)
        self.cells.add_to(self.report)
        self.cells.check_suffix(paths[0])

    def _peek(self, reads: Iterator[AlignedSegment]) -> Iterator[AlignedSegment]:
        """Yield the first reads, and note barcodes that are not used."""
        n_reads, barcodes = 0, set()
        for read in itertools.islice(reads, _N_PEEKED):
            if read.has_tag("CB"):
                n_reads += 1
                barcodes.add(str(read.get_tag("CB")))
            yield read
        if len(barcodes) > 1:
            self.report["reads_with_unused_barcode"] = n_reads

    def _count(
        self, parts: Iterable[Iterator[AlignedSegment]], numbers: list[int], in_order: bool
    ) -> None:
        """Collect the introns of all reads; a read that is not spliced costs next to nothing."""
        options, cells, distinct = self.options, self.cells, self.distinct
        skip = SKIP | (DUPLICATE if options.skip_duplicates else 0)
        min_mapq, cell_tag, umi_tag = options.min_mapq, options.cell_tag, options.umi_tag
        strand_of = strand_of_reads(options.strand, options.strand_tag, regtools=False)
        add_start, add_length = distinct.start.append, distinct.length.append
        add_identity, add_cell_key = distinct.identity.append, distinct.cell_key.append
        flags = self.flags
        kept_without_umi = {"auto": ("",), "drop": (), "keep": MISSING}[options.umi_missing]
        drop_multimapped = options.multimapped == "drop"
        spliced = low_mapq = multimapped = without_contig = without_umi = n_without_umi_counted = 0
        left_out = [0, 0, 0]
        sites, n_beside_microexons = self.sites, 0
        min_anchor, min_intron, max_intron = (
            options.min_anchor,
            options.min_intron,
            options.max_intron,
        )
        cell = 0
        last_contig = last_position = -1
        condense_at = _N_READS

        for reads in parts:
            for read in reads:
                flag = read.flag
                flags[flag] += 1
                cigar = read.cigarstring
                if cigar is None or "N" not in cigar or flag & skip:
                    continue
                spliced += 1
                contig, position = read.reference_id, read.reference_start
                if contig < 0 or position < 0:
                    without_contig += 1
                    continue
                if min_mapq and read.mapping_quality < min_mapq:
                    low_mapq += 1
                    continue
                if drop_multimapped and read.has_tag(LOCI) and read.get_tag(LOCI) != 1:
                    multimapped += 1
                    continue
                contig = numbers[contig]
                if cell_tag is not None:
                    cell = cells.of(read, cell_tag)
                    if cell < 0:
                        continue
                if umi_tag is None:
                    identity = hash(read.query_name) if flag & PAIRED else ITSELF
                else:
                    try:  # nearly every read has it
                        umi = read.get_tag(umi_tag)
                    except KeyError:
                        umi = _NO_TAG
                    if umi not in MISSING:
                        identity = identity_of_umi(umi)
                    elif umi in kept_without_umi:
                        n_without_umi_counted += 1
                        name = read.query_name
                        identity = identity_without_umi(name) if flag & PAIRED else ITSELF
                    else:
                        without_umi += 1
                        continue

                cell_key = contig if cell_tag is None else cell << CONTIG_BITS | contig
                if position < last_position or contig != last_contig:
                    if contig <= last_contig:
                        if in_order and distinct.has_counted:
                            raise _OutOfOrder
                        in_order = False
                    last_contig = contig
                last_position = position
                if spliced > condense_at:
                    n_open = distinct.condense((contig, position + 1) if in_order else None)
                    condense_at = spliced + max(_N_READS, n_open)

                operations = read.cigartuples
                assert operations is not None  # its text has an N
                if len(operations) == 3:  # most spliced reads are of the form aMbNcM
                    (before, left), (_, length), (after, right) = operations
                    if (
                        before == after == _MATCH
                        and left >= min_anchor <= right
                        and min_intron <= length <= max_intron
                    ):
                        add_start(position + left + 1)
                        add_length(length << STRAND_BITS | strand_of(read, flag))
                        add_identity(identity)
                        add_cell_key(cell_key)
                        continue
                found = list(introns_of(operations))
                strand = strand_of(read, flag)
                if contig in sites and any(right < min_anchor for *_, right in found[:-1]):
                    n_beside_microexons -= len(_introns(found, options, [0, 0, 0]))
                    found = reach_over_microexons(
                        found, position, strand, sites[contig], min_anchor
                    )
                    n_beside_microexons += len(_introns(found, options, [0, 0, 0]))
                for start, length in _introns(found, options, left_out):
                    add_start(position + start)
                    add_length(length << STRAND_BITS | strand)
                    add_identity(identity)
                    add_cell_key(cell_key)

        self.report.update(
            reads_spliced=spliced,
            reads_without_contig=without_contig,
            reads_low_mapq=low_mapq,
            reads_multimapped=multimapped,
            reads_without_umi=without_umi,
            reads_without_umi_counted=n_without_umi_counted,
            introns_too_short=left_out[0],
            introns_too_long=left_out[1],
            introns_short_anchor=left_out[2],
        )
        if sites:
            self.report["introns_beside_microexons"] += n_beside_microexons

    def file_counts(self, cell: str) -> FileCounts:
        """Return the counts."""
        distinct, report = self.distinct, self.report
        counts = distinct.finish()
        repeats = "mates_of_one_fragment" if self.options.umi_tag is None else "umi_copies"
        report[repeats] = distinct.repeats
        report["introns_counted"] = int(counts.count.sum())
        if self.options.umi_tag is not None:
            report["introns_counted_by_fragment"] = distinct.n_without_umi
            report["introns_counted_by_umi"] = report["introns_counted"] - distinct.n_without_umi
        report["introns_without_strand"] = int(counts.count[counts.strand == UNSTRANDED].sum())
        names: tuple[str, ...] = (cell,)
        cells = counts.cell
        if self.options.cell_tag is not None:
            names, cells = self.cells.sorted(cells)
        return file_counts(
            list(self.numbers),
            counts.contig,
            counts.start,
            counts.end,
            counts.strand,
            names,
            cells,
            counts.count,
            report=report,
        )


def _introns(
    introns: Iterable[Intron], options: BamOptions, left_out: list[int]
) -> list[tuple[int, int]]:
    """Return the introns to count, as first base and length.

    The first base is counted from 1 at the first aligned base of the read. Introns that are too
    short, too long, or have a short anchor, are added to ``left_out``.
    """
    kept = []
    for start, end, left, right in introns:
        length = end - start + 1
        if length < options.min_intron:
            left_out[0] += 1
        elif length > options.max_intron:
            left_out[1] += 1
        elif left < options.min_anchor or right < options.min_anchor:
            left_out[2] += 1
        else:
            kept.append((start, length))
    return kept


def _count_flags(flags: list[int], report: Counter[str]) -> None:
    """Reads in all, and those left out by the first reason that applies."""
    report["reads"] = sum(flags)
    for flag, count in enumerate(flags):
        if count:
            reason = next((name for name, bit in _REASONS.items() if flag & bit), None)
            if reason is not None:
                report[reason] += count
