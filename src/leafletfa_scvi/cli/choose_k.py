"""``leafletfa choose-k``: compare numbers of programs by how well they predict hidden reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import Reporter, UserError, one_line, quiet_libraries
from leafletfa_scvi.cli._defaults import defaults_of
from leafletfa_scvi.cli._h5ad import read_data
from leafletfa_scvi.cli._json import rows
from leafletfa_scvi.cli._option_groups import with_groups
from leafletfa_scvi.cli._outputs import check_distinct, check_input, check_output, staged
from leafletfa_scvi.cli._shared_options import (
    BAD_DATA,
    OUT_OF_MEMORY,
    DataArgument,
    DisplayOptions,
    LayerOptions,
    MethodOption,
    ModelOptions,
    SeedOption,
    TrainingOptions,
    check_accelerator,
    check_method,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.tl import ProgramSelection

_SELECT = defaults_of("tl", "select_n_programs")
_MAX_PROGRAMS = 1000


@with_groups
def choose_k(
    data: DataArgument,
    programs: Annotated[
        str,
        typer.Option(
            "--programs",
            "-k",
            help="Numbers of programs to compare: FIRST:LAST or FIRST:LAST:STEP, both ends "
            "included (2:16:2 is 2, 4, ..., 16), numbers separated by commas (4,8,12), or several "
            "of these (2:6,8,12:20:4).",
            metavar="NUMBERS",
        ),
    ] = "2:16:2",
    seeds: Annotated[
        int, typer.Option(min=1, help="Splits of the data, each with its own initialization.")
    ] = _SELECT["n_seeds"],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File for the table (.csv); by default DATA.programs.csv."
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="File for a figure of the table (.png, .pdf, .svg).")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the table and the figure.")
    ] = False,
    fraction: Annotated[
        float, typer.Option(help="Share of (cell, ATSE) pairs to hide.", min=0.001, max=0.9)
    ] = _SELECT["fraction"],
    method: MethodOption = _SELECT["method"],
    complete: Annotated[
        bool,
        typer.Option(
            "--complete",
            help="Start each fit anew and complete all of them, also those that would not change "
            "the choice: three to six times slower, but with the stability of every number.",
        ),
    ] = False,
    *,
    training: TrainingOptions,
    seed: SeedOption = _SELECT["seed"],
    model: ModelOptions,
    layers: LayerOptions,
    display: DisplayOptions,
) -> None:
    """Compare numbers of programs by how well they predict reads hidden from training."""
    numbers = parse_numbers(programs)
    check_method(method, max_epochs=training.max_epochs)
    check_input(data)
    output = data.with_suffix(".programs.csv") if output is None else output
    check_output(output, [data], overwrite, "The table")
    if figure is not None:
        if figure.suffix not in (".png", ".pdf", ".svg"):
            raise UserError(
                f"--figure {figure}: expected a name that ends with .png, .pdf or .svg."
            )
        check_output(figure, [data], overwrite, "The figure")
        check_distinct({"--output": output, "--figure": figure})
    reporter = Reporter.of(choose_k, display, data, output, figure)
    with reporter.tidy():
        reporter.writes(output, figure)
        reporter.stage(f"Reading {data}")
        check_accelerator(training.accelerator)
        adata = read_data(data)
        result = _compare(
            adata,
            numbers,
            reporter,
            n_seeds=seeds,
            fraction=fraction,
            method=method,
            seed=seed,
            share_starts=not complete,
            model_kwargs=model.arguments(),
            train_kwargs=training.arguments(),
            **layers.arguments(),
        )
        reporter.stage("Writing")
        _write(result, output, figure)
        reporter.out.print(_table(result))
        reporter.out.print(escape(result.note), soft_wrap=True)
        fits = f"{len(numbers) * seeds} fits in {reporter.seconds:.0f} s."
        reporter.out.print(escape(f"{fits} The table is in {output}. Next:"), soft_wrap=True)
        command = f"leafletfa fit {data} --n-programs {result.n_programs}"
        reporter.out.print(escape(command), style="bold", soft_wrap=True)
        reporter.result(
            {
                "data": data,
                "output": output,
                "figure": figure,
                "n_cells": adata.n_obs,
                "n_junctions": adata.n_vars,
                "n_programs": result.n_programs,
                "note": result.note,
                "problems": result.problems,
                "summary": rows(result.summary.reset_index()),
            }
        )


def _compare(
    adata: AnnData, numbers: list[int], reporter: Reporter, **options: Any
) -> ProgramSelection:
    """Fit all numbers of programs."""
    import torch

    quiet_libraries()
    reporter.stage(
        f"Fitting {len(numbers) * options['n_seeds']} models to {adata.n_obs:,} cells and "
        f"{adata.n_vars:,} junctions"
    )
    try:
        return lfa.tl.select_n_programs(
            adata,
            numbers,
            progress=reporter.progress_bar,
            callback=lambda result: reporter.stage(_first_figures(result)),
            **options,
        )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(OUT_OF_MEMORY) from error
    except (*BAD_DATA, FloatingPointError) as error:
        raise UserError(one_line(error)) from error


def _first_figures(result: ProgramSelection) -> str:
    """Say in one line what the fits so far show, while others run."""
    gains = result.summary["log_likelihood_gain"]
    n_seeds = result.scores["seed"].nunique()
    shown = ", ".join(f"{k}: {gain:.4f}" for k, gain in gains.items())
    splits = "split" if n_seeds == 1 else "splits"
    return f"  {n_seeds} {splits}, K = {result.n_programs} so far; held-out gain {shown}"


def _write(result: ProgramSelection, output: Path, figure: Path | None) -> None:
    """Write the table, and the figure if asked for, both or neither."""
    with staged(output, *([figure] if figure else [])) as paths:
        result.summary.to_csv(paths[0])
        if figure is not None:
            import matplotlib.pyplot as plt

            plt.switch_backend("Agg")
            drawn = lfa.pl.program_selection(result, return_fig=True)
            drawn.savefig(paths[1], dpi=150)
            plt.close(drawn)


def _table(result: ProgramSelection) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Programs", style="bold", justify="right")
    for name in ("Held-out gain", "Standard error", "Stability", "Reproducible", ""):
        table.add_column(name, justify="right")
    for number, row in result.summary.iterrows():
        table.add_row(
            str(number),
            f"{row['log_likelihood_gain']:.4f}",
            _format(row["se"], ".4f"),
            _format(row["stability"], ".2f"),
            _format(row["n_reproducible"], "d"),
            "recommended" if row["recommended"] else "stopped" if row["stopped"] else "",
        )
    return table


def _format(value: Any, form: str) -> str:
    """Format a value; missing ones are empty."""
    import pandas as pd

    return "" if pd.isna(value) else format(value, form)


def parse_numbers(text: str) -> list[int]:
    """Parse numbers of programs, such as ``2:16:2`` or ``4,8,12``; sorted, without repeats."""
    numbers: set[int] = set()
    for part in text.split(","):
        if not re.fullmatch(r"\d+(:\d+){0,2}", part.strip(), re.ASCII):
            raise UserError(
                f"--programs {text}: expected numbers as FIRST:LAST:STEP or with commas, such as "
                f"2:16:2 or 4,8,12, found {part.strip()!r}."
            )
        first, *more = (int(number) for number in part.split(":"))
        last, step = (*more, *(first, 1)[len(more) :])
        if not 1 <= first <= last <= _MAX_PROGRAMS or step < 1:
            raise UserError(
                f"--programs {text}: expected numbers from 1 to {_MAX_PROGRAMS}, FIRST no larger "
                f"than LAST and STEP from 1, found {part.strip()}."
            )
        numbers.update(range(first, last + 1, step))
    return sorted(numbers)
