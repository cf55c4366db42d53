"""``leafletfa report``: write an HTML page about a fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from leafletfa_scvi.cli._console import Reporter, UserError, one_line
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._fitted_model import check_model, load_model
from leafletfa_scvi.cli._h5ad import read_data
from leafletfa_scvi.cli._option_groups import OptionGroup, with_groups
from leafletfa_scvi.cli._outputs import (
    DATA_FILE,
    MODEL_FILE,
    check_input,
    check_output,
    check_reach,
    staged,
)
from leafletfa_scvi.cli._shared_options import (
    BAD_DATA,
    DataArgument,
    DeltaOption,
    DisplayOptions,
    SampleOption,
)

if TYPE_CHECKING:
    import pandas as pd

    from leafletfa_scvi._report._blocks import Page

_REPORT = defaults_of("_report", "report")
_MAX_LINES = 6
"""Maximum number of comparisons that are printed."""


@dataclass(frozen=True)
class ContentOptions(OptionGroup):
    """Arguments of ``report``."""

    groupby: Annotated[
        str | None,
        typer.Option(help="Column of obs with the groups to compare.", metavar="COLUMN"),
    ] = None
    sample_key: SampleOption = None
    delta: DeltaOption = _REPORT["delta"]
    fdr_target: Annotated[
        float,
        typer.Option(
            "--fdr",
            help="Bound on the expected share of false discoveries among markers and calls.",
            min=0.0001,
            max=0.9,
        ),
    ] = _REPORT["fdr_target"]
    n_graphs: Annotated[
        int, typer.Option("--graphs", min=0, help="Maximum number of splice graphs.")
    ] = _REPORT["n_graphs"]
    max_rows: Annotated[
        int, typer.Option(min=1, help="Maximum number of rows of each comparison in the table.")
    ] = _REPORT["max_rows"]


@with_groups
def report(
    data: DataArgument,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the fitted model, as leafletfa fit --save-model wrote it. "
            "Differential splicing and what makes a fit unreliable need it.",
            metavar="DIR",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File for the page (.html); by default DATA.report.html."
        ),
    ] = None,
    gtf: Annotated[
        Path | None,
        typer.Option("--gtf", "-g", help="Annotation for the exons of splice graphs."),
    ] = None,
    gene_sets: Annotated[
        Path | None,
        typer.Option(
            help="Gene sets to test among markers: a table (.csv, .tsv) with the columns source "
            "and target.",
            metavar="FILE",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = _REPORT["title"],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
    *,
    content: ContentOptions,
    display: DisplayOptions,
) -> None:
    """Write a page about the fit in DATA: programs, groups, splice graphs, methods."""
    if content.sample_key is not None and content.groupby is None:
        raise UserError("--sample is for comparing groups: pass --groupby as well.")
    check_input(data)
    files = {"--gtf": gtf, "--gene-sets": gene_sets}
    for name, path in files.items():
        if path is not None:
            check_reach(path, name)
            if not path.is_file():
                raise UserError(f"There is no file {path} for {name}.")
    sources = [data, *(path for path in files.values() if path is not None)]
    if model is not None:
        check_model(model)
        sources += [model / MODEL_FILE, model / DATA_FILE]
    output = data.with_suffix(".report.html") if output is None else output
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: expected a name that ends with .html.")
    check_output(output, sources, overwrite, "The page")
    reporter = Reporter.of(report, display, output, *sources, model)
    with reporter.tidy():
        reporter.writes(output)
        reporter.stage(f"Reading {data}" + ("" if model is None else f" and {model}"))
        sets = None if gene_sets is None else _gene_sets(gene_sets)
        arguments = {"gtf": gtf, "gene_sets": sets, **content.arguments()}
        page = _page(data, model, title, arguments, reporter)
        reporter.stage("Writing")
        _write(page, output)
        for notice in page.notices:
            reporter.warn(notice)
        reporter.out.print(_numbers(page, reporter.seconds))
        for line in _lines(page):
            reporter.out.print(escape(reporter.words(line)), soft_wrap=True)
        size = output.stat().st_size
        where = f"The page is in {output} ({size / 1e6:.1f} MB). Next: open it in a browser."
        reporter.out.print(escape(where), soft_wrap=True)
        given = {"data": data, "model": model, "output": output, "bytes": size}
        missing = [{"what": m.what, "why": m.why} for m in page.missing]
        last = {"notices": page.notices, "not_shown": missing}
        reporter.result({**given, **content.arguments(), **page.facts, **last})


def _gene_sets(path: Path) -> pd.DataFrame:
    """Read a table of gene sets."""
    import pandas as pd

    sep = "\t" if path.name.endswith((".tsv", ".tsv.gz")) else ","
    try:
        return pd.read_csv(path, sep=sep)
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot read --gene-sets {path}: {one_line(error)}") from error


def _page(
    data: Path, folder: Path | None, title: str, arguments: dict[str, Any], reporter: Reporter
) -> Page:
    """Read data and model, and make the page."""
    import matplotlib.pyplot as plt

    from leafletfa_scvi._report._inputs import check_inputs
    from leafletfa_scvi._report._report import make_page

    plt.switch_backend("Agg")
    adata = read_data(data)
    model = None if folder is None else load_model(folder)
    rest = dict.fromkeys(("groupby", "sample_key", "selection", "stability"))
    try:
        inputs = check_inputs(adata, model=model, **{**rest, **arguments})
    except (*BAD_DATA, OSError, ImportError) as error:
        raise UserError(one_line(error)) from error
    reporter.stage(f"Making the page of {adata.n_obs:,} cells and {adata.n_vars:,} junctions")
    try:
        with reporter.progress() as progress:
            return make_page(inputs, title, progress)
    except BAD_DATA as error:  # counts that are not those of a data set
        raise UserError(one_line(error)) from error
    except MemoryError as error:
        raise UserError("Out of memory; make the page of fewer cells.") from error


def _write(page: Page, output: Path) -> None:
    from leafletfa_scvi._report._render import rendered

    text = rendered(page)
    with staged(output) as (path,):
        path.write_text(text, encoding="utf-8")


def _numbers(page: Page, seconds: float) -> Table:
    """Return the main numbers for the terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title="Report", title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in {**page.tiles, "Time": f"{seconds:.0f} s"}.items():
        table.add_row(escape(name), escape(value))
    return table


def _lines(page: Page) -> list[str]:
    """Say how much groups differ, and what the page lacks."""
    rows = page.facts["comparisons"]
    lines = [
        f"{row['comparison']}: {row['n_calls']:,} of {row['n_tested']:,} differ"
        for row in rows[:_MAX_LINES]
    ]
    if len(rows) > _MAX_LINES:
        lines.append(f"and {len(rows) - _MAX_LINES} further comparisons")
    if page.missing:
        lines.append("Not shown, and why:")
        lines += [f"  {missing.what}: {missing.why}" for missing in page.missing]
    return lines
