"""``leafletfa demo``: planted programs, found again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
import scanpy as sc
import scvi
from rich import box
from rich.markup import escape
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi._constants import ACTIVITY_SLOT, PROGRAM_SLOT
from leafletfa_scvi.cli._console import quiet_libraries
from leafletfa_scvi.cli._outputs import DEMO_FILES, staged
from leafletfa_scvi.data._h5ad import write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anndata import AnnData

    from leafletfa_scvi.cli._console import Reporter

FOUND = 0.7
"""Least correlation, of PSI and of activities, for a planted program to count as found."""


def run_demo(
    reporter: Reporter,
    output_dir: Path,
    *,
    seed: int,
    max_epochs: int | None,
    simulation: dict[str, Any],
) -> bool:
    """Simulate, fit, compare with the truth; write ``fitted.h5ad`` and figures.

    Parameters
    ----------
    reporter
        Where to print.
    output_dir
        Folder to write to; it exists.
    seed
        Seed of simulation and fit.
    max_epochs
        As in ``train``.
    simulation
        Arguments of :func:`leafletfa_scvi.datasets.simulate_splicing`.

    Returns
    -------
    bool
        Whether every planted program was found.
    """
    started = time.perf_counter()
    quiet_libraries()
    plt.switch_backend("Agg")
    adata = lfa.datasets.simulate_splicing(**simulation, seed=seed)
    scvi.settings.seed = seed
    quiet_libraries()  # setting the seed resets the level of Lightning's logger
    reporter.stage(
        f"Simulated {adata.n_obs:,} cells, {adata.n_vars:,} junctions, "
        f"{simulation['n_programs']} programs; fitting"
    )
    lfa.LeafletFAModel.setup_anndata(adata)
    model = lfa.LeafletFAModel(adata, n_programs=simulation["n_programs"])
    model.train(max_epochs=max_epochs, enable_progress_bar=reporter.progress_bar)
    model.export_posterior(adata)
    reporter.stage("Drawing")
    sc.pp.neighbors(adata, use_rep=ACTIVITY_SLOT, random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    agreement, correlation = compare(adata)
    with staged(*(output_dir / name for name in DEMO_FILES)) as (place, *figures):
        write_h5ad(adata, place)
        draw(adata, model, correlation, figures)

    reporter.out.print(_agreement_table(agreement))
    found = int(agreement["found"].sum())
    reporter.out.print(
        f"{found} of {len(agreement)} planted programs were found (both correlations at least "
        f"{FOUND}), in {time.perf_counter() - started:.0f} s.",
        style="green" if found == len(agreement) else "red",
    )
    reporter.out.print(escape(f"Data and figures are in {output_dir}/."), soft_wrap=True)
    return found == len(agreement)


def compare(adata: AnnData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well the planted programs of a simulated data set were found.

    Programs are paired by their activities. PSI is compared over the junctions of ATSEs in which
    programs were made to differ: elsewhere all have the same, and nothing is there to be found.

    Returns
    -------
    tuple of pandas.DataFrame
        One row for each planted program with columns ``reference``, ``learned``, ``activity``
        and ``psi`` (correlations) and ``found``; and the correlations of PSI of all pairs.
    """
    learned = [str(name) for name in adata.uns["leafletfa"]["programs"]]
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
    match["found"] = match[["activity", "psi"]].min(axis=1) >= FOUND
    return match, correlation


def draw(
    adata: AnnData, model: lfa.LeafletFAModel, correlation: pd.DataFrame, paths: Iterable[Path]
) -> None:
    """Write the figures, without a display, to the path of each."""
    shown = adata.copy()
    leader = shown.obs["program_true"].cat
    shown.obs["planted program"] = leader.rename_categories(
        [str(k + 1) for k in range(len(leader.categories))]
    )
    figures: dict[str, Any] = {
        "history": lfa.pl.history(model).figure,
        "programs": lfa.pl.program_match(correlation).figure,
        "activities": lfa.pl.structure(shown, "planted program").figure,
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
        table.add_row(row.reference.removeprefix("planted "), row.learned, *numbers, verdict)
    return table
