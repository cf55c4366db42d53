"""Commands, their options, and what they refuse."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.cli._console import Reporter, UserError, one_line
from leafletfa_scvi.cli._make_options import make_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="leafletfa",
    help="Splicing programs in single cells, from splice-junction counts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MAX_SEED = 2**32 - 1
INTERRUPTED = 130
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Base of all errors in options: unknown ones, missing ones, values out of range."""


class Likelihood(StrEnum):
    """Choices of --likelihood."""

    betabinomial = "betabinomial"
    binomial = "binomial"


class JunctionPrior(StrEnum):
    """Choices of --junction-prior."""

    junction = "junction"
    shared = "global"


class Accelerator(StrEnum):
    """Choices of --accelerator."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"leafletfa-scvi {version('leafletfa-scvi')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Splicing programs in single cells, from splice-junction counts."""


app.command("make-dataset")(make_dataset)


@app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(help="Splicing data set (.h5ad), cells x junctions.", metavar="DATA")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write the data with the results; by default DATA.fitted.h5ad.",
        ),
    ] = None,
    n_programs: Annotated[
        int, typer.Option("--n-programs", "-k", min=1, help="Number of splicing programs K.")
    ] = 10,
    save_model: Annotated[
        Path | None, typer.Option(help="Folder to save the trained model to.", metavar="DIR")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output and the saved model.")
    ] = False,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data (default: by its size).")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Cells in a minibatch (default: all).")
    ] = None,
    restarts: Annotated[int, typer.Option(min=1, help="Starts to choose the best from.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed.")] = 0,
    likelihood: Annotated[
        Likelihood, typer.Option(help="Distribution of junction counts.")
    ] = Likelihood.betabinomial,
    junction_prior: Annotated[
        JunctionPrior, typer.Option(help="A prior for each junction, or one for all.")
    ] = JunctionPrior.junction,
    junction_layer: Annotated[
        str, typer.Option(help="Layer of junction counts.")
    ] = JUNCTION_LAYER,
    cluster_layer: Annotated[str, typer.Option(help="Layer of ATSE totals.")] = CLUSTER_LAYER,
    atse_key: Annotated[str, typer.Option(help="Column of var with ATSE labels.")] = ATSE_KEY,
    accelerator: Annotated[Accelerator, typer.Option(help="Where to train.")] = Accelerator.auto,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")
    ] = False,
) -> None:
    """Fit the model to DATA and write activities and programs into a copy of it."""
    from leafletfa_scvi.cli._outputs import check_input, check_model_dir, check_output

    check_input(data)
    output = data.with_suffix(".fitted.h5ad") if output is None else output
    check_output(output, [data], overwrite)
    if save_model is not None:
        check_model_dir(save_model, (data, output), overwrite)

    reporter = Reporter(quiet)
    reporter.stage(f"Reading {data}")
    with reporter.tidy():
        from leafletfa_scvi.cli._fit import run_fit

        run_fit(
            reporter,
            data,
            output,
            save_model,
            seed=seed,
            setup={
                "junction_layer": junction_layer,
                "cluster_layer": cluster_layer,
                "atse_key": atse_key,
            },
            options={
                "n_programs": n_programs,
                "likelihood": likelihood.value,
                "junction_prior": junction_prior.value,
            },
            training={
                "max_epochs": max_epochs,
                "batch_size": batch_size,
                "n_restarts": restarts,
                "accelerator": accelerator.value,
            },
        )


@app.command()
def demo(
    output_dir: Annotated[
        Path, typer.Option(help="Folder for data and figures, made if need be.", metavar="DIR")
    ] = Path("demo"),
    n_cells: Annotated[int, typer.Option(min=50, help="Number of cells.")] = 600,
    n_atses: Annotated[int, typer.Option(min=20, help="Number of ATSEs.")] = 250,
    n_programs: Annotated[
        int, typer.Option(min=2, max=20, help="Number of planted programs.")
    ] = 5,
    coverage: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of observed (cell, ATSE) pairs.")
    ] = 0.25,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data (default: by its size).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Random seed.")] = 0,
) -> None:
    """Simulate cells with planted programs, fit them, and show whether they were found.

    Writes fitted.h5ad and four figures. Exit code 1 if a planted program was not found.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output-dir {output_dir} is a file; expected a folder.")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {output_dir}: {error.strerror}.") from error

    reporter = Reporter()
    reporter.stage("Starting")
    with reporter.tidy():
        from leafletfa_scvi.cli._demo import run_demo

        found = run_demo(
            reporter,
            output_dir,
            seed=seed,
            max_epochs=max_epochs,
            simulation={
                "n_cells": n_cells,
                "n_atses": n_atses,
                "n_programs": n_programs,
                "coverage": coverage,
            },
        )
    if not found:
        raise typer.Exit(1)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0, 1 (demo: not found), 2 (bad input), 130 (interrupted)."""
    message = None
    try:
        code = app(args=args, prog_name="leafletfa", standalone_mode=False)
    except _UsageError as error:
        message, code = _usage_message(error), 2
    except UserError as error:
        message, code = one_line(error), 2
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    if code == INTERRUPTED:  # which Typer too makes of a KeyboardInterrupt
        message = "Interrupted."
    if message is not None:
        print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)


def _usage_message(error: Exception) -> str | None:
    """What is wrong with the options, and where to read about them; None after the help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "leafletfa"
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    if not text:  # no command was given, and the help has been printed
        return None
    return f"{text if text.endswith(('.', '?')) else text + '.'} See {command} --help."
