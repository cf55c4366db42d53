"""Summary of a new data set: tables for the terminal and the QC report."""

from __future__ import annotations

import base64
import html
import io
from numbers import Integral
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from rich import box
from rich.table import Table

import leafletfa_scvi as lfa
from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, DATASET_SLOT
from leafletfa_scvi.pp._losses import losses_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.figure import Figure

    from leafletfa_scvi.pp._losses import Loss

STEPS = {
    "reading": "Reading",
    "strand": "Strands",
    "reference": "Junctions of the reference",
    "annotation": "Annotation",
    "junction_qc": "Junction filters",
    "splice_site_usage": "Splice-site usage",
    "atses": "ATSEs",
}
"""Titles of the sections of ``uns["splicing"]``, in the order of the steps."""

_LARGE_READS, _LARGE_JUNCTIONS = 0.1, 0.5
"""Shares from which a loss is repeated at the end."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; } td { padding: .15rem 1.2rem .15rem 0; vertical-align: top;
       border-bottom: 1px solid #eee; } td + td { text-align: right;
       font-variant-numeric: tabular-nums; } img { width: 100%; }
.steps { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr));
         gap: 0 2rem; }
th { text-align: left; font-weight: 600; padding: .15rem 1.2rem .15rem 0; }
.wide td + td { text-align: left; }
"""


def numbers(adata: AnnData) -> dict[str, int | float]:
    """Return the main numbers of the data set; ``n_genes`` only if genes are known."""
    totals = adata.layers[CLUSTER_LAYER]
    reads = np.asarray(adata.X.sum(axis=1, dtype=np.float64)).ravel()
    found: dict[str, int | float] = {
        "n_cells": adata.n_obs,
        "n_cells_without_atse": int((np.diff(totals.indptr) == 0).sum()),
        "n_junctions": adata.n_vars,
        "n_atses": int(adata.var[ATSE_KEY].nunique()),
        "n_observed": int(totals.nnz),
        "n_reads": int(reads.sum()),
        "median_reads_per_cell": float(np.median(reads)),
    }
    if "gene_id" in adata.var:
        genes = adata.var["gene_id"].astype(str)
        found["n_genes"] = int(genes[genes != ""].nunique())
    return found


def overview(adata: AnnData) -> dict[str, str]:
    """Return the main numbers of the data set by name."""
    found, size = numbers(adata), max(adata.n_obs * adata.n_vars, 1)
    n_observed = found["n_observed"]
    rows = {
        "Cells": f"{adata.n_obs:,}",
        "Cells without any ATSE": f"{found['n_cells_without_atse']:,}",
        "Junctions": f"{adata.n_vars:,}",
        "ATSEs": f"{found['n_atses']:,}",
        "Observed entries": f"{n_observed:,} ({n_observed / size:.1%})",
        "Junction reads": f"{found['n_reads']:,}",
        "Junction reads per cell, median": f"{found['median_reads_per_cell']:,.0f}",
    }
    if "n_genes" in found:
        rows["Genes"] = f"{found['n_genes']:,}"
    return rows


def events(adata: AnnData) -> dict[str, str]:
    """Return the number of ATSEs of each event type, most frequent first, for people."""
    return {name.replace("_", " "): f"{n:,}" for name, n in _event_types(adata).items()}


def _event_types(adata: AnnData) -> dict[str, int]:
    types = adata.var.drop_duplicates(ATSE_KEY)["event_type"].value_counts()
    return {str(name): int(n) for name, n in types.items() if n}


def steps(adata: AnnData) -> dict[str, dict[str, str]]:
    """Return the nonzero counts that every step read, kept and dropped, by title."""
    record = adata.uns[DATASET_SLOT]
    sections = {}
    for key, title in STEPS.items():
        rows = {
            name.replace("_", " "): f"{int(value):,}"
            for name, value in record.get(key, {}).items()
            if isinstance(value, Integral) and value
        }
        if rows:
            sections[title] = rows
    giants = record.get("atses", {}).get("largest_giant_atses", {})
    if giants:
        sections["Largest ATSEs, junctions"] = {str(k): f"{int(v):,}" for k, v in giants.items()}
    return sections


def losses(adata: AnnData) -> list[tuple[str, ...]]:
    """Return step, reason, numbers and option of what was left out."""
    return [
        (STEPS[loss.step], loss.reason, loss.numbers, loss.option)
        for loss in losses_of(adata.uns[DATASET_SLOT])
    ]


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
    return {**numbers(adata), "event_types": _event_types(adata), "losses": lost}


def summary_tables(adata: AnnData, seconds: float) -> list[Table]:
    """Return the tables for the terminal."""
    numbers = {**overview(adata), "Time": f"{seconds:.0f} s"}
    return [_table("Data set", numbers), _table("ATSEs by event type", events(adata))]


def write_report(adata: AnnData, path: Path) -> None:
    """Write the figure (.png), or a self-contained page with figure and numbers."""
    figure = _figure(adata)
    try:
        if path.suffix == ".png":
            figure.savefig(path, dpi=150, bbox_inches="tight")
        else:
            path.write_text(_page(adata, figure), encoding="utf-8")
    finally:
        plt.close(figure)


def _figure(adata: AnnData) -> Figure:
    plt.switch_backend("Agg")
    figure: Figure = lfa.pl.dataset_qc(adata, return_fig=True)
    return figure


def _page(adata: AnnData, figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, bbox_inches="tight")
    encoded = base64.b64encode(picture.getvalue()).decode()
    record = adata.uns[DATASET_SLOT]
    main = {"Data set": overview(adata), "ATSEs by event type": events(adata)}
    sections = steps(adata)
    options = {str(k).replace("_", " "): str(v) for k, v in record.get("parameters", {}).items()}
    sections["Options"] = options
    failed = record.get("failed_files", [])
    if len(failed):
        sections["Files that could not be read"] = {str(name): "" for name in failed}
    left_out = _table_of(losses(adata), ("step", "reason", "left out", "option that keeps it"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Splicing data set</title>
<style>{_STYLE}</style></head>
<body><h1>Splicing data set</h1>
<p>{html.escape(str(record.get("source")))}, leafletfa-scvi {html.escape(_version(record))};
coordinates: {html.escape(str(record.get("coordinates", "1-based inclusive intron")))}.</p>
<img alt="Reads and ATSEs of cells and junctions" src="data:image/png;base64,{encoded}">
<div class="steps">
{_sections(main)}
</div>
<section class="wide"><h2>Left out</h2>
{left_out}</section>
<div class="steps">
{_sections(sections)}
</div></body></html>
"""


def _version(record: Any) -> str:
    return str(record.get("version", ""))


def _sections(sections: dict[str, dict[str, str]]) -> str:
    """Return a heading and a table for each section."""
    return "\n".join(
        f"<section><h2>{html.escape(title)}</h2>\n{_table_of(rows.items())}</section>"
        for title, rows in sections.items()
    )


def _table_of(rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = ()) -> str:
    """Return a table of text, escaped."""

    def row(values: tuple[str, ...], tag: str) -> str:
        cells = (f"<{tag}>{html.escape(value)}</{tag}>" for value in values)
        return f"<tr>{''.join(cells)}</tr>"

    head = row(header, "th") if header else ""
    return f"<table>{head}{''.join(row(values, 'td') for values in rows)}</table>"


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=title, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table
