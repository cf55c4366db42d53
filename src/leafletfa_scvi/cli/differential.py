"""``leafletfa differential``: compare splicing between groups of cells with a fitted model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

import leafletfa_scvi as lfa
from leafletfa_scvi.cli import _json
from leafletfa_scvi.cli._console import Reporter, UserError, one_line
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._fitted_model import check_fit, check_model, load_model
from leafletfa_scvi.cli._h5ad import read_data
from leafletfa_scvi.cli._option_groups import OptionGroup, with_groups
from leafletfa_scvi.cli._outputs import (
    check_distinct,
    check_input,
    check_output,
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
    from anndata import AnnData

_TEST = defaults_of("model", "DifferentialSplicingMixin.differential_splicing")
_COORDINATES: Final = ("chrom", "start", "end")
_MAX_ROWS: Final = 5
"""Maximum number of rows printed of each comparison."""
_MAX_COMPARISONS: Final = 6
"""Maximum number of comparisons of which rows are printed."""


@dataclass(frozen=True)
class ComparisonOptions(OptionGroup):
    """Arguments of ``differential_splicing``."""

    groupby: Annotated[
        str, typer.Option(help="Column of obs with the groups to compare.", metavar="COLUMN")
    ]
    sample_key: SampleOption = None
    group1: Annotated[
        list[str] | None,
        typer.Option(
            help="Group to compare; may be repeated. By default each group in turn.",
            metavar="GROUP",
        ),
    ] = None
    group2: Annotated[
        str | None,
        typer.Option(
            help="Group to compare with; by default the cells of all other groups.",
            metavar="GROUP",
        ),
    ] = None
    all_pairs: Annotated[
        bool,
        typer.Option("--all-pairs", help="Compare all pairs of groups (of those in --group1)."),
    ] = False
    delta: DeltaOption = _TEST["delta"]
    fdr_target: Annotated[
        float,
        typer.Option(
            "--fdr",
            help="Bound on the expected share of false discoveries among the calls.",
            min=0.0001,
            max=0.9,
        ),
    ] = _TEST["fdr_target"]
    level: Annotated[
        Literal["junction", "atse"],
        typer.Option(help="One row for each junction, or for each ATSE."),
    ] = "junction"


@with_groups
def differential(
    data: DataArgument,
    model: Annotated[
        Path,
        typer.Option(
            help="Folder of the fitted model, as leafletfa fit --save-model wrote it.",
            metavar="DIR",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the table (.csv, .csv.gz, .tsv, .tsv.gz, .parquet); by default "
            "DATA.differential.csv.",
        ),
    ] = None,
    bed: Annotated[
        Path | None,
        typer.Option(help="File for the called junctions (.bed, .bed.gz), for genome browsers."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the table and the BED file.")
    ] = False,
    *,
    comparison: ComparisonOptions,
    display: DisplayOptions,
) -> None:
    """Compare splicing between groups of cells of DATA with a fitted model."""
    if comparison.all_pairs and comparison.group2 is not None:
        raise UserError("--all-pairs compares every pair of groups: leave --group2 out.")
    check_input(data)
    check_model(model)
    output = data.with_suffix(".differential.csv") if output is None else output
    _check_outputs(data, output, bed, overwrite)
    reporter = Reporter.of(differential, display, data, model, output, bed)
    with reporter.tidy():
        from leafletfa_scvi.tl._comparison_counts import comparison_counts

        reporter.writes(output, bed)
        reporter.stage(f"Reading {data} and {model}")
        adata = read_data(data)
        _check_columns(adata, comparison)
        coordinates = None if bed is None else _coordinates(adata, reporter)
        fitted = load_model(model)
        check_fit(fitted, adata, f"DATA does not fit --model {model}", reporter)
        table = _compare(fitted, adata, reporter, comparison)
        reporter.stage("Writing")
        _write(table, output, bed, coordinates)
        for part in _summary(table, comparison):
            reporter.out.print(part, soft_wrap=isinstance(part, Text))
        seconds = reporter.seconds
        for line in (
            f"{_called(table, comparison).sum():,} calls in {seconds:.0f} s, a share of at most "
            f"{comparison.fdr_target:g} of which is expected to be false. Effects are PSI of the "
            "first group minus that of the second.",
            _replicates(adata, comparison.sample_key),
            f"The table is in {output}" + (f", the calls are in {bed}." if bed else "."),
        ):
            reporter.out.print(escape(line), soft_wrap=True)
        reporter.result(
            {
                "data": data,
                "model": model,
                "output": output,
                "bed": bed,
                "n_cells": adata.n_obs,
                "n_junctions": adata.n_vars,
                "replicates": "cells" if comparison.sample_key is None else "samples",
                **comparison.arguments(),
                "comparisons": _json.rows(comparison_counts(table, comparison.fdr_target)),
            }
        )


def _check_outputs(data: Path, output: Path, bed: Path | None, overwrite: bool) -> None:
    """Raise an error for output files that cannot, or must not, be written."""
    from leafletfa_scvi.tl._write_table import table_suffix

    check_output(output, [data], overwrite, "The table")
    try:
        table_suffix(output)
    except (ValueError, ImportError) as error:
        raise UserError(f"--output: {one_line(error)}") from error
    if bed is not None:
        if not bed.name.endswith((".bed", ".bed.gz")):
            raise UserError(f"--bed {bed}: expected a name that ends with .bed or .bed.gz.")
        check_output(bed, [data], overwrite, "The BED file")
        check_distinct({"--output": output, "--bed": bed})


def _check_columns(adata: AnnData, comparison: ComparisonOptions) -> None:
    """Raise an error if the data lack the column of groups or of samples."""
    names = {"--groupby": comparison.groupby, "--sample": comparison.sample_key}
    for option, name in names.items():
        if name is not None and name not in adata.obs:
            columns = ", ".join(map(str, adata.obs.columns)) or "none"
            raise UserError(f"{option} {name}: expected a column of obs, which has {columns}.")


def _coordinates(adata: AnnData, reporter: Reporter) -> pd.DataFrame | None:
    """Return the junctions with coordinates in ``var``; None if their names have them."""
    from leafletfa_scvi.tl._write_bed import junction_coordinates

    try:
        if not set(_COORDINATES) <= set(adata.var):
            junction_coordinates(adata.var_names, None)
            return None
        known: pd.DataFrame = adata.var.dropna(subset=list(_COORDINATES))
        junction_coordinates(known.index, known)
    except BAD_DATA as error:
        raise UserError(f"--bed: {one_line(error)}") from error
    missing = adata.n_vars - len(known)
    if missing:
        reporter.stage(f"  {missing:,} junctions have no coordinates: --bed leaves them out")
    return known


def _compare(
    model: lfa.LeafletFAModel, adata: AnnData, reporter: Reporter, comparison: ComparisonOptions
) -> pd.DataFrame:
    """Test all junctions in all comparisons."""
    import torch

    names = [name for name in (comparison.groupby, comparison.sample_key) if name is not None]
    unlabeled = int(adata.obs[names].isna().any(axis=1).sum())
    if unlabeled:
        reporter.stage(f"  {unlabeled:,} cells without {' or '.join(names)} are left out")
    reporter.stage(
        f"Comparing groups of {adata.n_obs - unlabeled:,} cells at {adata.n_vars:,} junctions"
    )
    silent = not reporter.progress_bar
    try:
        return model.differential_splicing(adata, **comparison.arguments(), silent=silent)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError("Out of memory; compare fewer groups or cells.") from error
    except BAD_DATA as error:
        message = one_line(error).replace("With sample_key=None", "Without --sample")
        raise UserError(message) from error


def _write(
    table: pd.DataFrame, output: Path, bed: Path | None, coordinates: pd.DataFrame | None
) -> None:
    """Write the table, and the BED file if asked for, both or neither."""
    with staged(output, *([bed] if bed else [])) as paths:
        lfa.tl.write_table(table, paths[0])
        if bed is not None:
            if coordinates is not None:
                names = table["junction"] if "junction" in table else table.index
                table = table[names.isin(coordinates.index)]
            lfa.tl.write_bed(table, paths[1], junctions=coordinates, only_significant=True)


def _called(table: pd.DataFrame, comparison: ComparisonOptions) -> pd.Series:
    """Return whether each row is called."""
    called: pd.Series = table[f"is_ds_fdr_{comparison.fdr_target}"]
    return called


def _summary(table: pd.DataFrame, comparison: ComparisonOptions) -> list[Table | Text]:
    """Return the leading calls of each comparison, or their numbers if there are many."""
    parts = [rows for _, rows in table.groupby("comparison", sort=False)]
    if len(parts) > _MAX_COMPARISONS:
        return [_counts(table, comparison.fdr_target)]
    what = "ATSEs" if comparison.level == "atse" else "junctions"
    summary: list[Table | Text] = []
    for rows in parts:
        calls = rows[_called(rows, comparison)]
        tested = f"{rows['is_tested'].sum():,} tested {what}"
        name = rows["comparison"].iloc[0]
        title = f"{name}: {len(calls):,} of {tested} differ"
        if len(calls) > _MAX_ROWS:
            title += f"; the leading {_MAX_ROWS}:"
        summary.append(Text(title, style="bold"))
        if len(calls):
            summary.append(_calls(calls.iloc[:_MAX_ROWS]))
    return summary


def _counts(table: pd.DataFrame, fdr_target: float) -> Table:
    """Return a table of the numbers of calls of many comparisons."""
    from leafletfa_scvi.tl._comparison_counts import comparison_counts

    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("Comparison", style="bold", overflow="fold")
    for name in ("Calls", "More in the first", "Less", "Tested"):
        shown.add_column(name, justify="right")
    for name, n_tested, n, n_more in comparison_counts(table, fdr_target).itertuples(index=False):
        numbers = (n, n_more, n - n_more, n_tested)
        shown.add_row(escape(str(name)), *(f"{number:,}" for number in numbers))
    return shown


def _calls(rows: pd.DataFrame) -> Table:
    """Return a table of calls."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("Gene", "Junction"):
        table.add_column(name, overflow="fold")
    for name in ("Effect", "90 % interval", "Probability"):
        table.add_column(name, justify="right", no_wrap=True)
    genes = rows.get("gene_name", rows.get("gene_id"))
    labels = [""] * len(rows) if genes is None else genes.astype(object).fillna("").astype(str)
    names = rows["junction"] if "junction" in rows else rows.index.astype(str)
    columns = ("effect_size", "effect_lower", "effect_upper", "proba_ds")
    numbers = rows[list(columns)].itertuples(index=False)
    for gene, name, (effect, low, high, probability) in zip(labels, names, numbers, strict=True):
        interval = f"{low:+.2f} to {high:+.2f}"
        cells = (escape(gene), escape(name), f"{effect:+.2f}", interval, f"{probability:.3f}")
        table.add_row(*cells)
    return table


def _replicates(adata: AnnData, sample_key: str | None) -> str:
    """Say what the replicates are, and for what the result therefore holds."""
    if sample_key is None:
        return (
            "Replicates: cells. The result holds for these cells only; for the populations that "
            "donors or animals come from, name their column with --sample."
        )
    n_samples = adata.obs[sample_key].nunique()
    return (
        f"Replicates: {n_samples:,} samples, by obs[{sample_key!r}]. The result holds for the "
        "populations that they come from."
    )
