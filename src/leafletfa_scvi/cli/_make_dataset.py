"""``leafletfa make-dataset``: read, group, write, report."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import UserError, one_line
from leafletfa_scvi.cli._outputs import staged
from leafletfa_scvi.cli._qc_report import summary_tables, write_report
from leafletfa_scvi.data._h5ad import write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pandas as pd

    from leafletfa_scvi.cli._console import Reporter

_BAD_INPUT = (ValueError, KeyError, TypeError, OSError)


def run_make_dataset(
    reporter: Reporter,
    inputs: pd.DataFrame,
    output: Path,
    report: Path | None,
    *,
    work_dir: Path | None,
    dask: str | None,
    reading: dict[str, Any],
    criteria: dict[str, Any],
) -> None:
    """Make a data set of ``inputs`` and write ``output``, and ``report`` if it is given.

    Parameters
    ----------
    reporter
        Where to print.
    inputs
        Table of files, from :func:`leafletfa_scvi.pp.list_files`.
    output, report
        Paths, checked before.
    work_dir
        Folder for the counts of single files; by default one beside the output, which is removed
        at the end and stays after an interruption.
    dask
        Address of a Dask scheduler.
    reading, criteria
        Arguments of :func:`leafletfa_scvi.pp.make_splicing_dataset`.

    Raises
    ------
    UserError
        An input cannot be read, no ATSE is left, the scheduler does not answer, memory or disk do
        not suffice.
    """
    started = time.perf_counter()
    folder = output.with_name(f"{output.name}.parts") if work_dir is None else work_dir
    try:
        with _client(dask) as client, _bar(reporter) as progress:
            adata = lfa.pp.make_splicing_dataset(
                inputs,
                stage=reporter.stage,
                progress=progress,
                client=client,
                work_dir=folder,
                **reading,
                **criteria,
            )
    except _BAD_INPUT as error:
        kept = f" Files that were counted stay so in {folder}." if folder.is_dir() else ""
        raise UserError(one_line(error) + kept) from error
    except MemoryError as error:
        raise UserError("Out of memory; raise --min-reads and --min-cells.") from error
    reporter.stage(f"Writing {output}" + (f" and {report}" if report else ""))
    with staged(output, *([report] if report else [])) as places:
        write_h5ad(adata, places[0], compression="gzip")
        if report is not None:
            write_report(adata, places[1])
    if work_dir is None:
        _remove_parts(folder)
    seconds = time.perf_counter() - started
    for table in summary_tables(adata, seconds):
        reporter.out.print(table)
    reporter.out.print(f"The data set is in {escape(str(output))}. Next:", soft_wrap=True)
    reporter.out.print(f"leafletfa fit {escape(str(output))}", style="bold", soft_wrap=True)


def _remove_parts(folder: Path) -> None:
    """Remove the counts of single files, and the folder if nothing else is in it."""
    with suppress(OSError):
        for path in folder.iterdir():
            if re.fullmatch(r"\.?[0-9a-f]{32}\.npz(\.\d+)?", path.name):
                path.unlink()
        folder.rmdir()


@contextmanager
def _bar(reporter: Reporter) -> Iterator[Callable[[int, int], None]]:
    """A function that shows how many files are done, where that makes sense."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = reporter.err.is_terminal and not reporter.quiet
    with Progress(
        *columns, TimeRemainingColumn(), console=reporter.err, disable=not shown, transient=True
    ) as bars:
        task = bars.add_task("Files", total=None)

        def show(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, visible=done < total)

        yield show


@contextmanager
def _client(address: str | None) -> Iterator[Any]:
    """A client of the scheduler, or None where no address is given."""
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
