"""Retained introns: PSI of those planted, and introns with other genes or with noise only."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
from benchmarks._spliced_reads import spliced_read

import leafletfa_scvi as lfa

READ, EXON, SPACING, N_CELLS = 100, 200, 8_000, 4
DEPTH = 3.0
"""Reads that begin at each base of a gene's transcripts, in each cell."""
LITTLE = 0.1
"""The same, of genes that are little expressed."""
NOISE = 0.04
"""Reads that begin at each base of the genome."""
SHARES = (0.15, 0.3, 0.5, 0.7, 0.85)
KINDS = (
    "retained",
    "noise",
    "noise, little expressed",
    "exon inside",
    "exon over a boundary",
    "unknown exon over a boundary",
    "unknown exon inside",
    "other gene contains it",
)
N_EACH = 5


def rows() -> list[tuple[str, str, str]]:
    """Return what was measured, and the targets."""
    with tempfile.TemporaryDirectory() as folder:
        return _rows(Path(folder))


def _rows(folder: Path) -> list[tuple[str, str, str]]:
    genes = [Gene(i, kind, SHARES[i % N_EACH]) for i, kind in enumerate(np.repeat(KINDS, N_EACH))]
    gtf = folder / "genes.gtf"
    gtf.write_text("".join(line for gene in genes for line in gene.gtf()))
    rng = np.random.default_rng(0)
    for cell in range(N_CELLS):
        _write_bam(folder / f"cell{cell}.bam", genes, rng)
    lfa.pp.make_splicing_dataset(folder, gtf=gtf)  # so that both times are without imports
    started = time.process_time()
    lfa.pp.make_splicing_dataset(folder, gtf=gtf)
    plain = time.process_time() - started
    started = time.process_time()
    adata = lfa.pp.make_splicing_dataset(folder, gtf=gtf, retained_introns=True)
    seconds = time.process_time() - started
    table = adata.uns["retained_introns"]
    called = table[table["event_type"] == "retained_intron"]
    of_kind = {f"chr1:{a}-{b}:+": gene for gene in genes for a, b in [gene.intron]}
    planted = {name for name, gene in of_kind.items() if gene.kind == "retained"}
    found = called.index[called.index.isin(planted)]
    error = [called["psi"][name] - of_kind[name].share for name in found]
    psi = lfa.pp.retained_intron_psi(adata)
    by_cell = [psi[name] - of_kind[name].share for name in found]
    false = called.index[~called.index.isin(planted)]
    return [
        (
            "retained introns planted",
            f"{len(found)} of {len(planted)} found; error of PSI at most "
            f"{np.abs(error).max():.3f}, of single cells {np.abs(by_cell).mean():.3f} on average",
            "PSI within 0.05",
        ),
        (
            "introns with noise, other exons or genes",
            f"{len(false)} of {adata.n_vars - len(planted)} called; PSI up to "
            f"{table['psi'].drop(found).max():.2f} by noise",
            "0",
        ),
        (
            "time with retained introns",
            f"{seconds / plain:.1f} times that without",
            "-",
        ),
    ]


@dataclass(frozen=True)
class Gene:
    """Exons 1, 2, 3 and 4; exon 3 is skipped by half; the intron between 1 and 2 is of a kind."""

    number: int
    kind: str
    share: float

    @property
    def exons(self) -> list[tuple[int, int]]:
        """First and last bases, 1-based."""
        starts = [1_000 + self.number * SPACING + at for at in (0, 1_000, 2_000, 3_000)]
        return [(start, start + EXON - 1) for start in starts]

    @property
    def intron(self) -> tuple[int, int]:
        """First and last base of the intron between exons 2 and 3, which an ATSE has."""
        exons = self.exons
        return exons[1][1] + 1, exons[2][0] - 1

    @property
    def other(self) -> tuple[int, int] | None:
        """The exon of another gene."""
        first, last = self.intron
        return {
            "exon inside": (first + 250, last - 250),
            "unknown exon inside": (first + 250, last - 250),
            "exon over a boundary": (first - 150, first + 250),
            "unknown exon over a boundary": (first - 150, first + 250),
            "other gene contains it": (first - 300, last + 300),
        }.get(self.kind)

    def transcripts(self) -> list[tuple[list[tuple[int, int]], float]]:
        """Exons and share of each transcript."""
        one, two, three, four = self.exons
        share = self.share if self.kind == "retained" else 0.0
        return [
            ([one, two, three, four], 0.7 * (1 - share)),
            ([one, two, four], 0.3 * (1 - share)),
            ([one, (two[0], three[1]), four], share),
        ]

    def gtf(self) -> list[str]:
        """Return the lines of the annotation; a retained intron is not in it."""
        lines = []
        for i, (exons, _) in enumerate(self.transcripts()[:2]):
            lines += [_line(*exon, "+", f"G{self.number}", i) for exon in exons]
        if self.other is not None and "unknown" not in self.kind:
            lines.append(_line(*self.other, "-", f"H{self.number}", 0))
        return lines


def _line(start: int, end: int, strand: str, gene: str, i: int) -> str:
    names = f'gene_id "{gene}"; transcript_id "{gene}.{i}";'
    return f"chr1\tx\texon\t{start}\t{end}\t.\t{strand}\t.\t{names}\n"


def _write_bam(path: Path, genes: list[Gene], rng: np.random.Generator) -> None:
    length = SPACING * (len(genes) + 2)
    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": length}]}
    )
    templates = [([(1, length)], NOISE)]
    for gene in genes:
        depth = LITTLE if "little" in gene.kind else DEPTH
        templates += [(exons, depth * share) for exons, share in gene.transcripts()]
        if gene.other is not None:
            templates.append(([gene.other], DEPTH))
    with pysam.AlignmentFile(path, "wb", header=header) as file:
        for exons, depth in templates:
            size = sum(end - start + 1 for start, end in exons) - READ + 1
            for first in rng.integers(0, size, rng.poisson(depth * size)):
                file.write(spliced_read(header, exons, int(first), READ))
