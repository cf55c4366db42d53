"""Commands, their options, and what they refuse."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, JUNCTION_LAYER
from leafletfa_scvi.cli._choices import (
    Accelerator,
    AcceleratorOption,
    AtseKeyOption,
    ClusterLayerOption,
    DispersionOption,
    JunctionLayerOption,
    JunctionPrior,
    JunctionPriorOption,
    Likelihood,
    LikelihoodOption,
    MaxEpochsOption,
    Method,
    MethodOption,
    QuietOption,
    RestartsOption,
    SeedOption,
    model_options,
)
from leafletfa_scvi.cli._choose_options import choose_k
from leafletfa_scvi.cli._console import Reporter, UserError, one_line
from leafletfa_scvi.cli._make_options import make_dataset
from leafletfa_scvi.cli._signals import Terminated, terminable

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

INTERRUPTED, TERMINATED = 130, 143
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Base of all errors in options: unknown ones, missing ones, values out of range."""


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
app.command("choose-k")(choose_k)


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
    method: MethodOption = Method.svi,
    max_epochs: MaxEpochsOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Cells in a minibatch (default: all); not for em.")
    ] = None,
    restarts: RestartsOption = 1,
    seed: SeedOption = 0,
    likelihood: LikelihoodOption = Likelihood.betabinomial,
    dispersion: DispersionOption = None,
    junction_prior: JunctionPriorOption = JunctionPrior.mixture,
    junction_layer: JunctionLayerOption = JUNCTION_LAYER,
    cluster_layer: ClusterLayerOption = CLUSTER_LAYER,
    atse_key: AtseKeyOption = ATSE_KEY,
    accelerator: AcceleratorOption = Accelerator.auto,
    quiet: QuietOption = False,
) -> None:
    """Fit the model to DATA and write activities and programs into a copy of it."""
    from leafletfa_scvi.cli._outputs import check_input, check_model_dir, check_output

    if method is Method.em:
        for name, value in {"--max-epochs": max_epochs, "--batch-size": batch_size}.items():
            if value is not None:
                raise UserError(f"{name} is for --method svi: em goes over all cells at once.")
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
                **model_options(likelihood, dispersion, junction_prior),
            },
            training={
                "method": method.value,
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
    seed: SeedOption = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier demo.")
    ] = False,
) -> None:
    """Simulate cells with planted programs, fit them, and show whether they were found.

    Writes fitted.h5ad and four figures. Exit code 1 if a planted program was not found.
    """
    from leafletfa_scvi.cli._outputs import DEMO_FILES, check_output, check_reach

    check_reach(output_dir, "--output-dir")
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output-dir {output_dir} is a file; expected a folder.")
    for name in DEMO_FILES if output_dir.is_dir() else ():
        check_output(output_dir / name, [], overwrite)
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
    """Run the command and exit.

    With 0; 1 (demo: not found); 2 (bad input, or files that cannot be read or written); 130
    (interrupted) or 143 (terminated).
    """
    message = None
    try:
        with terminable():
            code = app(args=args, prog_name="leafletfa", standalone_mode=False)
    except _UsageError as error:
        message, code = _usage_message(error), 2
    except UserError as error:
        message, code = one_line(error), 2
    except OSError as error:
        message, code = _os_message(error), 2
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Terminated:
        message, code = "Terminated.", TERMINATED
    if code == INTERRUPTED:  # which Typer too makes of a KeyboardInterrupt
        message = "Interrupted."
    if message is not None:
        print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)


def _os_message(error: OSError) -> str:
    """What the system says, and of which file."""
    if error.strerror is None:
        return one_line(error)
    file = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{file}{' '.join(error.strerror.split())}."


def _usage_message(error: Exception) -> str | None:
    """What is wrong with the options, and where to read about them; None after the help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "leafletfa"
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    if not text:  # no command was given, and the help has been printed
        return None
    return f"{text if text.endswith(('.', '?')) else text + '.'} See {command} --help."
