"""Strand of a spliced read: from its tag, or from its flag and the type of library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leafletfa_scvi.pp._codes import FORWARD, REVERSE, UNSTRANDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysam import AlignedSegment

    ReadStrand = Callable[[AlignedSegment, int], int]

PAIRED, UNMAPPED, MATE_UNMAPPED, REVERSED, MATE_REVERSED, FIRST, SECOND = 1, 4, 8, 16, 32, 64, 128

_CODES: Final = {"+": FORWARD, "-": REVERSE}
_FLIPPED: Final = {"+": REVERSE, "-": FORWARD}


def library_strand(flag: int, library: str) -> int:
    """Code of the transcript's strand of a read from a stranded library.

    In ``"RF"`` (dUTP, first-strand) read 1 is antisense and read 2 sense to the transcript; in
    ``"FR"`` (second-strand, 10x 3') the reverse. A read that is not paired counts as read 1. If
    both mates of a pair are aligned, they must imply the same strand,
    or the strand is ``?``, as in regtools; else the read's own flag decides.

    Parameters
    ----------
    flag
        Flag of the alignment.
    library
        ``"RF"`` or ``"FR"``.
    """
    own = bool(flag & REVERSED) != (library == "FR")
    if not flag & PAIRED:
        return FORWARD if own else REVERSE
    first, second = bool(flag & FIRST), bool(flag & SECOND)
    if first == second:  # part of a template of one or of more than two reads
        return UNSTRANDED
    forward = own if first else not own
    if not flag & MATE_UNMAPPED:
        mate = bool(flag & MATE_REVERSED) != (library == "FR")
        if forward != (mate if second else not mate):
            return UNSTRANDED
    return FORWARD if forward else REVERSE


def regtools_strand(flag: int, library: str) -> int:
    """The same by regtools' rule, which takes no notice of whether a read is paired.

    With ``f1 = RF ^ first ^ reverse`` and ``f2 = RF ^ second ^ mate_reverse`` the strand is that
    of ``f1`` if both are equal, else ``?``. A read that is not paired and reversed is ``?``.
    """
    rf = library == "RF"
    f1 = rf ^ bool(flag & FIRST) ^ bool(flag & REVERSED)
    f2 = rf ^ bool(flag & SECOND) ^ bool(flag & MATE_REVERSED)
    if f1 != f2:
        return UNSTRANDED
    return FORWARD if f1 else REVERSE


def strand_of_reads(strand: str, strand_tag: str | None, *, regtools: bool) -> ReadStrand:
    """A function of a read and its flag that gives the code of the strand.

    Parameters
    ----------
    strand
        ``"tag"``, ``"auto"``, ``"RF"``, ``"FR"`` or ``"none"``.
    strand_tag
        Tag that holds ``+`` or ``-``: ``XS`` and then ``ts`` if None. ``ts`` of minimap2
        is relative to the read, and so turned round for a reversed read; any other is the
        strand on the genome. Other values (``XS`` of BWA is a score) say nothing.
    regtools
        Whether flags are judged by :func:`regtools_strand`.
    """
    if strand == "none":
        return lambda read, flag: UNSTRANDED
    if strand in ("RF", "FR"):
        rule = regtools_strand if regtools else library_strand
        table = [rule(flag, strand) for flag in range(256)]
        return lambda read, flag: table[flag & 255]
    if strand_tag == "ts":
        return _relative
    if strand_tag is not None:
        return lambda read, flag: _tagged(read, strand_tag, _CODES)

    def genome_or_relative(read: AlignedSegment, flag: int) -> int:
        if read.has_tag("XS"):
            value = read.get_tag("XS")
            if value == "+":
                return FORWARD
            if value == "-":
                return REVERSE
        return _relative(read, flag)

    return genome_or_relative


def _relative(read: AlignedSegment, flag: int) -> int:
    """Strand from a ``ts`` tag."""
    return _tagged(read, "ts", _FLIPPED if flag & REVERSED else _CODES)


def _tagged(read: AlignedSegment, tag: str, codes: dict[str, int]) -> int:
    """Code of the tag's value."""
    if not read.has_tag(tag):
        return UNSTRANDED
    value = read.get_tag(tag)
    return codes.get(value, UNSTRANDED) if isinstance(value, str) else UNSTRANDED
