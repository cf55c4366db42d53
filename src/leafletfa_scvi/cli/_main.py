"""The command: its subcommands, exit codes and messages of errors."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from leafletfa_scvi._version import package_version
from leafletfa_scvi.cli._console import UserError, one_line
from leafletfa_scvi.cli._signals import Terminated, terminable
from leafletfa_scvi.cli.choose_k import choose_k
from leafletfa_scvi.cli.demo import demo
from leafletfa_scvi.cli.differential import differential
from leafletfa_scvi.cli.fit import fit
from leafletfa_scvi.cli.make_dataset import make_dataset
from leafletfa_scvi.cli.query import query
from leafletfa_scvi.cli.report import report

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
        typer.echo(f"leafletfa-scvi {package_version()}")
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
app.command()(fit)
app.command()(query)
app.command()(differential)
app.command()(report)
app.command()(demo)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and exit.

    Exit codes are 0; 1 (demo: a planted program was not found); 2 (bad input, or files that cannot
    be read or written); 130 (interrupted) and 143 (terminated).
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
    if code == INTERRUPTED:  # Typer turns a KeyboardInterrupt into this code, too
        message = "Interrupted."
    if message is not None:
        print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)


def _os_message(error: OSError) -> str:
    """Return the message of the system, with the file that it is about."""
    if error.strerror is None:
        return one_line(error)
    file = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{file}{' '.join(error.strerror.split())}."


def _usage_message(error: Exception) -> str | None:
    """Return the message of an error in options and a pointer to the help; None after the help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "leafletfa"
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    text = text.replace(": Value error, ", ": ")  # of some versions of Typer
    if not text:  # no command was given, and the help has been printed
        return None
    return f"{text if text.endswith(('.', '?')) else text + '.'} See {command} --help."
