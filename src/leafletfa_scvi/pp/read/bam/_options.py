"""Options of counting spliced reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from leafletfa_scvi._arguments import check_at_least, check_one_of
from leafletfa_scvi._choices import KeepOrDrop, LibraryStrand, UmiMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi.pp.read._region import Region
    from leafletfa_scvi.pp.read.bam._microexons import Microexons

LOCI: Final = "NH"
"""Tag with the number of loci that a read maps to."""


@dataclass(frozen=True)
class BamOptions:
    """Options of counting the spliced reads of a BAM or CRAM file.

    Attributes
    ----------
    strand
        Source of the strand of an intron. ``"auto"`` and ``"tag"``: the read's tag;
        ``"RF"`` (dUTP, first-strand) and ``"FR"`` (second-strand, 10x 3'): the read's flag, by
        the type of library; ``"none"``: none. An intron without a strand has ``?``.
    strand_tag
        Tag with the strand; by default ``XS``, or ``ts`` without it. ``ts`` is taken
        relative to the read, as minimap2 writes it.
    min_anchor
        Minimum number of aligned bases (M, =, X and D) of the read on both sides of the intron, up
        to the next intron or the end of the read.
    min_intron, max_intron
        Minimum and maximum length of an intron in bases.
    min_mapq
        Minimum mapping quality of a read.
    multimapped
        Treatment of reads that map to several loci (tag ``NH`` above 1). Without the tag a read
        counts.
    skip_duplicates
        If True, leave out reads marked as duplicates.
    cell_tag
        Tag with the barcode of the cell, such as ``"CB"``; None if the file is one cell.
    umi_tag
        Tag with the UMI, such as ``"UB"``: reads of one cell, intron and UMI count once. None
        counts fragments.
    umi_missing
        Treatment of reads without a UMI, if UMIs are counted. ``"auto"``: reads with an empty tag,
        as zUMIs writes the internal reads of Smart-seq3, count as fragments; reads without the
        tag, or with ``-``, have an invalid UMI and are left out. ``"keep"``: all count as
        fragments. ``"drop"``: none counts.
    barcodes
        Barcodes to count; None counts all that occur. See ``read_barcodes``.
    regtools
        If True, count as ``regtools junctions extract`` does: all reads with any flag, mapping
        quality, number of loci or duplicate mark, each mate separately; a junction is kept if one
        read has an anchor of ``min_anchor`` on its left, and the same or another read on its
        right. Microexons have no effect then.
    microexons
        Splice sites of genes with microexons, over which anchors reach; None if no annotation is
        given. See ``reach_over_microexons``.
    reference
        FASTA file for CRAM; not needed, as neither bases nor qualities are decoded.
    region
        Part of the genome to read of files that have an index; others are read in full.
    threads
        Number of threads for decompression.

    Raises
    ------
    ValueError
        If an option is out of range or contradicts another.
    """

    strand: LibraryStrand = "auto"
    strand_tag: str | None = None
    min_anchor: int = 8
    min_intron: int = 70
    max_intron: int = 500_000
    min_mapq: int = 0
    multimapped: KeepOrDrop = "drop"
    skip_duplicates: bool = False
    cell_tag: str | None = None
    umi_tag: str | None = None
    umi_missing: UmiMissing = "auto"
    barcodes: tuple[str, ...] | None = None
    regtools: bool = False
    microexons: Microexons | None = None
    reference: str | None = None
    region: Region | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        check_one_of("strand", self.strand, LibraryStrand)
        check_one_of("multimapped", self.multimapped, KeepOrDrop)
        check_one_of("umi_missing", self.umi_missing, UmiMissing)
        if self.umi_missing != "auto" and self.umi_tag is None:
            raise ValueError(
                f"umi_missing={self.umi_missing!r} concerns counts of UMIs: pass a umi_tag, or "
                "cell_tag='CB' if a file holds many cells."
            )
        for name in ("strand_tag", "cell_tag", "umi_tag"):
            tag = getattr(self, name)
            if tag is not None and len(tag) != 2:
                raise ValueError(f"{name}={tag!r}: expected a tag of two characters, or None.")
        check_at_least(0, min_anchor=self.min_anchor, min_mapq=self.min_mapq)
        check_at_least(1, min_intron=self.min_intron, threads=self.threads)
        check_at_least(self.min_intron, max_intron=self.max_intron)
        if self.regtools and self.umi_tag is not None:
            raise ValueError("regtools counts reads, not UMIs: pass umi_tag=None or not regtools.")
        if self.barcodes is not None:
            self._check_barcodes(self.barcodes)

    def _check_barcodes(self, barcodes: Sequence[str]) -> None:
        if isinstance(barcodes, str):
            raise ValueError(
                f"barcodes={barcodes!r}: expected names of cells; read a file of them with "
                "read_barcodes."
            )
        if self.cell_tag is None:
            raise ValueError("barcodes are given, but no cell_tag: pass cell_tag='CB'.")
        names = tuple(barcodes)
        if not names:
            raise ValueError("barcodes is empty: pass None to count all that occur.")
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise ValueError(f"The barcode {name!r} is listed more than once.")
            seen.add(name)
        object.__setattr__(self, "barcodes", names)
