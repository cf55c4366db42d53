"""Options of ``leafletfa make-dataset``: reading, counting, junctions and ATSEs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from leafletfa_scvi._choices import (
    AnnotationStatus,
    KeepOrDrop,
    LibraryStrand,
    StarReads,
    UmiMissing,
)
from leafletfa_scvi.cli._console import UserError
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._option_groups import OptionGroup
from leafletfa_scvi.pp.read import InputFormat

_READ = defaults_of("pp", "read_junctions")
_MAKE = defaults_of("pp", "make_splicing_dataset")


@dataclass(frozen=True)
class ReadingOptions(OptionGroup):
    """Options of the reading of files."""

    panel: ClassVar = "Reading"

    format: Annotated[Literal["auto", InputFormat], typer.Option(help="Format of the inputs.")] = (
        "auto"
    )
    n_jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Number of processes that read files.")
    ] = 1
    dask: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler whose workers read the files.", metavar="ADDRESS"
        ),
    ] = None
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the counts of single files, kept; by default OUTPUT.parts, which is "
            "removed at the end. After an interruption, rerunning the command resumes from it.",
            metavar="DIR",
        ),
    ] = None
    skip_bad_files: Annotated[
        bool,
        typer.Option(
            "--skip-bad-files", help="Skip files that cannot be read, with a warning naming them."
        ),
    ] = False
    star_reads: Annotated[
        StarReads, typer.Option(help="Reads of SJ.out.tab to count: unique, or also multi-mapped.")
    ] = _READ["star_reads"]
    barcodes: Annotated[
        Path | None, typer.Option(help="File of the cells to keep, one barcode per line.")
    ] = _READ["barcodes"]
    barcode_map: Annotated[
        Path | None,
        typer.Option(
            help="File of the cell of each barcode, whose counts are summed by cell: columns "
            "barcode and cell. --barcodes then lists cells.",
        ),
    ] = _READ["barcode_map"]
    cell_table: Annotated[
        Path | None,
        typer.Option(help="Table of cells (.csv, or with tabs) with columns for obs."),
    ] = _READ["cell_table"]
    cell_column: Annotated[
        str | None,
        typer.Option(help="Column of --cell-table with the names of cells.", metavar="NAME"),
    ] = _READ["cell_column"]
    region: Annotated[
        str | None,
        typer.Option(
            help="Keep junctions in this region only, such as chr10:1-1000000.", metavar="REGION"
        ),
    ] = _READ["region"]
    table_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of long tables, such as cell=CB; once for each of cell, chrom, start, "
            "end, strand and count whose name differs.",
            metavar="FIELD=NAME",
        ),
    ] = None
    table_zero_based: Annotated[
        bool,
        typer.Option(
            "--table-zero-based",
            help="Intervals of long tables are 0-based and half-open, as in BED.",
        ),
    ] = _READ["table_zero_based"]

    def arguments(self) -> dict[str, Any]:
        """Return what every reader takes; the command itself handles the rest."""
        return {
            "n_jobs": self.n_jobs,
            "on_error": "skip" if self.skip_bad_files else "raise",
            "star_reads": self.star_reads,
            "barcodes": self.barcodes,
            "barcode_map": self.barcode_map,
            "cell_table": self.cell_table,
            "cell_column": self.cell_column,
            "region": self.region,
            "table_columns": _pairs(self.table_column, "--table-column"),
            "table_zero_based": self.table_zero_based,
        }


def _pairs(given: list[str] | None, option: str) -> dict[str, str] | None:
    """Return the pairs of an option that is given as FIELD=NAME, once for each field."""
    pairs: dict[str, str] = {}
    for text in given or ():
        field, mark, name = text.partition("=")
        if not (field and mark and name) or field in pairs:
            raise UserError(f"{option} {text}: expected FIELD=NAME, each field once.")
        pairs[field] = name
    return pairs or None


@dataclass(frozen=True)
class CountingOptions(OptionGroup):
    """Arguments of the reader of alignments."""

    panel: ClassVar = "Counting alignments"

    cell_tag: Annotated[
        str | None,
        typer.Option(
            help="Tag of cell barcodes, such as CB, for files with many cells.", metavar="TAG"
        ),
    ] = _READ["cell_tag"]
    umi_tag: Annotated[
        str,
        typer.Option(
            help="Tag of UMIs; auto is UB with --cell-tag, and none without.", metavar="TAG"
        ),
    ] = _READ["umi_tag"]
    no_umi: Annotated[bool, typer.Option("--no-umi", help="Count fragments, not UMIs.")] = False
    umi_missing: Annotated[
        UmiMissing,
        typer.Option(
            help="Reads without UMI where UMIs are counted: kept, by fragment, if the tag is "
            "empty, as of internal reads of Smart-seq3, else dropped (auto); all kept; or all "
            "dropped.",
        ),
    ] = _READ["umi_missing"]
    reads_without_umi: Annotated[
        Literal["auto", "skip", "fragments"] | None, typer.Option(hidden=True)
    ] = None
    strand: Annotated[
        LibraryStrand,
        typer.Option(
            help="Strand of introns: from the tags XS or ts (auto, tag), from a stranded library "
            "(RF, FR), or unknown (none).",
        ),
    ] = _READ["strand"]
    min_anchor: Annotated[
        int,
        typer.Option(min=1, help="Minimum number of aligned bases on each side of an intron."),
    ] = _READ["min_anchor"]
    min_mapq: Annotated[int, typer.Option(min=0, help="Minimum mapping quality.")] = _READ[
        "min_mapq"
    ]
    multimapped: Annotated[
        KeepOrDrop, typer.Option(help="Reads of several loci (tag NH above 1).")
    ] = _READ["multimapped"]
    skip_duplicates: Annotated[
        bool, typer.Option("--skip-duplicates", help="Skip marked duplicates.")
    ] = _READ["skip_duplicates"]
    regtools: Annotated[
        bool,
        typer.Option(
            "--regtools", help="Count as regtools junctions extract: no filters, every mate."
        ),
    ] = _READ["regtools"]
    cram_reference: Annotated[
        Path | None,
        typer.Option(
            "--cram-reference", "--reference", help="FASTA file of CRAM files; most need none."
        ),
    ] = _READ["cram_reference"]

    def arguments(self) -> dict[str, Any]:
        """Return arguments of :func:`leafletfa_scvi.pp.read_bam`."""
        given = super().arguments()
        given["umi_tag"] = None if given.pop("no_umi") else self.umi_tag
        if self.reads_without_umi is not None:  # the old name, of which the library warns
            if self.umi_missing != _READ["umi_missing"]:
                raise UserError("--reads-without-umi is the old name of --umi-missing: give one.")
            del given["umi_missing"]
        return given


@dataclass(frozen=True)
class JunctionOptions(OptionGroup):
    """Criteria for junctions."""

    panel: ClassVar = "Junctions"

    min_reads: Annotated[
        int, typer.Option(min=0, help="Minimum number of reads of a junction.")
    ] = _MAKE["min_reads"]
    min_cells: Annotated[
        int, typer.Option(min=0, help="Minimum number of cells with a junction.")
    ] = _MAKE["min_cells"]
    min_samples: Annotated[
        int, typer.Option(min=0, help="Minimum number of samples with a junction.")
    ] = _MAKE["min_samples"]
    min_intron: Annotated[int, typer.Option(min=1, help="Minimum intron length, in bases.")] = (
        _MAKE["min_intron"]
    )
    max_intron: Annotated[int, typer.Option(min=1, help="Maximum intron length, in bases.")] = (
        _MAKE["max_intron"]
    )
    canonical_only: Annotated[
        bool, typer.Option("--canonical-only", help="Keep GT-AG, GC-AG and AT-AC introns only.")
    ] = _MAKE["canonical_only"]
    annotation_status: Annotated[
        AnnotationStatus, typer.Option(help="Splice sites that must be annotated.")
    ] = _MAKE["annotation_status"]
    min_usage: Annotated[
        float,
        typer.Option(min=0, max=1, help="Minimum share of the reads at both splice sites."),
    ] = _MAKE["min_usage"]


@dataclass(frozen=True)
class AtseOptions(OptionGroup):
    """Options of the grouping of junctions."""

    panel: ClassVar = "ATSEs"

    multi_gene: Annotated[KeepOrDrop, typer.Option(help="Junctions of several genes.")] = _MAKE[
        "multi_gene"
    ]
    no_gene: Annotated[KeepOrDrop, typer.Option(help="Junctions of no gene.")] = _MAKE["no_gene"]
    unstranded: Annotated[KeepOrDrop, typer.Option(help="Junctions of unknown strand.")] = _MAKE[
        "unstranded"
    ]
    read_through: Annotated[
        KeepOrDrop, typer.Option(help="Novel junctions that join two genes.")
    ] = _MAKE["read_through"]
    max_junctions: Annotated[
        int | None, typer.Option(min=2, help="Split ATSEs with more junctions.")
    ] = _MAKE["max_junctions"]
    retained_introns: Annotated[
        bool,
        typer.Option(
            "--retained-introns",
            help="Read the alignments once more, for reads across exon-intron boundaries.",
        ),
    ] = _MAKE["retained_introns"]
