"""``leafletfa make-dataset``: read junctions, group them into ATSEs, write a data set."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import Reporter, UserError, one_line
from leafletfa_scvi.cli._dataset_options import (
    AtseOptions,
    CountingOptions,
    JunctionOptions,
    ReadingOptions,
)
from leafletfa_scvi.cli._h5ad import check_ends, write_data
from leafletfa_scvi.cli._multiqc_files import check_sections, row_name, section_paths
from leafletfa_scvi.cli._option_groups import with_groups
from leafletfa_scvi.cli._outputs import check_distinct, check_output, check_reach, staged
from leafletfa_scvi.cli._shared_options import BAD_DATA, DisplayOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd
    from anndata import AnnData

    from leafletfa_scvi.pp.read import InputFormat


@with_groups
def make_dataset(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="BAM, CRAM, regtools BED, .junc and SJ.out.tab files, STARsolo folders, counts "
            "of leafcutter or IsoQuant, tables of coordinates x cells, long tables, folders of "
            "these, or a table of files (.tsv, .csv) with the columns path, cell, sample.",
            metavar="INPUT...",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the data set (.h5ad).")],
    gtf: Annotated[
        Path | None, typer.Option("--gtf", "-g", help="Annotation: GTF or GFF3, gzip too.")
    ] = None,
    genome: Annotated[
        Path | None,
        typer.Option(help="FASTA file, for splice motifs and unknown strands."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Data set (.h5ad), or folder of a saved model, whose junctions and ATSEs are "
            "taken: counts are then those of counting both together. No filter applies.",
            metavar="PATH",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="File for the QC report (.html or .png); by default OUTPUT.qc.html.",
            metavar="FILE",
        ),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no QC report.")] = False,
    multiqc: Annotated[
        bool,
        typer.Option(
            "--multiqc",
            help="Write what MultiQC shows of the data set, too: OUTPUT.dataset_mqc.json and "
            "OUTPUT.reads_mqc.json.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output and the other files.")
    ] = False,
    *,
    reading: ReadingOptions,
    counting: CountingOptions,
    junctions: JunctionOptions,
    atses: AtseOptions,
    display: DisplayOptions,
) -> None:
    """Make a splicing data set for `leafletfa fit` from alignments or junction files."""
    inside = {
        "--gtf": gtf,
        "--genome": genome,
        "--barcodes": reading.barcodes,
        "--barcode-map": reading.barcode_map,
        "--cell-table": reading.cell_table,
        "--cram-reference": counting.cram_reference,
        "--like": like,
    }
    for name, path in {**inside, "--work-dir": reading.work_dir}.items():
        if path is not None:
            check_reach(path, name)
    if no_report:
        report = None
    elif report is None:
        report = output.with_suffix(".qc.html")
    sections = section_paths(output, "dataset", "reads") if multiqc else []
    outputs = output, report, *sections, reading.work_dir
    reporter = Reporter.of(make_dataset, display, *inputs, *inside.values(), *outputs)
    files = _list_files(inputs, reading.format, reporter)
    sources = _files_read(inputs, files, inside.values())
    check_output(output, sources, overwrite)
    if report is not None:
        if report.suffix not in (".html", ".png"):
            raise UserError(f"--report {report}: expected a name that ends with .html or .png.")
        check_output(report, sources, overwrite, "The report")
    check_sections(sections, sources, overwrite)
    check_distinct({"--output": output, "--report": report, "--work-dir": reading.work_dir})
    for name, path in inside.items():
        unchecked = ("--cram-reference", "--like")  # the library names what is wrong with these
        if path is not None and name not in unchecked and not path.is_file():
            raise UserError(f"There is no file {path} for {name}.")
    if like is not None and like.is_file():
        check_ends(like)

    with reporter.tidy():
        import matplotlib.pyplot as plt

        from leafletfa_scvi._report._multiqc import dataset_sections, write_sections
        from leafletfa_scvi._report._qc_page import write_qc_report
        from leafletfa_scvi.cli import _dataset_summary

        reporter.writes(output, report, *sections)
        parts = reading.work_dir or output.with_name(f"{output.name}.parts")
        arguments = {
            "gtf": gtf,
            "genome": genome,
            "reference": like,
            **reading.arguments(),
            **counting.arguments(),
            **junctions.arguments(),
            **atses.arguments(),
        }
        adata = _make(files, parts, reading.dask, reporter, arguments)
        reporter.stage("Writing")
        with staged(output, *sections, *([report] if report else [])) as paths:
            write_data(adata, paths[0], compression="gzip")
            if multiqc:
                shown = dataset_sections(adata, row_name(output))
                write_sections(shown, paths[1 : 1 + len(sections)])
            if report is not None:
                plt.switch_backend("Agg")
                write_qc_report(adata, paths[-1])
        if reading.work_dir is None:
            _remove_parts(parts)
        for table in _dataset_summary.summary_tables(adata, reporter.seconds):
            reporter.out.print(table)
        for line in _dataset_summary.large_losses(adata):
            reporter.out.print(escape(reporter.words(line)), style="yellow", soft_wrap=True)
        page = f", what each step kept and dropped in {report}" if report else ""
        where = escape(f"The data set is in {output}{page}. Next:")
        reporter.out.print(where, soft_wrap=True)
        reporter.out.print(f"leafletfa fit {escape(str(output))}", style="bold", soft_wrap=True)
        written = {"output": output, "report": report, "multiqc": sections}
        reporter.result({**written, **_dataset_summary.facts(adata)})


def _list_files(
    inputs: list[str], format: Literal["auto", InputFormat], reporter: Reporter
) -> pd.DataFrame:
    """Return the table of input files."""
    with reporter.tidy():
        try:
            return lfa.pp.list_files(inputs, format)
        except (ValueError, OSError) as error:
            raise UserError(one_line(error)) from error


def _files_read(inputs: list[str], files: pd.DataFrame, more: Iterable[Path | None]) -> list[Path]:
    """List all files that the command reads, which no output may replace."""
    listed = [Path(path) for path in files["path"]]
    inside = [file for path in listed if path.is_dir() for file in path.rglob("*")]
    named = [Path(name) for name in inputs]
    return [*named, *listed, *inside, *(path for path in more if path is not None)]


def _make(
    files: pd.DataFrame,
    parts: Path,
    dask: str | None,
    reporter: Reporter,
    arguments: dict[str, Any],
) -> AnnData:
    """Make the data set; counts of single files are in ``parts``."""
    try:
        with _client(dask) as client, reporter.progress() as show:
            return lfa.pp.make_splicing_dataset(
                files,
                stage=reporter.library_stage,
                progress=lambda done, of: show("files", done, of),
                client=client,
                work_dir=parts,
                **arguments,
            )
    except (*BAD_DATA, OSError) as error:
        kept = f" Files that were counted are kept in {parts}." if parts.is_dir() else ""
        raise UserError(one_line(error) + kept) from error
    except MemoryError as error:
        raise UserError("Out of memory; raise --min-reads and --min-cells.") from error


def _remove_parts(folder: Path) -> None:
    """Remove the counts of single files, and the folder if nothing else is in it."""
    with suppress(OSError):
        for path in folder.iterdir():
            if re.fullmatch(r"\.?[0-9a-f]{32}\.npz(\.\d+)?", path.name):
                path.unlink()
        folder.rmdir()


@contextmanager
def _client(address: str | None) -> Iterator[Any]:
    """Yield a client of the scheduler, or None if no address is given."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            "--dask needs the package distributed: pip install distributed."
        ) from error
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(f"No Dask scheduler answers at {address}: {one_line(error)}") from error
    with client:
        yield client
