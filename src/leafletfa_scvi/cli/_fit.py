"""``leafletfa fit``: read, fit, write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi._constants import RESULTS_SLOT
from leafletfa_scvi.cli._console import UserError, one_line, quiet_libraries
from leafletfa_scvi.cli._h5ad import read
from leafletfa_scvi.cli._outputs import DATA_FILE, MODEL_FILE, staged
from leafletfa_scvi.data._h5ad import write_h5ad
from leafletfa_scvi.model._summary import check_free_names

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad

    from leafletfa_scvi.cli._console import Reporter

BAD_DATA = (ValueError, KeyError, TypeError)
OUT_OF_MEMORY = "Out of memory; train on fewer cells or junctions, or with another --accelerator."


def run_fit(
    reporter: Reporter,
    data: Path,
    output: Path,
    save_model: Path | None,
    *,
    seed: int,
    setup: dict[str, Any],
    options: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Fit ``data`` and write ``output``, and the model if ``save_model`` is given.

    Parameters
    ----------
    reporter
        Where to print.
    data, output, save_model
        Paths, checked before.
    seed
        Seed of all random numbers.
    setup, options, training
        Arguments of ``setup_anndata``, of the model and of ``train``.

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
    scvi.settings.seed = seed
    quiet_libraries()  # setting the seed resets the level of Lightning's logger
    try:
        lfa.LeafletFAModel.setup_anndata(adata, **setup)
        model = lfa.LeafletFAModel(adata, **options)
        check_free_names(adata, model.program_names, "in the input file or in a copy of it")
    except BAD_DATA as error:
        raise UserError(one_line(error)) from error
    reporter.stage(
        f"Fitting {model.n_programs} programs to {adata.n_obs:,} cells and "
        f"{adata.n_vars:,} junctions"
    )
    try:
        model.train(enable_progress_bar=reporter.progress_bar, **training)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(
            OUT_OF_MEMORY
            if training["method"] == "em"
            else "Out of memory; try a smaller --batch-size, such as 2048."
        ) from error
    except FloatingPointError as error:
        raise UserError(one_line(error)) from error

    model.export_posterior(adata)
    reporter.stage(f"Writing {output}" + (f" and {save_model}" if save_model else ""))
    targets = [output] if save_model is None else [output, save_model / MODEL_FILE]
    earlier = [] if save_model is None else [save_model / DATA_FILE]
    with staged(*targets, remove=earlier) as places:
        if save_model is not None:
            folder = places[1].with_name("model")
            model.save(folder)
            (folder / MODEL_FILE).replace(places[1])
        for key in [key for key in adata.uns if key.startswith("_scvi")]:
            del adata.uns[key]
        write_h5ad(adata, places[0])
    seconds = time.perf_counter() - started
    for table in (_data_table(adata, setup, options, seconds), _program_table(adata)):
        reporter.out.print(table)
    reporter.out.print(
        escape(f"Results are in {output}: obsm['X_PHI'], varm['psi_learned']."), soft_wrap=True
    )


def check_accelerator(name: str) -> None:
    """Refuse a GPU that is not there."""
    if name == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise UserError("There is no GPU for --accelerator gpu; leave the option out.")


def _data_table(
    adata: ad.AnnData, setup: dict[str, Any], options: dict[str, Any], seconds: float
) -> Table:
    observed = _n_observed(adata.layers[setup["cluster_layer"]])
    size = adata.n_obs * adata.n_vars
    key = setup["atse_key"]
    results = adata.uns[RESULTS_SLOT]
    rows = {
        "Cells": f"{adata.n_obs:,}",
        "Junctions": f"{adata.n_vars:,}",
        "ATSEs": f"{adata.var[key].nunique():,}" if key in adata.var else "no labels given",
        "Observed entries": f"{observed:,} ({observed / size:.1%})",
        "Likelihood": options["likelihood"],
        "Concentration kappa": _concentration(results["kappa"]),
        "Time": f"{seconds:.0f} s",
    }
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title="Fit", title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _concentration(kappa: Any) -> str:
    """The one kappa, or how those of the junctions are spread."""
    low, middle, high = np.quantile(kappa, [0.05, 0.5, 0.95])
    if np.ndim(kappa) == 0:
        return f"{middle:.3g}"
    return f"{middle:.3g} (90 % of junctions {low:.3g} to {high:.3g})"


def _program_table(adata: ad.AnnData) -> Table:
    results = adata.uns[RESULTS_SLOT]
    names = list(results["programs"])
    leader = pd.Series(adata.obs[names].to_numpy().argmax(axis=1)).value_counts()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Program", style="bold")
    table.add_column("Prevalence", justify="right")
    table.add_column("Cells it leads", justify="right")
    for k, (name, share) in enumerate(zip(names, results["pi"], strict=True)):
        table.add_row(str(name), f"{share:.3f}", f"{leader.get(k, 0):,}")
    return table


def _n_observed(totals: Any) -> int:
    """Number of entries with a total above 0."""
    values = totals.data if sp.issparse(totals) else totals
    return int(np.count_nonzero(values))
