"""Sections of a MultiQC page: a data set, the reads that it keeps, and a fit.

MultiQC reads every file whose name ends with ``_mqc.json`` as one plot of `custom content
<https://docs.seqera.io/multiqc/custom_content>`__. Files of several data sets with the same ``id``
are rows of one table and bars of one graph.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from leafletfa_scvi._constants import DATASET_SLOT
from leafletfa_scvi._report._dataset import numbers
from leafletfa_scvi._version import package_version
from leafletfa_scvi.pp._losses import losses_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

_PAGE: Final = {
    "parent_id": "leafletfa",
    "parent_name": "leafletfa-scvi",
    "parent_description": "finds splicing programs in single cells, from counts of junctions.",
}
_Columns: TypeAlias = "Mapping[str, tuple[str, str, Mapping[str, Any]]]"
"""Heading, description and format of each column."""

_WHOLE: Final = {"format": "{:,.0f}", "min": 0}
_PERCENT: Final = {"format": "{:,.1f}", "min": 0, "max": 100, "suffix": "%"}
_DATASET: Final[_Columns] = {
    "n_cells": ("Cells", "Cells of the data set", {**_WHOLE, "scale": "Blues"}),
    "n_atses": (
        "ATSEs",
        "Alternative transcript structure events: junctions that share splice sites",
        {**_WHOLE, "scale": "Greens"},
    ),
    "n_junctions": ("Junctions", "Junctions in ATSEs", {**_WHOLE, "scale": "Greens"}),
    "n_reads": ("Reads", "Reads over junctions in ATSEs", {**_WHOLE, "scale": "Purples"}),
    "median_reads_per_cell": (
        "Reads per cell",
        "Reads over junctions in ATSEs, median over cells",
        {**_WHOLE, "scale": "Purples"},
    ),
    "observed": (
        "Observed",
        "Share of the pairs of cell and junction whose ATSE has reads in the cell",
        {**_PERCENT, "scale": "Oranges"},
    ),
    "n_cells_without_atse": (
        "Cells without reads",
        "Cells without a read in any ATSE",
        {**_WHOLE, "scale": "Reds"},
    ),
}
_FIT: Final[_Columns] = {
    "n_programs": ("Programs", "Number of splicing programs K", {**_WHOLE, "scale": "Blues"}),
    "converged": ("Converged", "Whether the objective had stopped improving", {"scale": False}),
    "n_cells": ("Cells", "Cells that the model was fitted to", {**_WHOLE, "scale": "Blues"}),
    "n_junctions": ("Junctions", "Junctions of the model", {**_WHOLE, "scale": "Greens"}),
    "data": (
        "From data",
        "Share of the activities of programs that is data; the rest is prior",
        {**_PERCENT, "scale": "Oranges"},
    ),
    "largest": (
        "Largest program",
        "Prevalence of the most prevalent program",
        {**_PERCENT, "scale": "Purples"},
    ),
}


def dataset_sections(adata: AnnData, name: str) -> list[dict[str, Any]]:
    """Return the sections of a data set: its main numbers, and the reads that it keeps."""
    return [_dataset_section(adata, name), _reads_section(adata, name)]


def _dataset_section(adata: AnnData, name: str) -> dict[str, Any]:
    """Return a table with the main numbers of a data set in a row."""
    found: dict[str, Any] = dict(numbers(adata))
    found["observed"] = 100 * found["n_observed"] / max(adata.n_obs * adata.n_vars, 1)
    text = "Cells, events of alternative splicing (ATSEs) and reads of each data set."
    return _table("leafletfa_dataset", "Data sets", text, _DATASET, name, found)


def _reads_section(adata: AnnData, name: str) -> dict[str, Any]:
    """Return a bar of the reads over junctions: those in ATSEs, and those left out by reason."""
    kept = {"In ATSEs": int(adata.X.sum(dtype=float))}
    for loss in losses_of(adata.uns[DATASET_SLOT]):
        if loss.unit == "junctions" and loss.reads:
            reason = loss.reason[:1].upper() + loss.reason[1:]
            kept[reason] = kept.get(reason, 0) + loss.reads
    return {
        **_head("leafletfa_reads", "Reads over junctions"),
        "description": "Reads over the junctions of all files: those that are in an ATSE, and "
        "those that were left out, by the reason of the first step that did so.",
        "plot_type": "bargraph",
        "pconfig": {
            "id": "leafletfa_reads_plot",
            "title": "leafletfa-scvi: Reads over junctions",
            "ylab": "Reads",
        },
        "data": {_row_name(name): kept},
    }


def fit_section(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a table with the main numbers of a fit in a row.

    Parameters
    ----------
    facts
        ``n_programs``, ``converged``, ``n_cells``, ``n_junctions``, ``prior_share`` (share of the
        activities that is prior) and ``prevalence`` of the programs.
    name
        Name of the data set.
    """
    found = {
        **facts,
        "converged": "yes" if facts["converged"] else "no",
        "data": 100 * (1 - facts["prior_share"]),
        "largest": 100 * float(max(facts["prevalence"])),
    }
    text = "Splicing programs fitted to each data set."
    return _table("leafletfa_fit", "Fits", text, _FIT, name, found)


def write_sections(sections: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> None:
    """Write each section to its file."""
    for section, path in zip(sections, paths, strict=True):
        text = json.dumps(section, indent=2, allow_nan=False)
        path.write_text(f"{text}\n", encoding="utf-8")


def _row_name(name: str) -> str:
    """Return a name without what MultiQC would take for tags and attributes of its page."""
    return re.sub("[<>\"'`]+", "_", name)


def _head(id: str, title: str) -> dict[str, Any]:
    return {
        "id": id,
        **_PAGE,
        "section_name": title,
        "leafletfa_version": package_version(),
    }


def _table(
    id: str,
    title: str,
    description: str,
    columns: _Columns,
    name: str,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        **_head(id, title),
        "description": description,
        "plot_type": "table",
        "pconfig": {
            "id": f"{id}_table",
            "title": f"leafletfa-scvi: {title}",
            "namespace": "leafletfa-scvi",
            "col1_header": "Data set",
        },
        "headers": {
            key: {"title": heading, "description": text, **form}
            for key, (heading, text, form) in columns.items()
        },
        "data": {_row_name(name): {key: found[key] for key in columns}},
    }
