"""A simulator of aligned reads of single cells, with the junction counts they hold."""

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
from leafletfa_scvi.datasets._genome import plant_genome, write_fasta, write_gtf
from leafletfa_scvi.datasets._reads import MARKS, Template, draw_fragments, write_reads
from leafletfa_scvi.datasets._truth import event_table, junction_table, transcript_table

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from leafletfa_scvi.datasets._genome import Gene

_DOMINANT: Final = 0.7
"""Share of the transcript that a cell type uses most."""
_EXPRESSION_SPREAD: Final = 0.4
"""Standard deviation of the logarithm of gene expression."""
_AMPLIFIED: Final = 0.3
"""Share of fragments of the same molecule as the one before, where cells are barcoded."""
_LIBRARIES: Final = ("XS", "RF", "FR", "none")


@dataclass(frozen=True, eq=False)
class SimulatedAlignments:
    """Files of simulated alignments, and the truth about them.

    Attributes
    ----------
    bams
        BAM files, sorted by coordinate and indexed: one for each cell, named after it, or one
        with all cells.
    fasta, gtf
        Genome, indexed, and its annotation.
    barcodes
        File of cell barcodes, one a line, where cells are barcoded.
    fastqs
        FASTQ files of each cell: one, or those of first and second reads.
    junctions
        C x J, cells and all planted introns. ``X`` (int32 CSR): fragments, or molecules where
        cells are barcoded, of which a primary alignment that did not fail quality control
        supports the junction; layers ``without_duplicates`` and ``unique`` (mapping quality above
        1) are the same without reads marked so. ``obs["cell_type"]``; ``var`` has ``chrom``,
        ``start``, ``end`` (first and last base of the intron, 1-based), ``strand``, ``motif``,
        ``gene_id``, ``gene_name``, ``known_junction`` (in the GTF), ``event_id`` and
        ``event_type`` (``""`` where every transcript of the gene has the intron), and ``atse``:
        a label for junctions of a gene that are connected by shared splice sites, ``""`` for
        those that share none.
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
    unspliced: float = 0.1,
    marked: float = 0.1,
    errors: float = 0.05,
    min_anchor: int = 8,
    write_fastq: bool = False,
    overwrite: bool = False,
    seed: int = 0,
) -> SimulatedAlignments:
    """Write a small genome, its annotation and aligned reads of cells whose splicing is known.

    The genome is random sequence; the eight kinds of events and genes without any take turns over
    its genes, so 9 genes have one of each and 18 have each on both strands. Introns have the
    motif GT-AG, a few GC-AG or AT-AC. In each gene with an event, each cell type uses one
    transcript most. Reads are written as an aligner that makes no mistake would.

    Parameters
    ----------
    folder
        Where files go: ``genome.fa``, ``annotation.gtf``, ``bam/``, and ``fastq/`` and
        ``barcodes.tsv`` where asked for. Made if it is not there.
    n_cells, n_types, n_genes
        Numbers of cells, of types they belong to in turn, and of genes.
    fragments_per_cell
        Fragments of each cell, those of ``unspliced`` and ``marked`` among them.
    read_length
        Bases of a read, from 30 to 200.
    paired
        Whether both ends of a fragment are read. Mates often overlap, and may both support a
        junction.
    fragment_length
        Mean and standard deviation of fragment lengths; none is shorter than a read.
    strandedness
        ``"XS"``: the library is unstranded, and spliced reads have the strand of the transcript
        in tag ``XS``. ``"RF"`` (``"FR"``): the first read is the reverse complement of (is like)
        the transcript, no tag. ``"none"``: neither, so only motifs or the annotation tell.
    barcoded
        One BAM for all cells, with tags ``CB`` and ``UB``; several fragments may come of one
        molecule, and count once. Else one BAM for each cell.
    n_overlapping
        Pairs of genes on opposite strands that overlap, at most; they are as many as fit.
    n_novel
        Genes of which one transcript is not in the GTF, at most: cassette exons and alternative
        splice sites.
    unspliced
        Share of fragments that come of anywhere on the genome.
    marked
        Share of fragments with one of: failed quality control, duplicate, low mapping quality, a
        secondary or a supplementary alignment elsewhere, an unmapped mate (if paired), no barcode
        (if barcoded).
    errors
        Share of reads with a mismatch, an insertion, a deletion or a soft clip.
    min_anchor
        Fewest aligned bases that a read must have on both sides of a junction, up to the next
        junction or its end, to count in the truth. The reads do not depend on it.
    write_fastq
        Also write the reads as FASTQ.
    overwrite
        Whether a folder that is not empty may be written to. Files of an earlier simulation in it
        are removed; others are left alone.
    seed
        Non-negative whole number; the same seed gives the same files.

    Returns
    -------
    SimulatedAlignments
        Paths of files and the truth.

    Raises
    ------
    ValueError
        An argument is out of its range.
    FileExistsError
        The folder is a file, or not empty and ``overwrite`` is not set.

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
    for name, share in {"unspliced": unspliced, "marked": marked, "errors": errors}.items():
        check_inside(name, share, "[0, 1)")
    folder = Path(folder)
    _make_room(folder, overwrite)

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
    contig_share *= unspliced / contig_share.sum()

    width = len(str(n_cells - 1))
    cells = [f"cell_{i:0{width}d}" for i in range(n_cells)]
    cell_type = pd.Categorical.from_codes(np.arange(n_cells) % n_types, types)
    names = [f"{word}-1" for word in _words(rng, n_cells, 16)] if barcoded else cells
    obs = pd.DataFrame({"cell_type": cell_type}, index=names)
    marks = [
        name
        for name in MARKS[1:]
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
            np.concatenate([share * (1 - unspliced) / share.sum(), contig_share]),
            fragments_per_cell,
            read_length=read_length,
            fragment_length=fragment_length,
            strandedness=strandedness,
            errors=errors,
            marked=marked,
            marks=marks,
            amplified=_AMPLIFIED if barcoded else 0.0,
        )
        # Reads over no transcript have no strand of their own.
        loose = fragments.template >= n_transcripts
        fragments.forward[loose] = rng.random(int(loose.sum())) < 0.5
        tags = [""] * fragments_per_cell
        if barcoded:
            umis = _words(rng, fragments_per_cell, 12)
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
        support.append(_count(written.fragment, written.junction, fragments.mark, unit, len(var)))
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


