"""``leafletfa make-dataset``: its options, and what it refuses before the work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leafletfa_scvi.cli._console import Reporter, UserError, one_line

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """Choices of --format."""

    auto = "auto"
    bam = "bam"
    regtools = "regtools"
    junc = "junc"
    star = "star"
    starsolo = "starsolo"


class Strand(StrEnum):
    """Choices of --strand."""

    auto = "auto"
    tag = "tag"
    rf = "RF"
    fr = "FR"
    none = "none"


class WithoutUmi(StrEnum):
    """Choices of --reads-without-umi."""

    auto = "auto"
    skip = "skip"
    fragments = "fragments"


class StarReads(StrEnum):
    """Choices of --star-reads."""

    unique = "unique"
    all = "all"


class AnnotationStatus(StrEnum):
    """Choices of --annotation-status."""

    any = "any"
    either = "either"
    both = "both"


class Keep(StrEnum):
    """Choices of --multi-gene, --no-gene and --unstranded."""

    drop = "drop"
    keep = "keep"


_READING, _COUNTING, _QC, _ATSE = "Reading", "Counting alignments", "Junctions", "ATSEs"


def make_dataset(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="BAM, CRAM, regtools BED, .junc and SJ.out.tab files, STARsolo folders, folders "
            "of such files, or a table of files (.tsv, .csv) with the columns path, cell, sample.",
            metavar="INPUT...",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write the data set (.h5ad).")
    ],
    gtf: Annotated[
        Path | None, typer.Option("--gtf", "-g", help="Annotation: GTF or GFF3, gzip too.")
    ] = None,
    genome: Annotated[
        Path | None, typer.Option(help="FASTA file: splice motifs, and strands where unknown.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the QC report (.html or .png); by default beside the output.",
            metavar="FILE",
        ),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no QC report.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output and the report.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")
    ] = False,
    format: Annotated[
        Format, typer.Option(help="Format of the inputs.", rich_help_panel=_READING)
    ] = Format.auto,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, help="Processes that read files.", rich_help_panel=_READING
        ),
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler whose workers shall read the files.",
            metavar="ADDRESS",
            rich_help_panel=_READING,
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for counts of single files, kept; by default OUTPUT.parts, which is "
            "removed at the end. After an interruption the same command goes on from there.",
            metavar="DIR",
            rich_help_panel=_READING,
        ),
    ] = None,
    skip_bad_files: Annotated[
        bool,
        typer.Option(
            "--skip-bad-files",
            help="Go on without files that cannot be read; they are named.",
            rich_help_panel=_READING,
        ),
    ] = False,
    star_reads: Annotated[
        StarReads,
        typer.Option(help="Reads of SJ.out.tab that count.", rich_help_panel=_READING),
    ] = StarReads.unique,
    barcodes: Annotated[
        Path | None,
        typer.Option(
            help="Cells to keep, one barcode a line; only read.", rich_help_panel=_READING
        ),
    ] = None,
    cell_tag: Annotated[
        str | None,
        typer.Option(
            help="Tag of cell barcodes, such as CB, where a file holds many cells.",
            metavar="TAG",
            rich_help_panel=_COUNTING,
        ),
    ] = None,
    umi_tag: Annotated[
        str,
        typer.Option(
            help="Tag of UMIs, with --cell-tag.", metavar="TAG", rich_help_panel=_COUNTING
        ),
    ] = "UB",
    no_umi: Annotated[
        bool,
        typer.Option("--no-umi", help="Count fragments, not UMIs.", rich_help_panel=_COUNTING),
    ] = False,
    reads_without_umi: Annotated[
        WithoutUmi,
        typer.Option(
            help="Reads of a cell without UMI: fragments where the tag is empty, as for the "
            "internal reads of Smart-seq3, else skipped (auto), all skipped, or all fragments.",
            rich_help_panel=_COUNTING,
        ),
    ] = WithoutUmi.auto,
    strand: Annotated[
        Strand,
        typer.Option(
            help="Strand of introns: tags XS or ts (auto, tag), a stranded library, or unknown.",
            rich_help_panel=_COUNTING,
        ),
    ] = Strand.auto,
    min_anchor: Annotated[
        int,
        typer.Option(
            min=1, help="Aligned bases on each side of an intron.", rich_help_panel=_COUNTING
        ),
    ] = 8,
    min_mapq: Annotated[
        int, typer.Option(min=0, help="Lowest mapping quality.", rich_help_panel=_COUNTING)
    ] = 0,
    skip_duplicates: Annotated[
        bool,
        typer.Option(
            "--skip-duplicates", help="Leave out marked duplicates.", rich_help_panel=_COUNTING
        ),
    ] = False,
    regtools: Annotated[
        bool,
        typer.Option(
            "--regtools",
            help="Count as regtools junctions extract: no filters, every mate.",
            rich_help_panel=_COUNTING,
        ),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(help="FASTA file of CRAM files; most need none.", rich_help_panel=_COUNTING),
    ] = None,
    min_reads: Annotated[
        int, typer.Option(min=0, help="Reads of a junction.", rich_help_panel=_QC)
    ] = 10,
    min_cells: Annotated[
        int, typer.Option(min=0, help="Cells with a junction.", rich_help_panel=_QC)
    ] = 2,
    min_samples: Annotated[
        int, typer.Option(min=0, help="Samples with a junction.", rich_help_panel=_QC)
    ] = 1,
    min_intron: Annotated[
        int, typer.Option(min=1, help="Shortest intron, in bases.", rich_help_panel=_QC)
    ] = 70,
    max_intron: Annotated[
        int, typer.Option(min=1, help="Longest intron, in bases.", rich_help_panel=_QC)
    ] = 500_000,
    canonical_only: Annotated[
        bool,
        typer.Option(
            "--canonical-only", help="Only GT-AG, GC-AG and AT-AC introns.", rich_help_panel=_QC
        ),
    ] = False,
    annotation_status: Annotated[
        AnnotationStatus,
        typer.Option(help="Splice sites that must be annotated.", rich_help_panel=_QC),
    ] = AnnotationStatus.any,
    min_usage: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of the reads at both of its splice sites.",
            rich_help_panel=_QC,
        ),
    ] = 0.01,
    multi_gene: Annotated[
        Keep, typer.Option(help="Junctions of several genes.", rich_help_panel=_ATSE)
    ] = Keep.drop,
    no_gene: Annotated[
        Keep, typer.Option(help="Junctions of no gene.", rich_help_panel=_ATSE)
    ] = Keep.drop,
    unstranded: Annotated[
        Keep, typer.Option(help="Junctions of unknown strand.", rich_help_panel=_ATSE)
    ] = Keep.drop,
    max_junctions: Annotated[
        int | None,
        typer.Option(min=2, help="Split ATSEs with more junctions.", rich_help_panel=_ATSE),
    ] = None,
) -> None:
    """Make a splicing data set for `leafletfa fit` from alignments or junction files."""
    from leafletfa_scvi.cli._outputs import check_distinct, check_output, check_reach

    named = {"--gtf": gtf, "--genome": genome, "--barcodes": barcodes, "--reference": reference}
    for name, path in {**named, "--work-dir": work_dir}.items():
        if path is not None:
            check_reach(path, name)
    files = _list_files(inputs, format)
    sources = _files_read(inputs, files, (gtf, genome, barcodes, reference))
    check_output(output, sources, overwrite)
    if report is None and not no_report:
        report = output.with_suffix(".qc.html")
    if report is not None:
        if report.suffix not in (".html", ".png"):
            raise UserError(f"--report {report}: expected a name that ends with .html or .png.")
        check_output(report, sources, overwrite, "The report")
    check_distinct({"--output": output, "--report": report, "--work-dir": work_dir})
    for name, path in {"--gtf": gtf, "--genome": genome, "--barcodes": barcodes}.items():
        if path is not None and not path.is_file():
            raise UserError(f"There is no file {path} for {name}.")
    reading: dict[str, Any] = {
        "n_jobs": jobs,
        "on_error": "skip" if skip_bad_files else "raise",
        "star_reads": star_reads.value,
        "barcodes": barcodes,
        "cell_tag": cell_tag,
        "umi_tag": None if no_umi else umi_tag,
        "reads_without_umi": reads_without_umi.value,
        "strand": strand.value,
        "min_anchor": min_anchor,
        "min_mapq": min_mapq,
        "skip_duplicates": skip_duplicates,
        "regtools": regtools,
        "reference": reference,
    }
    criteria: dict[str, Any] = {
        "gtf": gtf,
        "genome": genome,
        "min_reads": min_reads,
        "min_cells": min_cells,
        "min_samples": min_samples,
        "min_intron": min_intron,
        "max_intron": max_intron,
        "canonical_only": canonical_only,
        "annotation_status": annotation_status.value,
        "min_usage": min_usage,
        "multi_gene": multi_gene.value,
        "no_gene": no_gene.value,
        "unstranded": unstranded.value,
        "max_junctions": max_junctions,
    }
    reporter = Reporter(quiet)
    with reporter.tidy():
        from leafletfa_scvi.cli._make_dataset import run_make_dataset

        run_make_dataset(
            reporter,
            files,
            output,
            None if no_report else report,
            work_dir=work_dir,
            dask=dask,
            reading=reading,
            criteria=criteria,
        )


def _list_files(inputs: list[str], format: Format) -> pd.DataFrame:
    """Table of the input files."""
    from leafletfa_scvi.pp import list_files

    try:
        with Reporter().tidy():
            return list_files(inputs, format.value)
    except (ValueError, OSError) as error:
        raise UserError(one_line(error)) from error


def _files_read(
    inputs: list[str], files: pd.DataFrame, more: tuple[Path | None, ...]
) -> list[Path]:
    """All files that the command reads, which no output may replace."""
    found = [Path(path) for path in files["path"]]
    inside = [file for path in found if path.is_dir() for file in path.rglob("*")]
    named = [Path(name) for name in inputs]
    return [*named, *found, *inside, *(path for path in more if path is not None)]
