"""Simulated reads: their positions, alignments and supported junctions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from leafletfa_scvi.datasets._genome import reverse_complement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leafletfa_scvi.datasets._genome import Span

PAIRED, PROPER, UNMAPPED, MATE_UNMAPPED, REVERSE, MATE_REVERSE, FIRST, SECOND = (
    1 << bit for bit in range(8)
)
SECONDARY, QC_FAIL, DUPLICATE, SUPPLEMENTARY = 256, 512, 1024, 2048

FLAGS: Final = (
    "none",
    "qc_fail",
    "duplicate",
    "low_quality",
    "secondary",
    "supplementary",
    "mate_unmapped",
    "no_barcode",
)
"""Flags of fragments; each fragment has exactly one."""
LOW_QUALITY: Final = 1
"""Mapping quality of multi-mapped reads; that of other reads is 255."""
_EDITABLE: Final = 40
"""Minimum length of an aligned block with an insertion or deletion in its middle, so that any way
to count its bases gives a sufficient anchor on both sides."""
_LONGEST_CLIP: Final = 12


@dataclass(frozen=True)
class Template:
    """A transcript or contig from which fragments are drawn."""

    chrom: str
    strand: str
    exons: tuple[Span, ...]
    sequence: str
    ends: tuple[int, ...]
    """Ends of exons in bases of the template, from left to right on the genome."""
    junctions: tuple[int, ...]
    """Number of each intron among all introns."""

    @classmethod
    def of(
        cls, chrom: str, strand: str, exons: Sequence[Span], contig: str, junctions: Sequence[int]
    ) -> Template:
        """Build a template from the sequence of its contig."""
        sequence = "".join(contig[start:end] for start, end in exons)
        ends = np.cumsum([end - start for start, end in exons]).tolist()
        return cls(chrom, strand, tuple(exons), sequence, tuple(ends), tuple(junctions))


class Read(NamedTuple):
    """Aligned read, with 0-based coordinates and exclusive end."""

    start: int
    end: int
    cigar: str
    sequence: str
    supports: tuple[int, ...]
    """Junctions with enough aligned bases on both sides."""


def align(
    template: Template, start: int, end: int, min_anchor: int, edit: int, rng: np.random.Generator
) -> Read:
    """Align bases ``start`` to ``end`` (0-based, exclusive) of a template.

    ``edit`` is 0 for no error, 1 for a mismatch, 2 for an insertion, 3 for a deletion, and 4 and 5
    for a soft clip on the left and right.
    """
    sequence = template.sequence[start:end]
    clip = ["", ""]
    if edit >= 4:
        n = int(rng.integers(1, _LONGEST_CLIP + 1))
        other = _random(rng, n)
        clip[edit - 4] = f"{n}S"
        if edit == 4:
            start, sequence = start + n, other + sequence[n:]
        else:
            end, sequence = end - n, sequence[:-n] + other
    elif edit == 1:
        at = int(rng.integers(len(sequence)))
        wrong = "ACGT"[("ACGT".index(sequence[at]) + int(rng.integers(1, 4))) % 4]
        sequence = sequence[:at] + wrong + sequence[at + 1 :]

    first = bisect_right(template.ends, start)
    last = bisect_left(template.ends, end)
    inner = template.ends[first:last]
    lengths = [b - a for a, b in zip((start, *inner), (*inner, end), strict=True)]
    codes = [f"{n}M" for n in lengths]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if edit in (2, 3) and lengths[longest] >= _EDITABLE:
        n, half = int(rng.integers(1, 4)), lengths[longest] // 2
        at, rest = len(clip[0]) + sum(lengths[:longest]) + half, lengths[longest] - half
        if edit == 2:
            codes[longest] = f"{half}M{n}I{rest}M"
            sequence = sequence[:at] + _random(rng, n) + sequence[at:]
        else:
            codes[longest] = f"{half}M{n}D{rest - n}M"
            sequence = sequence[:at] + sequence[at + n :]

    reference_start = template.exons[first][1] - (template.ends[first] - start)
    reference_end = template.exons[last][1] - (template.ends[last] - end)
    cigar = codes[0]
    for i in range(first, last):
        cigar += f"{template.exons[i + 1][0] - template.exons[i][1]}N{codes[i - first + 1]}"
    supports = tuple(
        template.junctions[first + i]
        for i in range(last - first)
        if min(lengths[i], lengths[i + 1]) >= min_anchor
    )
    return Read(reference_start, reference_end, f"{clip[0]}{cigar}{clip[1]}", sequence, supports)


def _random(rng: np.random.Generator, n: int) -> str:
    return "".join("ACGT"[i] for i in rng.integers(0, 4, n))


@dataclass
class Fragments:
    """Fragments of one cell, one value per fragment.

    ``unit`` is the molecule; fragments of one molecule have one UMI. ``forward`` is True if the
    first read is on the forward strand of the genome.
    """

    template: np.ndarray
    start: np.ndarray
    end: np.ndarray
    unit: np.ndarray
    forward: np.ndarray
    flag: np.ndarray
    edit: np.ndarray
    """``(N, 2)``, one per read."""


def draw_fragments(
    rng: np.random.Generator,
    templates: Sequence[Template],
    weight: np.ndarray,
    n: int,
    *,
    read_length: int,
    fragment_length: tuple[float, float],
    strandedness: str,
    error_rate: float,
    frac_flagged: float,
    flags: Sequence[str],
    frac_amplified: float,
) -> Fragments:
    """Draw the fragments of one cell; ``weight`` is the share of each template."""
    template = rng.choice(len(templates), n, p=weight / weight.sum())
    drawn = rng.choice(len(flags), n)
    code = np.array([FLAGS.index(name) for name in flags])[drawn]
    flag = np.where(rng.random(n) < frac_flagged, code, 0)
    # An amplified fragment is another position of the molecule before it; a duplicate is a copy of
    # the fragment before it, with its position. ``source`` is the fragment that is copied.
    source = np.arange(n)
    duplicate = flag == FLAGS.index("duplicate")
    duplicate[:1] = False
    source[duplicate] = 0
    source = np.maximum.accumulate(source)
    amplified = rng.random(n) < frac_amplified
    amplified[:1] = False
    unit = np.maximum.accumulate(np.where(amplified | duplicate, 0, np.arange(n)))
    template = template[unit]
    longest = np.array([len(one.sequence) for one in templates])[template]
    mean, deviation = fragment_length
    length = np.clip(np.rint(rng.normal(mean, deviation, n)), read_length, longest).astype(int)
    start = np.floor(rng.random(n) * (longest - length + 1)).astype(int)
    sense = np.array([one.strand == "+" for one in templates])[template]
    either = rng.random(n) < 0.5
    forward = {"FR": sense, "RF": ~sense}.get(strandedness, either)
    edit = np.where(rng.random((n, 2)) < error_rate, rng.integers(1, 6, (n, 2)), 0)
    start, length, forward, edit = start[source], length[source], forward[source], edit[source]
    return Fragments(template, start, start + length, unit, forward, flag, edit)


class Written(NamedTuple):
    """Lines of the reads of one cell, and pairs of fragments and supported junctions."""

    sam: list[str]
    fastq: tuple[list[str], list[str]]
    fragment: list[int]
    junction: list[int]


def write_reads(
    rng: np.random.Generator,
    templates: Sequence[Template],
    fragments: Fragments,
    *,
    names: str,
    tags: Sequence[str],
    paired: bool,
    read_length: int,
    min_anchor: int,
    xs: bool,
    fastq: bool,
) -> Written:
    """Write lines of SAM and FASTQ for the fragments of one cell, and their junctions.

    ``names`` is the prefix of read names; ``tags`` are the cell and molecule tags of each
    fragment, or empty.
    """
    written = Written([], ([], []), [], [])
    placed: list[list[tuple[int, Read]]] = []
    columns = (fragments.template, fragments.start, fragments.end, fragments.forward)
    for i, (t, start, end, forward) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        template, edit = templates[t], fragments.edit[i]
        ranges = [(start, start + read_length), (end - read_length, end)]
        order = (0, 1) if forward else (1, 0)  # side of the first and of the second read
        reads = [
            (side, align(template, *ranges[side], min_anchor, int(edit[which]), rng))
            for which, side in enumerate(order[: 1 + paired])
        ]
        placed.append(reads)
        name_of_flag = FLAGS[fragments.flag[i]]
        flag, quality, unmapped = 0, 255, None
        if name_of_flag == "qc_fail":
            flag = QC_FAIL
        elif name_of_flag == "duplicate":
            flag = DUPLICATE
        elif name_of_flag == "low_quality":
            quality = LOW_QUALITY
        elif name_of_flag == "mate_unmapped":
            unmapped = int(rng.integers(2))
            side, read = reads[unmapped]
            letters = _random(rng, len(read.sequence))
            reads[unmapped] = (side, read._replace(sequence=letters, supports=()))
        tag = "" if name_of_flag == "no_barcode" else tags[i]
        name = f"{names}:{i}"
        written.sam.extend(_records(name, template, reads, flag, quality, unmapped, tag, xs))
        if name_of_flag in ("secondary", "supplementary") and i:
            # Another alignment at the position of an earlier fragment.
            other = int(rng.integers(i))
            flag = SECONDARY if name_of_flag == "secondary" else SUPPLEMENTARY
            elsewhere = templates[int(fragments.template[other])]
            written.sam.extend(
                _records(name, elsewhere, placed[other], flag, LOW_QUALITY, None, tag, xs)
            )
        for junction in {j for _, read in reads for j in read.supports}:
            written.fragment.append(i)
            written.junction.append(junction)
        if fastq:
            for lines, (side, read) in zip(written.fastq, reads, strict=False):
                bases = reverse_complement(read.sequence) if side else read.sequence
                lines.append(f"@{name}\n{bases}\n+\n{'I' * len(bases)}\n")
    return written


def _records(
    name: str,
    template: Template,
    reads: list[tuple[int, Read]],
    flag: int,
    quality: int,
    unmapped: int | None,
    tag: str,
    xs: bool,
) -> list[str]:
    """Return the SAM lines of one fragment; read ``unmapped`` of the pair is not aligned."""
    lines = []
    for which, (side, read) in enumerate(reads):
        bits, start, cigar, mate = flag, read.start + 1, read.cigar, "*\t0\t0"
        bits |= REVERSE if side else 0
        if len(reads) == 2:
            mate_side, other = reads[1 - which]
            bits |= PAIRED | (SECOND if which else FIRST)
            bits |= MATE_REVERSE if mate_side else 0
            span = max(read.end, other.end) - min(read.start, other.start)
            mate = f"=\t{other.start + 1}\t{-span if side else span}"
            if unmapped is None:
                bits |= PROPER
            elif unmapped == which:  # unmapped reads have the position of their mate
                bits = (bits & ~REVERSE) | UNMAPPED
                start, cigar = other.start + 1, "*"
                mate = f"=\t{start}\t0"
            else:
                bits = (bits & ~MATE_REVERSE) | MATE_UNMAPPED
                mate = f"=\t{start}\t0"
        sequence = read.sequence
        spliced = f"\tXS:A:{template.strand}" if xs and "N" in cigar else ""
        hits = 0 if cigar == "*" else 1 if quality > LOW_QUALITY else 3
        lines.append(
            f"{name}\t{bits}\t{template.chrom}\t{start}\t{0 if cigar == '*' else quality}\t{cigar}"
            f"\t{mate}\t{sequence}\t{'I' * len(sequence)}\tNH:i:{hits}{spliced}{tag}\n"
        )
    return lines
