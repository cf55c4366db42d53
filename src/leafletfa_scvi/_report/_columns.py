"""Columns that tables of markers and of comparisons share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi._report._blocks import text_column

if TYPE_CHECKING:
    import pandas as pd

    from leafletfa_scvi._report._blocks import Column


def identity_columns(rows: pd.DataFrame) -> list[Column]:
    """Return the columns that name a junction, its gene and its event."""
    columns = []
    gene = next((name for name in ("gene_name", "gene_id") if name in rows), None)
    if gene is not None:
        columns.append(text_column("Gene", rows[gene], is_name=True))
    junctions = rows["junction"] if "junction" in rows else rows.index
    columns.append(text_column("Junction", junctions, is_name=True))
    if "event_type" in rows:
        types = rows["event_type"].astype(object).map(lambda x: str(x).replace("_", " "))
        columns.append(text_column("Event type", types))
    return columns
