"""Numbers of a data set: what is in it, what each step kept, and what was left out."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from leafletfa_scvi._constants import ATSE_KEY, CLUSTER_LAYER, DATASET_SLOT, JUNCTION_LAYER
from leafletfa_scvi.pp._losses import losses_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

STEPS: Final = {
    "reading": "Reading",
    "strand": "Strands",
    "reference": "Junctions of the reference",
    "annotation": "Annotation",
    "junction_qc": "Junction filters",
    "splice_site_usage": "Splice-site usage",
    "atses": "ATSEs",
}
"""Titles of the sections of ``uns["splicing"]``, in the order of the steps."""


class Layers(NamedTuple):
    """Names of the layers of junction counts and ATSE totals, and of the column of ATSEs."""

    junctions: str = JUNCTION_LAYER
    totals: str = CLUSTER_LAYER
    atses: str = ATSE_KEY


_DEFAULT: Final = Layers()


def numbers(adata: AnnData, layers: Layers = _DEFAULT) -> dict[str, int | float]:
    """Return the main numbers of the data set; ``n_atses`` and ``n_genes`` only if known."""
    per_cell = np.asarray((adata.layers[layers.totals] > 0).sum(axis=1)).ravel()
    counts: Any = adata.layers[layers.junctions]
    reads = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    found: dict[str, int | float] = {
        "n_cells": adata.n_obs,
        "n_cells_without_atse": int((per_cell == 0).sum()),
        "n_junctions": adata.n_vars,
        "n_observed": int(per_cell.sum()),
        "n_reads": int(reads.sum()),
        "median_reads_per_cell": float(np.median(reads)),
    }
    if layers.atses in adata.var:
        found["n_atses"] = int(adata.var[layers.atses].nunique())
    if "gene_id" in adata.var:
        genes = adata.var["gene_id"].astype(str)
        found["n_genes"] = int(genes[genes != ""].nunique())
    return found


def overview(adata: AnnData) -> dict[str, str]:
    """Return the main numbers of the data set by name, for people."""
    return described(numbers(adata))


def described(found: Mapping[str, int | float]) -> dict[str, str]:
    """Return the main numbers by name, for people."""
    size = max(int(found["n_cells"] * found["n_junctions"]), 1)
    n_observed = found["n_observed"]
    rows = {
        "Cells": f"{found['n_cells']:,}",
        "Cells without any ATSE": f"{found['n_cells_without_atse']:,}",
        "Junctions": f"{found['n_junctions']:,}",
        "ATSEs": f"{found['n_atses']:,}" if "n_atses" in found else "no labels given",
        "Observed entries": f"{n_observed:,} ({n_observed / size:.1%})",
        "Junction reads": f"{found['n_reads']:,}",
        "Junction reads per cell, median": f"{found['median_reads_per_cell']:,.0f}",
    }
    if "n_genes" in found:
        rows["Genes"] = f"{found['n_genes']:,}"
    return rows


def events(adata: AnnData, layers: Layers = _DEFAULT) -> dict[str, str]:
    """Return the number of ATSEs of each event type, most frequent first, for people."""
    return {name.replace("_", " "): f"{n:,}" for name, n in event_types(adata, layers).items()}


def event_types(adata: AnnData, layers: Layers = _DEFAULT) -> dict[str, int]:
    """Return the number of ATSEs of each event type, most frequent first."""
    types = adata.var.drop_duplicates(layers.atses)["event_type"].value_counts()
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


LOSS_COLUMNS: Final = ("Step", "Reason", "Left out", "Option that keeps it")


def losses(adata: AnnData) -> list[tuple[str, ...]]:
    """Return step, reason, numbers and option of what was left out."""
    return [
        (STEPS[loss.step], loss.reason, loss.numbers, loss.option)
        for loss in losses_of(adata.uns[DATASET_SLOT])
    ]
