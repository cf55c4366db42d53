"""Section on the data set: what is in it, and what was left out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._report._blocks import (
    Block,
    Facts,
    Heading,
    Missing,
    Section,
    Table,
    count,
    number_column,
    text_column,
)
from leafletfa_scvi._report._dataset import described, events
from leafletfa_scvi._report._inputs import attempted
from leafletfa_scvi._report._qc_page import loss_blocks, qc_figure

if TYPE_CHECKING:
    from leafletfa_scvi._report._inputs import Inputs


def data_section(inputs: Inputs) -> Section:
    """Say what the data set has: cells, junctions, groups, coverage, losses."""
    adata, layers = inputs.adata, inputs.layers
    blocks: list[Block] = [Facts("Size and coverage", described(inputs.numbers))]
    if "event_type" in adata.var and layers.atses in adata.var:
        blocks.append(Facts("ATSEs by event type", events(adata, layers)))
    blocks += _groups(inputs)
    if layers.atses in adata.var:
        make = partial(qc_figure, adata, layers.atses, inputs.numbers)
        blocks += attempted("Coverage", lambda: [make()])
    else:
        blocks.append(Missing("Coverage", f"There are no ATSE labels in var[{layers.atses!r}]."))
    blocks.append(Heading("What was left out"))
    if DATASET_SLOT in adata.uns:
        blocks += loss_blocks(adata)
    else:
        blocks.append(
            Missing(
                "What was left out on the way from files to the data set",
                f"The data set has no record of its making in uns[{DATASET_SLOT!r}]: leafletfa "
                "make-dataset, or lfa.pp.make_splicing_dataset, writes one.",
            )
        )
    return Section("data", "Data set", blocks)


def _groups(inputs: Inputs) -> list[Block]:
    """Count cells, samples and reads by group."""
    if inputs.groupby is None:
        return []
    names, cells = list(inputs.groups), list(inputs.groups.values())
    columns = [
        text_column(inputs.groupby, names),
        number_column("Cells", [len(rows) for rows in cells], count),
    ]
    if inputs.sample_key is not None:
        samples = inputs.adata.obs[inputs.sample_key]
        n_samples = [samples.iloc[rows].nunique() for rows in cells]
        columns.append(number_column(f"Samples ({inputs.sample_key})", n_samples, count))
    reads = inputs.adata.layers[inputs.layers.junctions].sum(axis=1, dtype=np.float64)
    reads = np.asarray(reads).ravel()
    medians = [float(np.median(reads[rows])) for rows in cells]
    columns.append(number_column("Junction reads per cell, median", medians, count))
    n_missing = inputs.adata.n_obs - sum(map(len, cells))
    notes = [f"{n_missing:,} cells have no value of {inputs.groupby}."] if n_missing else []
    if inputs.sample_key is not None and samples.isna().any():
        notes.append(f"{samples.isna().sum():,} cells have no value of {inputs.sample_key}.")
    return [Table(f"Groups of cells by {inputs.groupby}", columns, " ".join(notes))]