def _make_room(folder: Path, overwrite: bool) -> None:
    """Make the folder, or remove from it what an earlier simulation wrote."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: give a folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise FileExistsError(f"{folder} is not empty. Give another, or set overwrite=True.")
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
    """Usage of each transcript by each type: one dominates, not the same one in all types."""
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


def _words(rng: np.random.Generator, n: int, length: int) -> list[str]:
    """Distinct words of bases, in random order."""
    codes = rng.choice(4**length, n, replace=False)
    digits = codes[:, None] // 4 ** np.arange(length) % 4
    return ["".join(word) for word in np.array(list("ACGT"))[digits]]


def _count(
    fragment: Sequence[int],
    junction: Sequence[int],
    mark: np.ndarray,
    unit: np.ndarray,
    n_junctions: int,
) -> list[np.ndarray]:
    """Units that support each junction: all, without duplicates, of good mapping quality."""
    fragments, junctions = np.asarray(fragment, np.int64), np.asarray(junction, np.int64)
    marks = np.asarray(MARKS, object)[mark[fragments]]
    counted = (marks != "qc_fail") & (marks != "no_barcode")
    counts = []
    for keep in (counted, counted & (marks != "duplicate"), counted & (marks != "low_quality")):
        pairs = np.unique(unit[fragments[keep]] * n_junctions + junctions[keep])
        counts.append(np.bincount(pairs % n_junctions, minlength=n_junctions))
    return counts


def _to_bam(sam: Path) -> Path:
    """Sorted and indexed BAM in place of a SAM file."""
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
