"""A small genome of random sequence with planted genes, transcripts and splicing events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pysam

from leafletfa_scvi.pp.atse._events import (
    ALTERNATIVE_3SS,
    ALTERNATIVE_5SS,
    CASSETTE_EXON,
    COMPLEX,
    EVENT_TYPES,
    FIRST_EXON,
    LAST_EXON,
    MULTI_EXON_SKIP,
    MUTUALLY_EXCLUSIVE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CONSTITUTIVE: Final = "constitutive"
"""Type of a gene with one transcript, instead of an event type."""

CONTIGS: Final = ("chr1", "chr2", "chrX")
"""Contigs with genes."""
EMPTY_CONTIG: Final = "chrM"
"""Contig without genes."""
_GAP: Final = 400
"""Minimum number of bases before, between and after genes that do not overlap."""
_GENELESS: Final = 2000
"""Length of a contig without genes."""
_SPARE: Final = 60
"""Number of bases added to introns that an alternative exon may extend into."""
_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")

Span = tuple[int, int]
"""Start and exclusive end, 0-based."""


@dataclass(frozen=True)
class Transcript:
    """A transcript, with exons in ascending order on the genome."""

    transcript_id: str
    exons: tuple[Span, ...]
    annotated: bool = True

    @property
    def introns(self) -> tuple[Span, ...]:
        """Introns between exons."""
        return gaps(self.exons)


@dataclass(frozen=True)
class Gene:
    """A gene with one planted event, or none if its kind is ``constitutive``."""

    gene_id: str
    gene_name: str
    chrom: str
    strand: str
    kind: str
    transcripts: tuple[Transcript, ...]
    motifs: dict[Span, str] = field(default_factory=dict)

    @property
    def introns(self) -> list[Span]:
        """Distinct introns, ascending."""
        return sorted({intron for one in self.transcripts for intron in one.introns})

    @property
    def alternative(self) -> list[Span]:
        """Introns of some but not all transcripts."""
        shared = set.intersection(*(set(one.introns) for one in self.transcripts))
        return [intron for intron in self.introns if intron not in shared]


@dataclass(frozen=True)
class Genome:
    """Genes in order of the genome, and the sequence of each contig."""

    genes: list[Gene]
    sequences: dict[str, str]


def gaps(exons: Sequence[Span]) -> tuple[Span, ...]:
    """Return the gaps between ascending exons."""
    return tuple((left[1], right[0]) for left, right in zip(exons, exons[1:], strict=False))


def reverse_complement(sequence: str) -> str:
    """Return the reverse complement."""
    return sequence.translate(_COMPLEMENT)[::-1]


def plant_genome(
    rng: np.random.Generator, n_genes: int, n_overlapping: int, n_novel: int
) -> Genome:
    """Plant genes of each kind in turn, on alternating strands, in random sequence.

    Parameters
    ----------
    rng
        Random number generator.
    n_genes
        Number of genes; 18 give each kind on both strands.
    n_overlapping
        Maximum number of pairs of overlapping neighbors on opposite strands.
    n_novel
        Maximum number of genes with a transcript that is not annotated and has at least one
        distinct intron.
    """
    kinds = [(*EVENT_TYPES, CONSTITUTIVE)[i % (len(EVENT_TYPES) + 1)] for i in range(n_genes)]
    isoforms = [_draw_isoforms(rng, kind) for kind in kinds]
    simple = [i for i, kind in enumerate(kinds) if kind in _NOVEL_KINDS][::-1]
    novel = set(simple[:n_novel])
    chroms = [CONTIGS[i * len(CONTIGS) // n_genes] for i in range(n_genes)]
    lengths = dict.fromkeys((*CONTIGS, EMPTY_CONTIG), _GENELESS)
    genes: list[Gene] = []
    pairs = n_transcripts = n_constitutive = 0
    cursor, paired = _GAP, False
    for i in range(n_genes):
        if i == 0 or chroms[i] != chroms[i - 1]:
            cursor, paired = _GAP, False
        strand = "+-"[i % 2]
        length = max(exons[-1][1] for exons in isoforms[i])
        names = [f"SIMT{n_transcripts + k + 1:05d}.1" for k in range(len(isoforms[i]))]
        n_transcripts += len(names)
        annotated = [i not in novel or k < len(names) - 1 for k in range(len(names))]

        def place(
            offset: int,
            i: int = i,
            strand: str = strand,
            length: int = length,
            names: list[str] = names,
            annotated: list[bool] = annotated,
        ) -> Gene:
            placed = (_place(exons, offset, length, strand) for exons in isoforms[i])
            transcripts = tuple(map(Transcript, names, placed, annotated))
            gene_id, name = f"SIMG{i + 1:05d}.1", f"Sim{i + 1}"
            return Gene(gene_id, name, chroms[i], strand, kinds[i], transcripts)

        overlaps = pairs < n_overlapping and cursor > _GAP and not paired
        if overlaps:
            before = {base for intron in genes[-1].introns for base in _fixed(intron)}
            exons = [exon for one in genes[-1].transcripts for exon in one.exons]
            first, last = min(exons)[0], max(exons)[1]
            offset = last - min(length, last - first) // 3
            while not before.isdisjoint(
                base for intron in place(offset).introns for base in _fixed(intron)
            ):
                offset += 1
            pairs += 1
        else:
            offset = cursor + int(rng.integers(0, _GAP))
        gene, paired = place(offset), overlaps
        for intron in gene.introns:
            gene.motifs[intron] = "GT-AG"
            if intron not in gene.alternative:
                gene.motifs[intron] = _RARE_MOTIFS.get(n_constitutive % 24, "GT-AG")
                n_constitutive += 1
        genes.append(gene)
        cursor = max(cursor, offset + length + _GAP)
        lengths[gene.chrom] = max(lengths[gene.chrom], cursor)
    return Genome(genes, _draw_sequences(rng, genes, lengths))


_NOVEL_KINDS: Final = (CASSETTE_EXON, ALTERNATIVE_5SS, ALTERNATIVE_3SS)
_RARE_MOTIFS: Final = {4: "GC-AG", 9: "AT-AC", 16: "GC-AG"}


def _draw_isoforms(rng: np.random.Generator, kind: str) -> list[list[Span]]:
    """Draw the exons of each transcript of a gene on ``+`` that begins at 0."""

    def draw(n_exons: int) -> list[Span]:
        exons, start = [], 0
        for i in range(n_exons):
            # First and last exons are long, so that every transcript is longer than a fragment.
            low, high = (200, 320) if i in (0, n_exons - 1) else (36, 180)
            end = start + int(rng.integers(low, high))
            exons.append((start, end))
            start = end + int(rng.integers(90, 700))
        return exons

    if kind == FIRST_EXON:
        exons = draw(5)
        return [[exons[0], *exons[2:]], exons[1:]]
    if kind == LAST_EXON:
        exons = draw(5)
        return [exons[:4], [*exons[:3], exons[4]]]
    if kind in (ALTERNATIVE_5SS, ALTERNATIVE_3SS, COMPLEX):
        exons = draw(5)
        which = 3 if kind == COMPLEX else 2
        exons[which:] = [(start + _SPARE, end + _SPARE) for start, end in exons[which:]]
        (start, end), shift = exons[which], int(rng.integers(15, _SPARE))
        # The longer exon extends into the intron after or before it.
        longer = (start, end + shift) if kind == ALTERNATIVE_5SS else (start - shift, end)
        exons[which + 1 :] = [(start + _SPARE, end + _SPARE) for start, end in exons[which + 1 :]]
        others = [*exons[:which], longer, *exons[which + 1 :]]
        if kind != COMPLEX:
            return [others, exons]
        return [exons, others, *([*form[:2], *form[3:]] for form in (exons, others))]
    if kind == CONSTITUTIVE:
        return [draw(5)]
    middle = {
        CASSETTE_EXON: ((2,), ()),
        MUTUALLY_EXCLUSIVE: ((2,), (3,)),
        MULTI_EXON_SKIP: ((2, 3, 4)[: int(rng.integers(2, 4))], ()),
    }[kind]
    inside = max(max(part, default=0) for part in middle)
    exons = draw(inside + 3)
    return [[exons[i] for i in (0, 1, *part, inside + 1, inside + 2)] for part in middle]


def _place(exons: list[Span], offset: int, length: int, strand: str) -> tuple[Span, ...]:
    if strand == "-":
        exons = [(length - end, length - start) for start, end in reversed(exons)]
    return tuple((offset + start, offset + end) for start, end in exons)


def _fixed(intron: Span) -> Iterator[int]:
    """Yield the bases that an intron determines: its two dinucleotides and their neighbors."""
    start, end = intron
    yield from (start - 1, start, start + 1, end - 2, end - 1, end)


def _draw_sequences(
    rng: np.random.Generator, genes: list[Gene], lengths: dict[str, int]
) -> dict[str, str]:
    """Draw random bases, with the motif of each intron.

    The exonic base next to each splice site differs from the intronic base at the other end, so
    that no read across the junction aligns equally well with a shifted intron.
    """
    letters = np.frombuffer(b"ACGT", "S1")
    bases = {chrom: rng.choice(letters, length) for chrom, length in lengths.items()}
    for gene in genes:
        sequence = bases[gene.chrom]
        for (start, end), motif in gene.motifs.items():
            left, right = motif.split("-")
            if gene.strand == "-":
                left, right = reverse_complement(right), reverse_complement(left)
            sequence[start : start + 2] = list(left)
            sequence[end - 2 : end] = list(right)
            others = sorted(set("ACGT") - {left[0], right[1]})
            sequence[start - 1], sequence[end] = rng.choice(others, 2)
    return {chrom: sequence.tobytes().decode() for chrom, sequence in bases.items()}


def write_fasta(genome: Genome, path: Path) -> None:
    """Write FASTA with 60 bases per line, and its index."""
    with open(path, "w", newline="\n") as file:
        for chrom, sequence in genome.sequences.items():
            file.write(f">{chrom}\n")
            file.writelines(f"{sequence[i : i + 60]}\n" for i in range(0, len(sequence), 60))
    pysam.faidx(str(path))


def write_gtf(genome: Genome, path: Path) -> None:
    """Write annotated transcripts to a GTF like that of GENCODE; 1-based, inclusive."""
    with open(path, "w", newline="\n") as file:
        file.write("##description: simulated genome\n##provider: leafletfa_scvi\n##format: gtf\n")
        for gene in genome.genes:
            transcripts = [one for one in gene.transcripts if one.annotated]

            exons = [exon for one in transcripts for exon in one.exons]
            file.write(_gtf_line(gene, "gene", exons))
            for one in transcripts:
                name = f' transcript_id "{one.transcript_id}";'
                file.write(_gtf_line(gene, "transcript", one.exons, name))
                for number, exon in enumerate(one.exons[:: 1 if gene.strand == "+" else -1], 1):
                    file.write(_gtf_line(gene, "exon", [exon], f"{name} exon_number {number};"))


def _gtf_line(gene: Gene, feature: str, spans: Sequence[Span], more: str = "") -> str:
    start, end = min(span[0] for span in spans) + 1, max(span[1] for span in spans)
    return (
        f"{gene.chrom}\tSIMULATED\t{feature}\t{start}\t{end}\t.\t{gene.strand}\t.\t"
        f'gene_id "{gene.gene_id}";{more} gene_type "protein_coding"; '
        f'gene_name "{gene.gene_name}";\n'
    )
