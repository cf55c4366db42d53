"""Summary of a new data set for the terminal and ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._report._dataset import event_types, events, numbers, overview
from leafletfa_scvi.pp._losses import losses_of

if TYPE_CHECKING:
    from anndata import AnnData

    from leafletfa_scvi.pp._losses import Loss

_LARGE_READS, _LARGE_JUNCTIONS = 0.1, 0.5
"""Shares from which a loss is repeated at the end."""


def large_losses(adata: AnnData) -> list[str]:
    """Return a heading and a line for each large part that an option would keep; or nothing."""
    lines = [f"  {loss}" for loss in losses_of(adata.uns[DATASET_SLOT]) if _is_large(loss)]
    return ["Large parts of what was read were left out:", *lines] if lines else []


def _is_large(loss: Loss) -> bool:
    """Return True for a tenth of all reads or half of all junctions, if an option keeps them."""
    if not loss.option:
        return False
    share = loss.dropped / max(loss.of, 1)
    if loss.unit != "junctions":
        return share >= _LARGE_READS
    of_reads = (loss.reads or 0) / max(loss.of_reads or 0, 1)
    return of_reads >= _LARGE_READS or share >= _LARGE_JUNCTIONS


def facts(adata: AnnData) -> dict[str, Any]:
    """Return what the command prints, for ``--json``."""
    lost = [loss._asdict() for loss in losses_of(adata.uns[DATASET_SLOT])]
    return {**numbers(adata), "event_types": event_types(adata), "losses": lost}


def summary_tables(adata: AnnData, seconds: float) -> list[Table]:
    """Return the tables for the terminal."""
    numbers = {**overview(adata), "Time": f"{seconds:.0f} s"}
    return [_table("Data set", numbers), _table("ATSEs by event type", events(adata))]


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table
