"""Simulation of aligned reads of single cells with known junction counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd
import pysam
import scipy.sparse as sp
from anndata import AnnData

from leafletfa_scvi._arguments import check_at_least, check_inside, check_one_of
from leafletfa_scvi._deprecated import renamed_arguments
from leafletfa_scvi._narrow_stubs import categorical
from leafletfa_scvi.datasets._genome import plant_genome, write_fasta, write_gtf
from leafletfa_scvi.datasets._reads import FLAGS, Template, draw_fragments, write_reads
from leafletfa_scvi.datasets._truth import event_table, junction_table, transcript_table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from leafletfa_scvi.datasets._genome import Gene

_DOMINANT: Final = 0.7
"""Usage of the main transcript of a cell type."""
_EXPRESSION_SPREAD: Final = 0.4
"""Standard deviation of the logarithm of gene expression."""
_AMPLIFIED: Final = 0.3
"""Share of fragments from the same molecule as the previous one, if cells are barcoded."""
_LIBRARIES: Final = ("XS", "RF", "FR", "none")


@dataclass(frozen=True, eq=False)
class SimulatedAlignments:
    """Files of simulated alignments, with the truth.

    Attributes
    ----------
    bams
        BAM files, sorted by coordinate and indexed: one per cell, named after it, or one for all
        cells.
    fasta, gtf
        Genome with its index, and annotation.
    barcodes
        File of cell barcodes, one per line, if cells are barcoded.
    fastqs
        FASTQ files of each cell: one, or two for paired reads.
    junctions
        C x J, cells and all planted introns. ``X`` (int32 CSR): number of fragments, or of
        molecules if cells are barcoded, with a primary alignment that passed quality control and
        supports the junction. The layers ``without_duplicates`` and ``unique`` exclude duplicates
        and reads of several loci; the latter is what counting gives by default.
        ``obs["cell_type"]``; ``var`` has ``chrom``, ``start``, ``end`` (first and last base of the
        intron, 1-based), ``strand``, ``motif``,
        ``gene_id``, ``gene_name``, ``known_junction`` (in the GTF), ``event_id`` and
        ``event_type`` (``""`` if all transcripts of the gene have the intron), and ``atse``: a
        label for junctions of a gene that are connected by shared splice sites, otherwise ``""``.
    events
        Index ``event_id``; ``gene_id``, ``gene_name``, ``chrom``, ``strand``, ``event_type``,
        ``annotated`` (whether all transcripts are) and ``junctions``, a tuple of names.
    transcripts
        Index ``transcript_id``; ``gene_id``, ``chrom``, ``strand``, ``exons`` (a tuple of first
        and last bases, 1-based), ``annotated``.
    usage
        Share of each transcript among the molecules of its gene, transcripts x cell types.
    """

    bams: list[Path]
    fasta: Path
    gtf: Path
    barcodes: Path | None
    fastqs: list[tuple[Path, ...]]
    junctions: AnnData
    events: pd.DataFrame
    transcripts: pd.DataFrame
    usage: pd.DataFrame


@renamed_arguments(unspliced="frac_unspliced", marked="frac_flagged", errors="error_rate")
def simulate_alignments(
    folder: str | os.PathLike[str],
    *,
    n_cells: int = 20,
    n_types: int = 2,
    n_genes: int = 27,
    fragments_per_cell: int = 2000,
    read_length: int = 100,
    paired: bool = True,
    fragment_length: tuple[float, float] = (200.0, 40.0),
    strandedness: Literal["XS", "RF", "FR", "none"] = "XS",
    barcoded: bool = False,
    n_overlapping: int = 2,
    n_novel: int = 2,
    frac_unspliced: float = 0.1,
    frac_flagged: float = 0.1,
    error_rate: float = 0.05,
    min_anchor: int = 8,
    write_fastq: bool = False,
    overwrite: bool = False,
    seed: int = 0,
) -> SimulatedAlignments:
    """Write a small genome, its annotation and aligned reads of cells with known splicing.

    The genome is random sequence. Its genes have the eight event types and no event in turn, so
    that 9 genes cover each once and 18 genes cover each on both strands. Introns have the motif
    GT-AG, a few GC-AG or AT-AC. In each gene with an event, every cell type has a main
    transcript. Alignments are those of an aligner without errors.

    Parameters
    ----------
    folder
        Output folder for ``genome.fa``, ``annotation.gtf``, ``bam/``, and ``fastq/`` and
        ``barcodes.tsv`` if requested; created if missing.
    n_cells, n_types, n_genes
        Numbers of cells, of cell types (assigned in turn), and of genes.
    fragments_per_cell
        Number of fragments per cell, including unspliced and flagged ones.
    read_length
        Length of reads in bases, from 30 to 200.
    paired
        Whether both ends of a fragment are sequenced. Mates often overlap, and may both support a
        junction.
    fragment_length
        Mean and standard deviation of fragment lengths, which are at least the read length.
    strandedness
        ``"XS"``: the library is unstranded, and spliced reads have the strand of the transcript
        in tag ``XS``. ``"RF"`` (``"FR"``): the first read is antisense (sense) to the transcript,
        without a tag. ``"none"``: neither, so that only motifs or the annotation give the strand.
    barcoded
        If True, one BAM file for all cells, with the tags ``CB`` and ``UB``; fragments of one
        molecule count once. Otherwise, one BAM file per cell.
    n_overlapping
        Maximum number of pairs of overlapping genes on opposite strands.
    n_novel
        Maximum number of genes with a transcript that is missing in the GTF: cassette exons and
        alternative splice sites.
    frac_unspliced
        Share of fragments from random positions of the genome.
    frac_flagged
        Share of fragments with one of: failed quality control, duplicate, low mapping quality, a
        secondary or a supplementary alignment elsewhere, an unmapped mate (if paired), no barcode
        (if barcoded).
    error_rate
        Share of reads with a mismatch, an insertion, a deletion or a soft clip.
    min_anchor
        Minimum number of aligned bases on both sides of a junction, up to the next junction or the
        end of the read, for a read to count in the truth. Does not affect the reads.
    write_fastq
        Whether to write the reads as FASTQ, too.
    overwrite
        Whether to write to a folder that is not empty. Files of an earlier simulation are removed,
        others are kept.
    seed
        Non-negative integer; the same seed gives the same files.

    Returns
    -------
    SimulatedAlignments
        Paths of the files, and the truth.

    Raises
    ------
    ValueError
        An argument is out of its range.
    FileExistsError
        ``folder`` is a file, or not empty without ``overwrite``.

    Examples
    --------
    >>> simulated = simulate_alignments("simulated", n_cells=4)  # doctest: +SKIP
    >>> simulated.events["event_type"].value_counts()  # doctest: +SKIP
    """
    check_at_least(1, n_cells=n_cells, n_types=n_types, n_genes=n_genes, min_anchor=min_anchor)
    check_at_least(1, fragments_per_cell=fragments_per_cell)
    check_at_least(0, n_overlapping=n_overlapping, n_novel=n_novel)
    if n_types > n_cells:
        raise ValueError(f"Expected n_types to be at most n_cells={n_cells}, found {n_types}.")
    check_inside("read_length", read_length, "[30, 200]")
    mean, deviation = fragment_length
    if not (0 < mean < np.inf and 0 <= deviation < np.inf):
        raise ValueError(
            "Expected fragment_length to be a finite (mean, standard deviation), mean above 0, "
            f"found {fragment_length}."
        )
    check_one_of("strandedness", strandedness, _LIBRARIES)
    check_inside("frac_unspliced", frac_unspliced, "[0, 1)")
    check_inside("frac_flagged", frac_flagged, "[0, 1)")
    check_inside("error_rate", error_rate, "[0, 1)")
    folder = Path(folder)
    _prepare_folder(folder, overwrite)

    rng = np.random.default_rng(seed)
    genome = plant_genome(rng, n_genes, n_overlapping, n_novel)
    var, number = junction_table(genome)
    types = [f"type_{i}" for i in range(n_types)]
    usage = _draw_usage(rng, genome.genes, types)
    templates = [
        Template.of(
            gene.chrom,
            gene.strand,
            one.exons,
            genome.sequences[gene.chrom],
            [number[gene.gene_id, intron] for intron in one.introns],
        )
        for gene in genome.genes
        for one in gene.transcripts
    ]
    n_transcripts = len(templates)
    expression = rng.lognormal(0, _EXPRESSION_SPREAD, n_genes)
    expression = np.repeat(expression, [len(gene.transcripts) for gene in genome.genes])
    positions = [max(len(one.sequence) - mean + 1, mean / 4) for one in templates]
    templates += [
        Template.of(chrom, "+", [(0, len(sequence))], sequence, [])
        for chrom, sequence in genome.sequences.items()
    ]
    contig_share = np.array([len(sequence) for sequence in genome.sequences.values()], float)
    contig_share *= frac_unspliced / contig_share.sum()

    width = len(str(n_cells - 1))
    cells = [f"cell_{i:0{width}d}" for i in range(n_cells)]
    cell_type = categorical(np.arange(n_cells) % n_types, types)
    names = (
        [f"{sequence}-1" for sequence in _distinct_sequences(rng, n_cells, 16)]
        if barcoded
        else cells
    )
    obs = pd.DataFrame({"cell_type": cell_type}, index=names)
    flags = [
        name
        for name in FLAGS[1:]
        if (paired or name != "mate_unmapped") and (barcoded or name != "no_barcode")
    ]
    (folder / "bam").mkdir(exist_ok=True)
    header = "@HD\tVN:1.6\tSO:unsorted\n" + "".join(
        f"@SQ\tSN:{chrom}\tLN:{len(sequence)}\n" for chrom, sequence in genome.sequences.items()
    )
    support, bams, fastqs = [], [], []
    for i, cell in enumerate(cells):
        share = expression * positions * usage.iloc[:, i % n_types].to_numpy()
        fragments = draw_fragments(
            rng,
            templates,
            np.concatenate([share * (1 - frac_unspliced) / share.sum(), contig_share]),
            fragments_per_cell,
            read_length=read_length,
            fragment_length=fragment_length,
            strandedness=strandedness,
            error_rate=error_rate,
            frac_flagged=frac_flagged,
            flags=flags,
            frac_amplified=_AMPLIFIED if barcoded else 0.0,
        )
        # Fragments of whole contigs have no strand: it is random in stranded libraries, too.
        genomic = fragments.template >= n_transcripts
        fragments.forward[genomic] = rng.random(int(genomic.sum())) < 0.5
        tags = [""] * fragments_per_cell
        if barcoded:
            umis = _distinct_sequences(rng, fragments_per_cell, 12)
            tags = [f"\tCB:Z:{obs.index[i]}\tUB:Z:{umis[unit]}" for unit in fragments.unit]
        written = write_reads(
            rng,
            templates,
            fragments,
            names=cell,
            tags=tags,
            paired=paired,
            read_length=read_length,
            min_anchor=min_anchor,
            xs=strandedness == "XS",
            fastq=write_fastq,
        )
        unit = fragments.unit if barcoded else np.arange(fragments_per_cell)
        support.append(_count(written.fragment, written.junction, fragments.flag, unit, len(var)))
        sam = folder / "bam" / f"{'cells' if barcoded else cell}.sam"
        with open(sam, "a", newline="\n") as file:
            file.write(header if file.tell() == 0 else "")
            file.writelines(written.sam)
        if not barcoded or i == n_cells - 1:
            bams.append(_to_bam(sam))
        if write_fastq:
            fastqs.append(_write_fastq(folder / "fastq", cell, written.fastq[: 1 + paired]))

    write_fasta(genome, folder / "genome.fa")
    write_gtf(genome, folder / "annotation.gtf")
    if barcoded:
        (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in obs.index))
    counted, unduplicated, unique = (
        sp.csr_matrix(np.stack(rows), dtype=np.int32) for rows in zip(*support, strict=True)
    )
    layers = {"without_duplicates": unduplicated, "unique": unique}
    return SimulatedAlignments(
        bams=bams,
        fasta=folder / "genome.fa",
        gtf=folder / "annotation.gtf",
        barcodes=folder / "barcodes.tsv" if barcoded else None,
        fastqs=fastqs,
        junctions=AnnData(counted, obs=obs, var=var, layers=layers),
        events=event_table(genome.genes),
        transcripts=transcript_table(genome.genes),
        usage=usage,
    )


def _prepare_folder(folder: Path, overwrite: bool) -> None:
    """Create the folder, or remove the files of an earlier simulation from it."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"Expected folder to be a folder, found the file {folder}.")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise FileExistsError(
                f"Expected an empty folder, found files in {folder}. Use another, or set "
                "overwrite=True."
            )
        for pattern in (
            "genome.fa",
            "genome.fa.fai",
            "annotation.gtf",
            "barcodes.tsv",
            "bam/cell*.bam",
            "bam/cell*.bam.bai",
            "bam/cell*.sam",
            "fastq/cell_*.fastq",
        ):
            for path in folder.glob(pattern):
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _draw_usage(rng: np.random.Generator, genes: list[Gene], types: list[str]) -> pd.DataFrame:
    """Draw the usage of transcripts by cell type; the main transcript differs between types."""
    rows, index = [], []
    for gene in genes:
        n = len(gene.transcripts)
        dominant = rng.integers(0, n, len(types))
        if n > 1 and len(types) > 1 and len(set(dominant)) == 1:
            other = rng.integers(len(types))
            dominant[other] = (dominant[other] + 1) % n
        share = np.full((n, len(types)), (1 - _DOMINANT) / max(n - 1, 1))
        share[dominant, np.arange(len(types))] = _DOMINANT if n > 1 else 1.0
        rows.append(share)
        index += [one.transcript_id for one in gene.transcripts]
    return pd.DataFrame(
        np.concatenate(rows), index=pd.Index(index, name="transcript_id"), columns=types
    )


