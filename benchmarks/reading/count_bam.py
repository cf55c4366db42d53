"""Time of counting a BAM file against that of bare iteration over it with pysam.

    python -m benchmarks.reading.count_bam [--reads 10000000] [--genes 600] [--threads 1]
        [--rounds 3] [--tags] [--file kept.bam]

Writes a BAM file sorted by position: pairs of 100 bases from genes of ten exons of 300 to 900
bases, so that 15 % of the reads are spliced, with the tags NH, HI, AS and nM and, on spliced
reads, XS. ``--tags`` adds barcode and UMI to each read. Then ``for read in file: pass`` and
``count_bam`` run in turn. "s" are seconds of the processor over all threads, "clock s" those that
pass; each is the least of the rounds.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pysam
from benchmarks._machine import load
from benchmarks._report import Table, now, write

from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH, N_EXONS, CONTIG = 100, 10, 240_000_000
COLUMNS = {
    "what": 24,
    "threads": 7,
    "bare s": 7,
    "count s": 7,
    "ratio": 6,
    "bare clock s": 12,
    "count clock s": 13,
    "ratio of clock": 14,
}
SETTINGS = {
    "one cell, XS": {},
    "one cell, RF": {"strand": "RF"},
    "barcodes, fragments": {"cell_tag": "CB"},
    "barcodes and UMIs": {"cell_tag": "CB", "umi_tag": "UB"},
}


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reads", type=int, default=10_000_000)
    parser.add_argument("--genes", type=int, default=600)
    parser.add_argument("--tags", action="store_true", help="CB and UB on each read")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="kept, and taken as it is if there")
    parser.add_argument("--output", help="name of the results instead of the processor's")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "reads.bam"
        if not path.exists():
            print(f"Writing {args.reads:,} reads to {path}", flush=True)
            write_bam(path, args.reads, args.genes, tags=args.tags)
        run(path, args)


def run(path: Path, args: argparse.Namespace) -> None:
    """Measure and report."""
    part = count_bam(path, "cell", BamOptions())
    name = args.output or processor()
    facts = {
        "processor": processor(),
        "python": platform.python_version(),
        "pysam": pysam.__version__,
        "numpy": np.__version__,
        "date": now(),
        "reads": f"{part.report['reads']:,}",
        "spliced": f"{part.report['reads_spliced'] / part.report['reads']:.1%}",
        "junctions": f"{part.n_junctions:,}",
        "size of the file": f"{path.stat().st_size / 1e6:,.0f} MB",
        "rounds": str(args.rounds),
        "load before": load(),
    }
    table = Table(COLUMNS)
    table.start()
    for threads in args.threads:
        for what, options in SETTINGS.items():
            if "cell_tag" in options and not args.tags:
                continue
            add(table, path, what, BamOptions(threads=threads, **options), args.rounds)
    facts["load after"] = load()
    written = write(f"count-bam {name}", f"Counting a BAM file: {name}", facts, {"Times": table})
    print(f"\nWritten to {written}")


def add(table: Table, path: Path, what: str, options: BamOptions, rounds: int) -> None:
    """One row: the least of some rounds, bare and counting in turn."""
    bare, count = [], []
    for _ in range(rounds):
        bare.append(seconds(lambda: iterate(path, options.threads)))
        count.append(seconds(lambda: count_bam(path, "cell", options)))
    (bare_cpu, bare_clock), (count_cpu, count_clock) = (
        np.min(times, axis=0).tolist() for times in (bare, count)
    )
    table.add(
        **{
            "what": what,
            "threads": options.threads,
            "bare s": bare_cpu,
            "count s": count_cpu,
            "ratio": count_cpu / bare_cpu,
            "bare clock s": bare_clock,
            "count clock s": count_clock,
            "ratio of clock": count_clock / bare_clock,
        }
    )


def iterate(path: Path, threads: int) -> None:
    """Read all records."""
    with pysam.AlignmentFile(path, threads=threads) as file:
        for _read in file:
            pass


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Of the processor and of the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - clock


def processor() -> str:
    """Its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write_bam(path: Path, n_reads: int, n_genes: int, *, tags: bool, seed: int = 0) -> None:
    """Write pairs of reads of spliced transcripts, sorted by position."""
    rng = np.random.default_rng(seed)
    n = n_reads // 2
    exon = rng.integers(300, 900, (n_genes, N_EXONS))
    intron = np.exp(rng.uniform(np.log(80), np.log(20_000), (n_genes, N_EXONS))).astype(int)
    strand = rng.integers(0, 2, n_genes)
    begin = np.cumsum(exon, axis=1) - exon  # in the transcript
    gene_start = np.sort(rng.integers(1_000, CONTIG - 300_000, n_genes))
    place = gene_start[:, None] + np.cumsum(exon + intron, axis=1) - exon - intron

    weight = rng.lognormal(0, 1.5, n_genes)
    gene = rng.choice(n_genes, n, p=weight / weight.sum())
    fragment = rng.integers(150, 400, n)
    first = (rng.random(n) * (exon.sum(axis=1)[gene] - fragment)).astype(int)
    at = np.concatenate([first, first + fragment - LENGTH])
    gene = np.concatenate([gene, gene])
    number = (at[:, None] >= begin[gene]).sum(axis=1) - 1
    offset = at - begin[gene, number]
    left = np.minimum(exon[gene, number] - offset, LENGTH)
    position = place[gene, number] + offset
    mate = np.roll(position, n)
    # RF: of a gene on +, read 2 lies first and forward, read 1 last and reversed.
    is_left = np.arange(2 * n) < n
    forward = strand[gene] == 0
    flag = np.where(is_left, np.where(forward, 163, 99), np.where(forward, 83, 147))

    header = pysam.AlignmentHeader.from_dict(
        {
            "HD": {"VN": "1.6", "SO": "coordinate"},
            "SQ": [{"SN": "chr1", "LN": CONTIG + 10_000_000}],
        }
    )
    bases = ["".join(row) for row in rng.choice(list("ACGT"), (2_000, LENGTH))]
    quality = rng.choice([2, 12, 23, 37], (500, LENGTH), p=[0.02, 0.03, 0.1, 0.85])
    qualities = ["".join(chr(33 + q) for q in row) for row in quality]
    barcodes = ["".join(row) + "-1" for row in rng.choice(list("ACGT"), (1_000, 16))]
    cell, umi = rng.integers(0, 1_000, n), rng.integers(0, 4**12, n)
    with pysam.AlignmentFile(path, "wb", header=header) as file:
        for i in np.argsort(position, kind="stable").tolist():
            read = pysam.AlignedSegment(header)
            pair = i % n
            read.query_name = f"A00519:22:HFWYJDMXX:{1 + pair % 4}:{pair // 10_000}:{pair}"
            read.flag = int(flag[i])
            read.reference_id = read.next_reference_id = 0
            read.reference_start, read.next_reference_start = int(position[i]), int(mate[i])
            read.mapping_quality = 255
            aligned = int(left[i])
            marks = [("NH", 1), ("HI", 1), ("AS", 198), ("nM", 0)]
            if aligned < LENGTH:
                gap = int(intron[gene[i], number[i]])
                read.cigartuples = [(0, aligned), (3, gap), (0, LENGTH - aligned)]
                marks.append(("XS", "+-"[strand[gene[i]]], "A"))
            else:
                read.cigartuples = [(0, LENGTH)]
            if tags:
                marks += [("CB", barcodes[cell[pair]]), ("UB", _umi(int(umi[pair])))]
            read.query_sequence = bases[i % 2_000]
            read.query_qualities_str = qualities[i % 499]
            read.set_tags(marks)
            file.write(read)


def _umi(number: int) -> str:
    """Twelve bases."""
    return "".join("ACGT"[number >> shift & 3] for shift in range(0, 24, 2))


if __name__ == "__main__":
    main()
