"""A small genome of random sequence with planted genes, transcripts and splicing events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pysam

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

EVENT_TYPES: Final = (
    "cassette_exon",
    "mutually_exclusive_exons",
    "alternative_5ss",
    "alternative_3ss",
    "alternative_first_exon",
    "alternative_last_exon",
    "multi_exon_skip",
    "complex",
)
CONSTITUTIVE: Final = "constitutive"
"""Kind of a gene with one transcript."""

CONTIGS: Final = ("chr1", "chr2", "chrX")
"""Contigs with genes."""
EMPTY_CONTIG: Final = "chrM"
"""Contig without any."""
_GAP: Final = 400
"""Fewest bases before, between and after genes that do not overlap."""
_GENELESS: Final = 2000
"""Length of a contig without genes."""
_SPARE: Final = 60
"""Bases added to introns of which an exon may take some."""
_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")

Span = tuple[int, int]
"""First base and the one after the last, 0-based."""


@dataclass(frozen=True)
class Transcript:
    """Exons of a transcript, ascending on the genome."""

    transcript_id: str
    exons: tuple[Span, ...]
    annotated: bool = True

    @property
    def introns(self) -> tuple[Span, ...]:
        """Gaps between exons."""
        return gaps(self.exons)


@dataclass(frozen=True)
class Gene:
    """A gene with one planted event, or none where its kind is ``constitutive``."""

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
        """Introns that some transcripts have and others have not."""
        shared = set.intersection(*(set(one.introns) for one in self.transcripts))
        return [intron for intron in self.introns if intron not in shared]


@dataclass(frozen=True)
class Genome:
    """Genes in order of the genome, and the sequence of each contig."""

    genes: list[Gene]
    sequences: dict[str, str]


def gaps(exons: Sequence[Span]) -> tuple[Span, ...]:
    """What lies between exons that ascend."""
    return tuple((left[1], right[0]) for left, right in zip(exons, exons[1:], strict=False))


def reverse_complement(sequence: str) -> str:
    """The other strand, read in its own direction."""
    return sequence.translate(_COMPLEMENT)[::-1]


def plant_genome(
    rng: np.random.Generator, n_genes: int, n_overlapping: int, n_novel: int
) -> Genome:
    """Genes of each kind in turn, on alternating strands, on random sequence.

    Parameters
    ----------
    rng
        Source of randomness.
    n_genes
        Number of genes; 18 give each kind on both strands.
    n_overlapping
        Number of pairs of neighbours on opposite strands of which the second begins before the
        first ends.
    n_novel
        Number of genes of which one transcript, with at least one intron of its own, is marked as
        not annotated.
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


_NOVEL_KINDS: Final = ("cassette_exon", "alternative_5ss", "alternative_3ss")
_RARE_MOTIFS: Final = {4: "GC-AG", 9: "AT-AC", 16: "GC-AG"}


def _draw_isoforms(rng: np.random.Generator, kind: str) -> list[list[Span]]:
    """Exons of each transcript of a gene on ``+`` that begins at 0."""

    def draw(n_exons: int) -> list[Span]:
        exons, start = [], 0
        for i in range(n_exons):
            # Ends are long, so that any transcript holds a fragment.
            low, high = (200, 320) if i in (0, n_exons - 1) else (36, 180)
            end = start + int(rng.integers(low, high))
            exons.append((start, end))
            start = end + int(rng.integers(90, 700))
        return exons

    if kind == "alternative_first_exon":
        exons = draw(5)
        return [[exons[0], *exons[2:]], exons[1:]]
    if kind == "alternative_last_exon":
        exons = draw(5)
        return [exons[:4], [*exons[:3], exons[4]]]
    if kind in ("alternative_5ss", "alternative_3ss", "complex"):
        exons = draw(5)
        which = 3 if kind == "complex" else 2
        exons[which:] = [(start + _SPARE, end + _SPARE) for start, end in exons[which:]]
        (start, end), shift = exons[which], int(rng.integers(15, _SPARE))
        # The longer form takes its bases from the intron before or after it.
        longer = (start, end + shift) if kind == "alternative_5ss" else (start - shift, end)
        exons[which + 1 :] = [(start + _SPARE, end + _SPARE) for start, end in exons[which + 1 :]]
        others = [*exons[:which], longer, *exons[which + 1 :]]
        if kind != "complex":
            return [others, exons]
        return [exons, others, *([*form[:2], *form[3:]] for form in (exons, others))]
    if kind == CONSTITUTIVE:
        return [draw(5)]
    middle = {
        "cassette_exon": ((2,), ()),
        "mutually_exclusive_exons": ((2,), (3,)),
        "multi_exon_skip": ((2, 3, 4)[: int(rng.integers(2, 4))], ()),
    }[kind]
    inside = max(max(part, default=0) for part in middle)
    exons = draw(inside + 3)
    return [[exons[i] for i in (0, 1, *part, inside + 1, inside + 2)] for part in middle]


def _place(exons: list[Span], offset: int, length: int, strand: str) -> tuple[Span, ...]:
    if strand == "-":
        exons = [(length - end, length - start) for start, end in reversed(exons)]
    return tuple((offset + start, offset + end) for start, end in exons)


def _fixed(intron: Span) -> Iterator[int]:
    """Bases whose sequence an intron decides: its two dinucleotides and their neighbours."""
    start, end = intron
    yield from (start - 1, start, start + 1, end - 2, end - 1, end)


def _draw_sequences(
    rng: np.random.Generator, genes: list[Gene], lengths: dict[str, int]
) -> dict[str, str]:
    """Random bases, with the motif of each intron.

    The exon's base next to each splice site differs from the intron's at the other end, so that
    no read across the junction fits as well with the intron moved by some bases.
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
    """FASTA of 60 bases a line, with its index."""
    with open(path, "w", newline="\n") as file:
        for chrom, sequence in genome.sequences.items():
            file.write(f">{chrom}\n")
            file.writelines(f"{sequence[i : i + 60]}\n" for i in range(0, len(sequence), 60))
    pysam.faidx(str(path))


def write_gtf(genome: Genome, path: Path) -> None:
    """GTF like those of GENCODE, with what is annotated; 1-based, both ends inclusive."""
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