def _distinct_sequences(rng: np.random.Generator, n: int, length: int) -> list[str]:
    """Draw distinct sequences of bases."""
    codes = rng.choice(4**length, n, replace=False)
    digits = codes[:, None] // 4 ** np.arange(length) % 4
    return ["".join(bases) for bases in np.array(list("ACGT"))[digits]]


def _count(
    fragment: Sequence[int],
    junction: Sequence[int],
    flag: np.ndarray,
    unit: np.ndarray,
    n_junctions: int,
) -> list[np.ndarray]:
    """Count the molecules or fragments of each junction: all, without duplicates, and unique."""
    fragments, junctions = np.asarray(fragment, np.int64), np.asarray(junction, np.int64)
    flags = np.asarray(FLAGS, object)[flag[fragments]]
    counted = (flags != "qc_fail") & (flags != "no_barcode")
    counts = []
    for keep in (counted, counted & (flags != "duplicate"), counted & (flags != "low_quality")):
        pairs = np.unique(unit[fragments[keep]] * n_junctions + junctions[keep])
        counts.append(np.bincount(pairs % n_junctions, minlength=n_junctions))
    return counts


def _to_bam(sam: Path) -> Path:
    """Replace a SAM file by a sorted and indexed BAM file."""
    bam = sam.with_suffix(".bam")
    pysam.sort("--no-PG", "-o", str(bam), str(sam))
    pysam.index(str(bam))
    sam.unlink()
    return bam


def _write_fastq(folder: Path, cell: str, reads: Sequence[list[str]]) -> tuple[Path, ...]:
    folder.mkdir(exist_ok=True)
    paths = tuple(folder / f"{cell}_R{i + 1}.fastq" for i in range(len(reads)))
    for path, lines in zip(paths, reads, strict=True):
        path.write_text("".join(lines), newline="\n")
    return paths
