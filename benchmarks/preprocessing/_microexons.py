"""Microexons of 3 to 9 bases: PSI, misaligned short blocks, and the time of counting."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pysam
from benchmarks._spliced_reads import spliced_read
from benchmarks.reading.count_bam import write_bam

import leafletfa_scvi as lfa
from leafletfa_scvi.pp.read._options import read_options
from leafletfa_scvi.pp.read.bam._count import count_bam

if TYPE_CHECKING:
    import pandas as pd

READ, FLANK, INTRON, SPACING = 100, 300, 800, 10_000
LENGTHS = range(3, 10)
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
DEPTH, N_CELLS = 2.0, 4
"""Reads that begin at each base of a transcript, and cells."""
N_NOISE = 10
"""Reads of each gene and cell with a short block in an intron, where no exon is."""
N_USUAL = 200_000
"""Reads of genes without microexons, for the time of counting."""


def rows() -> list[tuple[str, str, str]]:
    """Return what was measured, and the targets."""
    with tempfile.TemporaryDirectory() as folder:
        return _rows(Path(folder))


def _rows(folder: Path) -> list[tuple[str, str, str]]:
    rng = np.random.default_rng(0)
    genes = [(length, share) for length in LENGTHS for share in SHARES]
    gtf = folder / "genes.gtf"
    gtf.write_text("".join(_gtf(i, length) for i, (length, _) in enumerate(genes)))
    for cell in range(N_CELLS):
        _write_bam(folder / f"cell{cell}.bam", genes, rng)
    adata = lfa.pp.make_splicing_dataset(folder, gtf=gtf, min_cells=1, min_reads=1, min_usage=0)
    counts = adata.layers["cell_by_junction_matrix"].toarray().sum(axis=0)
    of = dict(zip(zip(adata.var["start"], adata.var["end"], strict=True), counts, strict=True))
    score, error = [], []
    for i, (length, share) in enumerate(genes):
        before, after, skipping = _introns(i, length)
        for intron in (before, after):
            n = of.get(intron, 0) + of.get(skipping, 0)
            error.append(of.get(intron, 0) / n - share)
            score.append(error[-1] / np.sqrt(share * (1 - share) / n))
    planted = {intron for i, (length, _) in enumerate(genes) for intron in _introns(i, length)}
    noise = sum(n for intron, n in of.items() if intron not in planted)
    introns = lfa.pp.read_annotation(gtf).introns
    usual = folder / "usual.bam"
    write_bam(usual, N_USUAL, 600, tags=False)
    plain, known, _ = _seconds(usual, introns)
    plain_all, known_all, n_beside = _seconds(folder / "cell0.bam", introns)
    more = 1e6 * (known_all - plain_all) / n_beside
    return [
        (
            "microexons of 3-9 bases, PSI",
            f"root mean square of z {np.sqrt(np.mean(np.square(score))):.2f}, largest "
            f"{np.abs(score).max():.1f} of {len(score)}; error {np.abs(error).mean():.3f}",
            "within sampling error (z about 1)",
        ),
        (
            "short blocks at other sites",
            f"{noise:,} reads counted of {N_CELLS * len(genes) * N_NOISE:,}",
            "0",
        ),
        (
            "time of counting",
            f"{known / plain:.2f} of that without annotation; {more:.0f} us more for a junction "
            "beside a microexon",
            "<= 1.1",
        ),
    ]


def _exons(gene: int, length: int) -> list[tuple[int, int]]:
    """Return first and last bases (1-based) of the three exons."""
    start = 1_000 + gene * SPACING
    middle = start + FLANK + INTRON
    last = middle + length + INTRON
    return [
        (start, start + FLANK - 1),
        (middle, middle + length - 1),
        (last, last + FLANK - 1),
    ]


def _introns(gene: int, length: int) -> list[tuple[int, int]]:
    """Return the two introns of inclusion and that of skipping."""
    (_, a), (b, c), (d, _) = _exons(gene, length)
    return [(a + 1, b - 1), (c + 1, d - 1), (a + 1, d - 1)]


def _gtf(gene: int, length: int) -> str:
    exons = _exons(gene, length)
    return "".join(
        f"chr1\tx\texon\t{start}\t{end}\t.\t+\t.\t"
        f'gene_id "G{gene}"; transcript_id "G{gene}.{name}";\n'
        for name, parts in (("in", exons), ("out", [exons[0], exons[2]]))
        for start, end in parts
    )


def _write_bam(path: Path, genes: list[tuple[int, float]], rng: np.random.Generator) -> None:
    """Write reads of both transcripts of each gene, in proportion to their shares, and noise."""
    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": SPACING * (len(genes) + 2)}]}
    )
    with pysam.AlignmentFile(path, "wb", header=header) as file:
        for i, (length, share) in enumerate(genes):
            exons = _exons(i, length)
            for parts, of_all in ((exons, share), ([exons[0], exons[2]], 1 - share)):
                size = sum(end - start + 1 for start, end in parts) - READ
                for first in rng.integers(0, size + 1, rng.poisson(DEPTH * size * of_all)):
                    file.write(spliced_read(header, parts, int(first), READ))
            for _ in range(N_NOISE):
                block = int(rng.integers(1, 8))
                at = exons[0][1] + 100 + int(rng.integers(500))
                noise = [exons[0], (at, at + block - 1), exons[2]]
                file.write(spliced_read(header, noise, FLANK - 46, READ))


def _seconds(path: Path, introns: pd.DataFrame, rounds: int = 7) -> tuple[float, float, int]:
    """Return the least time of counting without and with annotation, in turn, and what it adds."""
    least = [np.inf, np.inf]
    settings = [read_options(annotated_introns=known).bam for known in (None, introns)]
    for _ in range(rounds):
        for i, options in enumerate(settings):
            started = time.process_time()
            report = count_bam(path, "cell", options).report
            least[i] = min(least[i], time.process_time() - started)
    return least[0], least[1], report["introns_beside_microexons"]
