"""Readers with small whole files, what they read, and how what is valid is told."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pysam
import scipy.sparse as sp
from benchmarks.robustness._damage import BYTES, LINES
from benchmarks.robustness._valid import (
    is_barcode_map,
    is_barcodes,
    is_bed,
    is_cell_columns,
    is_cell_table,
    is_fasta,
    is_features,
    is_gff3,
    is_gtf,
    is_isoquant,
    is_isoquant_columns,
    is_isoquant_features,
    is_isoquant_groups,
    is_isoquant_matrix,
    is_long_table,
    is_matrix,
    is_sam,
    is_sj,
    is_table,
)
from benchmarks.robustness._whole import (
    BASES,
    N_LINES,
    barcode_lines,
    barcode_map_lines,
    bed_lines,
    cell_column_lines,
    cell_lines,
    genome_junctions,
    gff3_lines,
    gtf_lines,
    isoquant_files,
    isoquant_lines,
    long_table_lines,
    sj_lines,
    solo_files,
)

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._h5ad import read_data
from leafletfa_scvi.pp.annotate._genome import motifs_and_strands
from leafletfa_scvi.pp.read._barcode_map import read_barcode_map
from leafletfa_scvi.pp.read._barcodes import read_barcodes
from leafletfa_scvi.pp.read._bed import read_bed
from leafletfa_scvi.pp.read._cell_table import read_cell_table
from leafletfa_scvi.pp.read._counts_table import read_coordinates
from leafletfa_scvi.pp.read._isoquant import read_intron_counts
from leafletfa_scvi.pp.read._leafcutter import read_perind
from leafletfa_scvi.pp.read._long_table import read_rows
from leafletfa_scvi.pp.read._sources import find_sources
from leafletfa_scvi.pp.read._star import read_sj
from leafletfa_scvi.pp.read._starsolo import read_solo
from leafletfa_scvi.pp.read.bam._count import count_bam
from leafletfa_scvi.pp.read.bam._options import BamOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad
    from benchmarks.robustness._damage import Damage

    from leafletfa_scvi.pp.read._file_counts import FileCounts


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    name
        Of the table.
    write
        Writes the whole files into a folder and returns the one to damage.
    read
        Reads the file; what it returns is compared by ``==``.
    is_valid
        Whether bytes are a valid file of this format, beside the other files as they are.
    damages
        Kinds of damage.
    is_text
        Whether errors must name a line.
    in_child
        Whether a process of its own reads: damaged HDF5 can make its library crash or hang.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    is_valid: Callable[[bytes], bool]
    damages: tuple[Damage, ...] = (*BYTES, *LINES)
    is_text: bool = True
    in_child: bool = False


def counts(part: FileCounts) -> Any:
    """Everything that a part says of junctions and cells."""
    arrays = (part.contig, part.start, part.end, part.strand, part.cell, part.junction, part.count)
    motif = None if part.motif is None else part.motif.tolist()
    return part.contigs, part.cells, motif, [values.tolist() for values in arrays]


def annotation(path: Path) -> Any:
    found = lfa.pp.read_annotation(path)
    tables = (found.genes.reset_index(), found.introns, found.exons)
    return [table.to_numpy().tolist() for table in tables]


def solo(damaged: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        raw = folder / "Solo.out" / "SJ" / "raw"
        raw.mkdir(parents=True)
        for name, lines in solo_files().items():
            write_lines(raw / name, lines)
        return raw / damaged

    return write


def isoquant(damaged: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for name, lines in isoquant_files().items():
            write_lines(folder / name, lines)
        return folder / damaged

    return write


def beside(path: Path) -> Path:
    """The matrix that a file of IsoQuant is beside."""
    return path.with_name("x.include.matrix.mtx")


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), newline="")
    return path


def lines_in(name: str, lines: Callable[[], list[str]]) -> Callable[[Path], Path]:
    return lambda folder: write_lines(folder / name, lines())


def write_bam(folder: Path) -> Path:
    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6"}, "SQ": [{"SN": "chr1", "LN": 100_000}]}
    )
    with pysam.AlignmentFile(str(folder / "reads.bam"), "wb", header=header) as file:
        for i in range(300):
            read = pysam.AlignedSegment(header)
            read.query_name, read.reference_id, read.reference_start = f"r{i}", 0, 1000 + i
            read.cigarstring, read.query_sequence = "50M300N50M", "ACGTA" * 20
            read.mapping_quality = 60
            read.set_tags([("XS", "+"), ("CB", barcode_lines()[i % 9]), ("UB", f"U{i}")])
            file.write(read)
    return folder / "reads.bam"


def write_sam(folder: Path) -> Path:
    with pysam.AlignmentFile(str(write_bam(folder))) as bam:
        lines = [str(bam.header).rstrip("\n"), *(read.to_string() for read in bam)]
    return write_lines(folder / "reads.sam", lines[: N_LINES * 2])


def count_tagged(path: Path) -> Any:
    return counts(count_bam(path, "", BamOptions(cell_tag="CB", umi_tag="UB")))


def write_fasta(folder: Path) -> Path:
    rng = random.Random(5)
    lines = ["".join(rng.choices(BASES, k=60)) for _ in range(40)]
    return write_lines(folder / "genome.fa", [">chr1 test", *lines, ">chr2", *lines[:3]])


def motifs(path: Path) -> Any:
    return motifs_and_strands(genome_junctions(), path)


def write_table(folder: Path) -> Path:
    for i in range(5):
        write_lines(folder / f"cell{i}.SJ.out.tab", sj_lines()[: i + 1])
    rows = [f"cell{i}.SJ.out.tab\tcell_{i}\t{'AB'[i % 2]}\t{20 + i}" for i in range(5)]
    return write_lines(folder / "cells.tsv", ["path\tcell\tsample\tage", *rows])


def sources(path: Path) -> Any:
    found = find_sources(path)
    rows = [(one.path, one.format, one.cell, one.sample) for one in found.sources]
    return rows, found.annotation.to_dict("list")


def write_h5ad(folder: Path) -> Path:
    lfa.datasets.simulate_splicing(20, 30, 2, seed=0).write_h5ad(
        folder / "data.h5ad", compression="gzip"
    )
    return folder / "data.h5ad"


def data_set(path: Path) -> Any:
    adata = read_data(path)
    check_data_set(adata)
    tables = [adata.obs.to_dict("list"), adata.var.to_dict("list")]
    layers = {key: _dense(value) for key, value in [*adata.layers.items(), ("X", adata.X)]}
    return tables, list(adata.obs_names), list(adata.var_names), layers


def check_data_set(adata: ad.AnnData) -> None:
    lfa.LeafletFAModel.setup_anndata(adata, atse_key="atse_id")


def _dense(values: Any) -> Any:
    return (values.toarray() if sp.issparse(values) else np.asarray(values)).tolist()


READERS: tuple[Reader, ...] = (
    Reader(
        "STAR SJ.out.tab",
        lines_in("c.SJ.out.tab", sj_lines),
        lambda p: counts(read_sj(p, "c")),
        is_sj,
    ),
    *(
        Reader(
            f"STARsolo {name}",
            solo(name),
            lambda path: counts(read_solo(path.parent)),
            is_valid,
        )
        for name, is_valid in (
            ("matrix.mtx", is_matrix),
            ("features.tsv", is_features),
            ("barcodes.tsv", is_barcodes(10)),
        )
    ),
    *(
        Reader(
            name,
            lambda folder, width=width: write_lines(folder / "c.bed", bed_lines(width)),
            lambda path: counts(read_bed(path, "c")),
            is_bed(width),
        )
        for name, width in (
            ("BED of introns", 6),
            ("regtools BED12", 12),
            ("regtools with barcodes", 14),
        )
    ),
    *(
        Reader(
            name,
            lines_in("x_perind.counts", lambda kind=kind: cell_column_lines(kind)),
            lambda path, read=read: counts(read(path)),
            is_cell_columns(kind),
        )
        for name, kind, read in (
            ("leafcutter perind.counts", "ratios", read_perind),
            ("leafcutter perind_numers.counts", "numers", read_perind),
            ("table of coordinates x cells", "coordinates", read_coordinates),
        )
    ),
    Reader(
        "IsoQuant intron counts",
        lines_in("c.tsv", isoquant_lines),
        lambda path: counts(read_intron_counts(path, "c")),
        is_isoquant,
    ),
    *(
        Reader(
            f"IsoQuant {name}",
            isoquant(file),
            lambda path: counts(
                read_intron_counts(path if path.stem == "x_counts" else beside(path), "c")
            ),
            is_valid,
        )
        for name, file, is_valid in (
            ("include.matrix.mtx", "x.include.matrix.mtx", is_isoquant_matrix),
            ("features.tsv", "x.features.tsv", is_isoquant_features),
            ("barcodes.tsv", "x.barcodes.tsv", is_isoquant_groups),
            ("columns of groups", "x_counts.tsv", is_isoquant_columns),
        )
    ),
    Reader(
        "long table",
        lines_in("c.tsv", long_table_lines),
        lambda path: counts(read_rows(path)),
        is_long_table,
    ),
    Reader(
        "map of barcodes",
        lines_in("map.tsv", barcode_map_lines),
        read_barcode_map,
        is_barcode_map,
    ),
    Reader("GTF", lines_in("a.gtf", gtf_lines), annotation, is_gtf),
    Reader("GFF3", lines_in("a.gff3", gff3_lines), annotation, is_gff3),
    Reader(
        "list of barcodes", lines_in("barcodes.tsv", barcode_lines), read_barcodes, is_barcodes()
    ),
    Reader(
        "table of cells",
        lines_in("cells.tsv", cell_lines),
        lambda path: read_cell_table(path, "sample.id").to_dict("split"),
        is_cell_table,
    ),
    Reader("table of files", write_table, sources, is_table),
    Reader("FASTA", write_fasta, motifs, is_fasta, is_text=False),
    Reader("SAM", write_sam, count_tagged, is_sam, is_text=False),
    Reader("BAM", write_bam, count_tagged, lambda data: False, BYTES, is_text=False),
    # HDF5 has no checksums: what opens and passes the checks of the model cannot be told apart.
    Reader("h5ad", write_h5ad, data_set, lambda data: True, BYTES, is_text=False, in_child=True),
)
