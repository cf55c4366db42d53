"""QC report of ``leafletfa make-dataset``: a figure, and what each step kept and dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from leafletfa_scvi import pl
from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._report._blocks import Block, Column, Facts, Page, Section, Table, Text
from leafletfa_scvi._report._dataset import LOSS_COLUMNS, events, losses, numbers, overview, steps
from leafletfa_scvi._report._figures import drawing, encoded
from leafletfa_scvi._report._render import rendered

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from leafletfa_scvi._report._blocks import Figure


def write_qc_report(adata: AnnData, path: Path) -> None:
    """Write the figure (.png), or a self-contained page with figure and numbers."""
    if path.suffix == ".png":
        figure = pl.dataset_qc(adata, return_fig=True)
        try:
            figure.savefig(path, dpi=150, bbox_inches="tight")
        finally:
            plt.close(figure)
        return
    path.write_text(rendered(_page(adata)), encoding="utf-8")


def qc_figure(adata: AnnData, atse_key: str, found: dict[str, int | float]) -> Figure:
    """Draw the coverage of cells and ATSEs; ``found`` are the numbers of the data set."""
    with drawing():
        figure = pl.dataset_qc(adata, atse_key=atse_key, return_fig=True)
        alt = (
            f"Six panels: reads and ATSEs of {found['n_cells']:,} cells, with a median of "
            f"{found['median_reads_per_cell']:,.0f} junction reads per cell, and cells, sizes and "
            f"types of {found['n_atses']:,} ATSEs."
        )
        return encoded(figure, alt, "Coverage of cells and ATSEs. Dashed lines are medians.")


def _page(adata: AnnData) -> Page:
    record: Any = adata.uns[DATASET_SLOT]
    version = str(record.get("version", ""))
    coordinates = record.get("coordinates", "1-based inclusive intron")
    lead = f"{record.get('source')}, leafletfa-scvi {version}; coordinates: {coordinates}."
    parts = [Facts("Data set", overview(adata)), Facts("ATSEs by event type", events(adata))]
    options = {str(k).replace("_", " "): str(v) for k, v in record.get("parameters", {}).items()}
    kept = [*(Facts(title, rows) for title, rows in steps(adata).items())]
    kept.append(Facts("Options", options))
    failed = record.get("failed_files", [])
    if len(failed):
        kept.append(Facts("Files that could not be read", {str(name): "" for name in failed}))
    sections = [
        Section("coverage", "Coverage", [qc_figure(adata, "atse_id", numbers(adata))]),
        Section("numbers", "Numbers", parts, columns=True),
        Section("left-out", "Left out", loss_blocks(adata)),
        Section("steps", "Steps", kept, columns=True),
    ]
    return Page("Splicing data set", lead, sections)


def loss_blocks(adata: AnnData) -> list[Block]:
    """Return what was left out on the way from files to the data set, as a table."""
    rows = losses(adata)
    if not rows:
        return [Text("No step left anything out.")]
    columns = [
        Column(name, cells)
        for name, cells in zip(LOSS_COLUMNS, zip(*rows, strict=True), strict=True)
    ]
    return [Table("What each step left out, why, and the option that keeps it", columns)]
