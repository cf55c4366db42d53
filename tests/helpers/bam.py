"""Small BAM files for the tests of counting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pysam
from helpers.parts import counts

from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    from pathlib import Path

CONTIGS = {"chr1": 100_000, "chr2": 50_000}
HEADER = pysam.AlignmentHeader.from_dict(
    {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": name, "LN": length} for name, length in CONTIGS.items()],
    }
)


def make_read(name="r", flag=0, contig=0, position=100, cigar="20M100N20M", mapq=60, tags=()):
    read = pysam.AlignedSegment(HEADER)
    read.query_name, read.flag = name, flag
    read.reference_id, read.reference_start = contig, position
    read.mapping_quality, read.cigarstring = mapq, cigar
    length = sum(int(n) for n, op in re.findall(r"(\d+)(.)", cigar) if op in "MIS=X")
    read.query_sequence = "A" * length
    read.query_qualities = pysam.qualitystring_to_array("I" * length)
    read.set_tags(list(tags))
    return read


def write(path: Path, reads, mode: str = "wb", **options) -> Path:
    with pysam.AlignmentFile(path, mode, header=HEADER, **options) as file:
        for read in reads:
            file.write(read)
    return path


def count_reads(tmp_path: Path, *reads, **options) -> dict:
    path = write(tmp_path / "reads.bam", reads)
    return {k[1:]: n for k, n in counts(count_bam(path, "c", BamOptions(**options))).items()}
