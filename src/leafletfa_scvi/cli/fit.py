"""``leafletfa fit``: read a data set, fit the model, write the results."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi._constants import RESULTS_SLOT
from leafletfa_scvi._warnings import ConvergenceWarning
from leafletfa_scvi.cli._console import Reporter, UserError, one_line, set_seed
from leafletfa_scvi.cli._fit_summary import content_lines, convergence, facts, next_lines
from leafletfa_scvi.cli._fitted_model import save_model as write_model
from leafletfa_scvi.cli._h5ad import read_data, write_data
from leafletfa_scvi.cli._multiqc_files import check_sections, row_name, section_paths
from leafletfa_scvi.cli._option_groups import with_groups
from leafletfa_scvi.cli._outputs import (
    DATA_FILE,
    MODEL_FILE,
    check_input,
    check_model_dir,
    check_output,
    staged,
)
from leafletfa_scvi.cli._shared_options import (
    BAD_DATA,
    MODEL,
    OUT_OF_MEMORY,
    TRAIN,
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

_FDR = 0.05

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.cli._fit_summary import Convergence
    from leafletfa_scvi.model import Identifiability


@with_groups
def fit(
    data: DataArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the data set with the results; by default DATA.fitted.h5ad.",
        ),
    ] = None,
    n_programs: Annotated[
        int, typer.Option("--n-programs", "-k", min=1, help="Number of splicing programs K.")
    ] = MODEL["n_programs"],
    save_model: Annotated[
        Path | None, typer.Option(help="Folder for the trained model.", metavar="DIR")
    ] = None,
    multiqc: Annotated[
        bool,
        typer.Option(
            "--multiqc", help="Write what MultiQC shows of the fit, too: OUTPUT.fit_mqc.json."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output and the other files.")
    ] = False,
    method: MethodOption = TRAIN["method"],
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Cells in a minibatch (default: all); not for em.")
    ] = TRAIN["batch_size"],
    *,
    training: TrainingOptions,
    seed: SeedOption = 0,
    model: ModelOptions,
    layers: LayerOptions,
    display: DisplayOptions,
) -> None:
    """Fit the model to DATA and write activities and programs into a copy of it."""
    check_method(method, max_epochs=training.max_epochs, batch_size=batch_size)
    check_input(data)
    output = data.with_suffix(".fitted.h5ad") if output is None else output
    check_output(output, [data], overwrite)
    section = section_paths(output, "fit") if multiqc else []
    check_sections(section, [data], overwrite)
    if save_model is not None:
        check_model_dir(save_model, (data, output, *section), overwrite)
    reporter = Reporter.of(fit, display, data, output, save_model, *section)
    with reporter.tidy():
        reporter.writes(output, save_model, *section)
        reporter.stage(f"Reading {data}")
        check_accelerator(training.accelerator)
        adata = read_data(data)
        fitted = _fit(
            adata,
            reporter,
            seed=seed,
            setup=layers.arguments(),
            options={"n_programs": n_programs, **model.arguments()},
            training={"method": method, "batch_size": batch_size, **training.arguments()},
        )
        end = convergence(fitted, method, training.max_epochs)
        if not end.converged:
            reporter.warn(f"The fit has not converged: {end.text}.")
        identified = fitted.identifiability()
        sizes = _sizes(adata, layers)
        files = {"data": data, "output": output, "model": save_model, "multiqc": section}
        found = facts(adata, fitted, identified, end, files, sizes)
        reporter.stage("Writing")
        _write(fitted, adata, output, save_model, section, found)
        reporter.out.print(_data_table(adata, sizes, fitted, identified, end, reporter.seconds))
        reporter.out.print(_program_table(adata, identified))
        for line in content_lines(adata, output, save_model):
            reporter.out.print(escape(line), soft_wrap=True)
        reporter.out.print("\nNext:", style="bold")
        for line in next_lines(adata, output, save_model):
            reporter.out.print(escape(f"  {line}"), soft_wrap=True)
        reporter.result(found)


def _fit(
    adata: AnnData,
    reporter: Reporter,
    *,
    seed: int,
    setup: dict[str, Any],
    options: dict[str, Any],
    training: dict[str, Any],
) -> lfa.LeafletFAModel:
    """Fit the model and export its posterior into ``adata``."""
    import torch

    from leafletfa_scvi.model._export import check_free_names

    set_seed(seed)
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
        with reporter.progress() as progress, warnings.catch_warnings():
            # Said in the words of the command: the model cannot be trained further.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.train(enable_progress_bar=False, progress=progress, **training)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(
            OUT_OF_MEMORY
            if training["method"] == "em"
            else "Out of memory; try a smaller --batch-size, such as 2048."
        ) from error
    except FloatingPointError as error:
        raise UserError(one_line(error)) from error
    model.export_posterior(adata)
    return model


def _write(
    model: lfa.LeafletFAModel,
    adata: AnnData,
    output: Path,
    save_model: Path | None,
    section: list[Path],
    found: dict[str, Any],
) -> None:
    """Write the data set, and model and section of MultiQC if asked for, all or none."""
    from leafletfa_scvi._report._multiqc import fit_section, write_sections

    targets = [output] if save_model is None else [output, save_model / MODEL_FILE]
    earlier = [] if save_model is None else [save_model / DATA_FILE]
    with staged(*targets, *section, remove=earlier) as paths:
        if save_model is not None:
            write_model(model, paths[1])
        for key in [key for key in adata.uns if key.startswith("_scvi")]:
            del adata.uns[key]
        write_data(adata, paths[0])
        if section:
            name = row_name(output).removesuffix(".fitted")
            prevalence = adata.uns[RESULTS_SLOT]["pi"]
            write_sections([fit_section({**found, "prevalence": prevalence}, name)], paths[-1:])


def _sizes(adata: AnnData, layers: LayerOptions) -> dict[str, int | None]:
    """Count cells, junctions, ATSEs (None without labels) and observed entries."""
    key = layers.atse_key
    return {
        "n_cells": adata.n_obs,
        "n_junctions": adata.n_vars,
        "n_atses": int(adata.var[key].nunique()) if key in adata.var else None,
        "n_observed": int((adata.layers[layers.cluster_layer] > 0).sum()),
    }


def _data_table(
    adata: AnnData,
    sizes: dict[str, int | None],
    fitted: lfa.LeafletFAModel,
    identified: Identifiability,
    end: Convergence,
    seconds: float,
) -> Table:
    from leafletfa_scvi.tl._concentration_range import concentration_range

    n_atses, n_observed = sizes["n_atses"], sizes["n_observed"] or 0
    share = n_observed / max(adata.n_obs * adata.n_vars, 1)
    rows = {
        "Cells": f"{adata.n_obs:,}",
        "Junctions": f"{adata.n_vars:,}",
        "ATSEs": "no labels given" if n_atses is None else f"{n_atses:,}",
        "Observed entries": f"{n_observed:,} ({share:.1%})",
        "Likelihood": fitted.module.model.likelihood.name,
        "Converged": ("yes, " if end.converged else "no, ") + end.steps,
        "Concentration kappa": concentration_range(adata.uns[RESULTS_SLOT]["kappa"]),
        **_activity_rows(identified),
        **_batch_rows(fitted),
        "Time": f"{seconds:.0f} s",
    }
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title="Fit", title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _activity_rows(identified: Identifiability) -> dict[str, str]:
    """Say how much of the activities is data; nothing for one program."""
    if len(identified.programs) == 1:
        return {}
    prior = identified.cells["prior_share"].mean()
    return {
        "Activities": f"{1.0 - prior:.0%} data, {prior:.0%} prior",
        "Correlation with the true ones": f"about {identified.reliability**0.5:.2f} expected",
    }


def _batch_rows(fitted: lfa.LeafletFAModel) -> dict[str, str]:
    """Say how many junctions batches shift; nothing without batches."""
    if not fitted.batch_names:
        return {}
    effects = fitted.get_batch_effects(fdr_target=_FDR)
    shifted = effects[f"is_shifted_fdr_{_FDR}"].groupby(level=0).any()
    return {
        "Batches": f"{len(fitted.batch_names)}",
        "Junctions that they shift": f"{shifted.sum():,} at an FDR of {_FDR:.0%}",
    }


def _program_table(adata: AnnData, identified: Identifiability) -> Table:
    results, programs = adata.uns[RESULTS_SLOT], identified.programs
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Program", style="bold")
    table.add_column("Prevalence", justify="right")
    table.add_column("Cells it leads", justify="right")
    table.add_column("Effective cells", justify="right")
    table.add_column("Largest difference from the nearest", justify="right")
    for name, prevalence in zip(results["programs"], results["pi"], strict=True):
        row = programs.loc[name]
        nearest = "" if len(programs) == 1 else f"{row['max_difference']:.2g} ({row['nearest']})"
        cells = f"{row['n_cells']:,}", f"{row['effective_cells']:,.1f}"
        table.add_row(str(name), f"{prevalence:.3f}", *cells, nearest)
    return table
