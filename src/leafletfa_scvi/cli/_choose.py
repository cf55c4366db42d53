"""``leafletfa choose-k``: fit numbers of programs, say which predicts hidden reads best."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi.cli._console import UserError, one_line, quiet_libraries
from leafletfa_scvi.cli._fit import BAD_DATA, OUT_OF_MEMORY, check_accelerator
from leafletfa_scvi.cli._h5ad import read
from leafletfa_scvi.cli._outputs import staged

if TYPE_CHECKING:
    from pathlib import Path

    from leafletfa_scvi.cli._console import Reporter
    from leafletfa_scvi.tl import ProgramSelection


def run_choose_k(
    reporter: Reporter,
    data: Path,
    output: Path,
    figure: Path | None,
    *,
    numbers: list[int],
    options: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Compare ``numbers`` of programs and write the table, and the figure if one is asked for.

    Parameters
    ----------
    reporter
        Where to print.
    data, output, figure
        Paths, checked before.
    numbers
        Numbers of programs.
    options, model, training
        Arguments of :func:`leafletfa_scvi.tl.select_n_programs`, of the model and of ``train``.

    Raises
    ------
    UserError
        The data cannot be read or break the contract, options do not suit them, memory or disk
        do not suffice, or the loss is not finite.
    """
    started = time.perf_counter()
    quiet_libraries()
    check_accelerator(training["accelerator"])
    adata = read(data)
    n_fits = len(numbers) * options["n_seeds"]
    reporter.stage(
        f"Fitting {n_fits} models to {adata.n_obs:,} cells and {adata.n_vars:,} junctions"
    )
    try:
        result = lfa.tl.select_n_programs(
            adata,
            numbers,
            model_kwargs=model,
            train_kwargs=training,
            progress=reporter.progress_bar,
            **options,
        )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(OUT_OF_MEMORY) from error
    except (*BAD_DATA, FloatingPointError) as error:
        raise UserError(one_line(error)) from error

    reporter.stage(f"Writing {output}" + (f" and {figure}" if figure else ""))
    with staged(output, *([figure] if figure else [])) as places:
        result.summary.to_csv(places[0])
        if figure is not None:
            plt.switch_backend("Agg")
            drawn, ax = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
            lfa.pl.n_programs(result, ax=ax)
            drawn.savefig(places[1], dpi=150)
            plt.close(drawn)
    reporter.out.print(_table(result))
    reporter.out.print(escape(result.note), soft_wrap=True)
    seconds = time.perf_counter() - started
    reporter.out.print(f"{n_fits} fits in {seconds:.0f} s. Next:")
    command = f"leafletfa fit {data} --n-programs {result.n_programs}"
    reporter.out.print(escape(command), style="bold", soft_wrap=True)


def _table(result: ProgramSelection) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Programs", style="bold", justify="right")
    for name in ("Held-out gain", "Standard error", "Stability", "Reproducible", ""):
        table.add_column(name, justify="right")
    for number, row in result.summary.iterrows():
        table.add_row(
            str(number),
            f"{row['log_likelihood_gain']:.4f}",
            _shown(row["se"], ".4f"),
            _shown(row["stability"], ".2f"),
            _shown(row["n_reproducible"], "d"),
            "recommended" if row["recommended"] else "",
        )
    return table


def _shown(value: Any, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)
