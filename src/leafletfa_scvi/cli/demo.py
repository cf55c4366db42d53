"""``leafletfa demo``: simulate planted programs and recover them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi._constants import ACTIVITY_SLOT, PROGRAM_SLOT, RESULTS_SLOT
from leafletfa_scvi.cli._console import Reporter, UserError, set_seed
from leafletfa_scvi.cli._fitted_model import save_model
from leafletfa_scvi.cli._h5ad import write_data
from leafletfa_scvi.cli._json import rows
from leafletfa_scvi.cli._option_groups import with_groups
from leafletfa_scvi.cli._outputs import MODEL_FILE, check_output, check_reach, staged
from leafletfa_scvi.cli._shared_options import TRAIN, DisplayOptions, SeedOption

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData

MODEL_DIR = "model"
FILES = ("fitted.h5ad", "history.png", "programs.png", "activities.png", "umap.png")
GROUPS = "program_true"
"""Column of ``obs`` with the planted program that leads each cell."""
MIN_CORRELATION = 0.7
"""Minimum correlation, of PSI and of activities, for a planted program to count as recovered."""


@with_groups
def demo(
    output_dir: Annotated[
        Path, typer.Option(help="Folder for data and figures; made if missing.", metavar="DIR")
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
    ] = TRAIN["max_epochs"],
    seed: SeedOption = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier demo.")
    ] = False,
    *,
    display: DisplayOptions,
) -> None:
    """Simulate cells with planted programs, fit them, and show whether they were found.

    Writes fitted.h5ad, the model, and four figures. Exit code 1 if a planted program is missed.
    """
    check_reach(output_dir, "--output-dir")
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output-dir {output_dir} is a file; expected a folder.")
    model_file = output_dir / MODEL_DIR / MODEL_FILE
    if output_dir.is_dir():
        for path in (*(output_dir / name for name in FILES), model_file):
            if path != model_file or path.parent.exists():
                check_output(path, [], overwrite)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {output_dir}: {error.strerror}.") from error

    reporter = Reporter.of(demo, display, output_dir)
    with reporter.tidy():
        reporter.writes(output_dir)
        reporter.stage("Simulating")
        adata = lfa.datasets.simulate_splicing(
            n_cells, n_atses, n_programs, coverage=coverage, seed=seed
        )
        reporter.stage(
            f"Fitting {n_programs} programs to {adata.n_obs:,} cells and "
            f"{adata.n_vars:,} junctions"
        )
        model = _fit(adata, n_programs, max_epochs, seed, reporter)
        reporter.stage("Drawing")
        _embed(adata, seed)
        agreement, correlation = compare(adata)
        targets = [model_file, *(output_dir / name for name in FILES)]
        with staged(*targets) as (saved, path, *pictures):
            save_model(model, saved)
            for key in [key for key in adata.uns if key.startswith("_scvi")]:
                del adata.uns[key]
            write_data(adata, path)
            draw(adata, model, correlation, pictures)

        reporter.out.print(_agreement_table(agreement))
        n_found = int(agreement["found"].sum())
        reporter.out.print(
            f"{n_found} of {len(agreement)} planted programs were found (both correlations at "
            f"least {MIN_CORRELATION}), in {reporter.seconds:.0f} s.",
            style="green" if n_found == len(agreement) else "red",
        )
        fitted, *figures = FILES
        reporter.out.print(
            escape(
                f"In {output_dir}/ are {fitted}, the data with activities and PSI of the "
                f"programs, the model in {MODEL_DIR}/, and the figures {', '.join(figures)}."
            ),
            soft_wrap=True,
        )
        reporter.out.print("Next, a page with programs, groups and splice graphs:")
        where, saved_in = (shlex.quote(str(output_dir / name)) for name in (fitted, MODEL_DIR))
        page = shlex.quote(str(output_dir / "report.html"))
        line = f"leafletfa report {where} --model {saved_in} --groupby {GROUPS} --output {page}"
        reporter.out.print(escape(line), style="bold", soft_wrap=True)
        reporter.out.print("Then, with counts or alignments of your own:")
        for line in (
            "leafletfa make-dataset bams/ --gtf genes.gtf.gz --output cells.h5ad",
            "leafletfa fit cells.h5ad",
        ):
            reporter.out.print(line, style="bold", soft_wrap=True)
        reporter.result(
            {
                "output": output_dir,
                "files": [output_dir / name for name in FILES],
                "model": output_dir / MODEL_DIR,
                "n_cells": adata.n_obs,
                "n_junctions": adata.n_vars,
                "n_programs": n_programs,
                "n_found": n_found,
                "programs": rows(agreement),
            }
        )
    if n_found < len(agreement):
        raise typer.Exit(1)


def _fit(
    adata: AnnData, n_programs: int, max_epochs: int | None, seed: int, reporter: Reporter
) -> lfa.LeafletFAModel:
    """Fit the model and export its posterior into ``adata``."""
    set_seed(seed)
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=n_programs)
    with reporter.progress() as progress:
        model.train(max_epochs=max_epochs, enable_progress_bar=False, progress=progress)
    model.export_posterior(adata)
    return model


def _embed(adata: AnnData, seed: int) -> None:
    """Compute a UMAP of the activities."""
    import scanpy as sc

    sc.pp.neighbors(adata, use_rep=ACTIVITY_SLOT, random_state=seed)
    sc.tl.umap(adata, random_state=seed)


def compare(adata: AnnData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare learned with planted programs.

    Programs are paired by their activities. PSI is compared over the junctions of ATSEs in which
    programs differ by construction; in the others, all planted programs have the same PSI.

    Returns
    -------
    tuple of pandas.DataFrame
        One row for each planted program with columns ``reference``, ``learned``, ``activity``
        and ``psi`` (correlations) and ``found``; and the correlations of PSI of all pairs.
    """
    import pandas as pd

    learned = [str(name) for name in adata.uns[RESULTS_SLOT]["programs"]]
    planted = [f"planted {k + 1}" for k in range(adata.obsm["phi_true"].shape[1])]
    differs = adata.var["differs"].to_numpy()
    match = lfa.tl.match_programs(
        pd.DataFrame(adata.obsm["phi_true"], columns=planted),
        pd.DataFrame(adata.obsm[ACTIVITY_SLOT], columns=learned),
    ).rename(columns={"correlation": "activity"})
    correlation = lfa.tl.program_correlation(
        pd.DataFrame(adata.varm["psi_true"][differs], columns=planted),
        pd.DataFrame(adata.varm[PROGRAM_SLOT][differs], columns=learned),
    )
    match["psi"] = [
        correlation.loc[a, b] for a, b in zip(match.reference, match.learned, strict=True)
    ]
    match["found"] = match[["activity", "psi"]].min(axis=1) >= MIN_CORRELATION
    return match, correlation


def draw(
    adata: AnnData, model: lfa.LeafletFAModel, correlation: pd.DataFrame, paths: Iterable[Path]
) -> None:
    """Write one figure to each path, named by its stem, without a display."""
    import matplotlib.pyplot as plt
    import scanpy as sc

    plt.switch_backend("Agg")
    shown = adata.copy()
    leader = shown.obs["program_true"].cat
    shown.obs["planted program"] = leader.rename_categories(
        [str(k + 1) for k in range(len(leader.categories))]
    )
    figures: dict[str, Any] = {
        "history": lfa.pl.history(model, return_fig=True),
        "programs": lfa.pl.program_match(correlation, return_fig=True),
        "activities": lfa.pl.structure(shown, "planted program", return_fig=True),
        "umap": sc.pl.umap(
            shown,
            color=["planted program", *correlation.columns],
            ncols=3,
            frameon=False,
            show=False,
            return_fig=True,
        ),
    }
    for path in paths:
        figure = figures[path.stem]
        figure.savefig(path, dpi=150, bbox_inches="tight")
        plt.close(figure)


def _agreement_table(agreement: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Planted and learned programs", title_justify="left")
    for column in ("Planted", "Learned"):
        table.add_column(column, style="bold")
    for column in ("Activities, r", "PSI, r"):
        table.add_column(column, justify="right")
    table.add_column("Found")
    for row in agreement.itertuples():
        verdict = "[green]yes[/green]" if row.found else "[red]no[/red]"
        numbers = f"{row.activity:.2f}", f"{row.psi:.2f}"
        planted = str(row.reference).removeprefix("planted ")
        table.add_row(planted, str(row.learned), *numbers, verdict)
    return table
