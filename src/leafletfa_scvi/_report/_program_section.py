"""Section on programs: prevalence, markers and what is enriched among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from leafletfa_scvi import pl, tl
from leafletfa_scvi._report._blocks import (
    Block,
    Heading,
    Missing,
    Section,
    Table,
    Text,
    count,
    number_column,
    share,
    signed,
    small,
    text_column,
)
from leafletfa_scvi._report._columns import identity_columns
from leafletfa_scvi._report._figures import drawing, encoded
from leafletfa_scvi._report._inputs import attempted
from leafletfa_scvi.model import LeafletFAModel
from leafletfa_scvi.model._tables import add_annotation
from leafletfa_scvi.tl._distinctive import compared_programs, listed_markers

if TYPE_CHECKING:
    from leafletfa_scvi._report._blocks import Column
    from leafletfa_scvi._report._inputs import Inputs
    from leafletfa_scvi.model import Identifiability

_LISTED, _DRAWN, _DOTS = 15, 4, 2
"""Number of markers of a program in the table, the heat map, and the dot plot."""


class Markers(NamedTuple):
    """Markers of programs.

    Attributes
    ----------
    table
        Result of ``program_markers`` by junction, with all rows.
    listed
        Its rows that are shown, each finding once.
    """

    table: pd.DataFrame
    listed: pd.DataFrame


def program_section(
    inputs: Inputs, identified: Identifiability | None
) -> tuple[Section, Markers | None]:
    """Show how common programs are, in which junctions they differ, and what these have."""
    blocks: list[Block] = []
    markers: Markers | None = None
    try:
        markers = _markers(inputs)
        reason = ""
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
    n_markers = None
    if markers is not None:
        called = markers.table[f"is_ds_fdr_{inputs.fdr_target}"]
        n_markers = called.groupby(markers.table["program"].astype(str)).sum()
    blocks.append(_programs(inputs, identified, n_markers))
    blocks.append(Heading("Junctions in which programs differ"))
    blocks += attempted("Heat map of programs", lambda: _heatmap(inputs, markers))
    if markers is None:
        blocks.append(Missing("Table of markers", reason))
    else:
        blocks += _marker_table(inputs, markers)
        if inputs.groupby is not None and len(markers.listed):
            blocks += attempted("Markers in groups of cells", lambda: _dots(inputs, markers))
    blocks.append(Heading("Gene sets enriched among markers"))
    blocks += _enrichment(inputs, markers)
    return Section("programs", "Programs", blocks), markers


def _markers(inputs: Inputs) -> Markers:
    """Test the markers by the model, or by one of the exported programs."""
    model = inputs.model
    source = LeafletFAModel.from_programs(inputs.adata) if model is None else model
    table = source.program_markers(delta=inputs.delta, fdr_target=inputs.fdr_target)
    table = add_annotation(table, inputs.adata.var)  # a model without its data has none
    called = table[table[f"is_ds_fdr_{inputs.fdr_target}"]]
    programs = compared_programs(inputs.adata if model is None else model)
    rows = programs.psi.index.get_indexer(called.index)
    of = programs.psi.columns.get_indexer(pd.Index(called["program"].astype(str)))
    chosen = listed_markers(programs, rows, of, called, _LISTED)
    wanted = {(k, int(j)) for k, own in enumerate(chosen) for j in own}
    pairs = zip(of.tolist(), rows.tolist(), strict=True)
    at = [i for i, pair in enumerate(pairs) if pair in wanted]
    return Markers(table, called.iloc[at])


def _programs(
    inputs: Inputs, identified: Identifiability | None, n_markers: pd.Series | None
) -> Table:
    """Table of programs."""
    names, phi = inputs.programs, inputs.cells.mean
    columns: list[Column] = [text_column("Program", names)]
    if identified is not None:
        table = identified.programs.loc[names]
        columns.append(number_column("Prevalence", table["prevalence"], _precise))
        columns.append(number_column("Mean activity", phi.mean(0), _precise))
        columns.append(number_column("Cells it leads", table["n_cells"], count))
        columns.append(number_column("Effective cells", table["effective_cells"], _tenths))
        columns.append(number_column("Reliability", table["reliability"], share))
        columns.append(text_column("Nearest program", table["nearest"]))
        columns.append(
            number_column("Largest difference from it in PSI", table["max_difference"], share)
        )
    else:
        prevalence = np.ravel(inputs.results.get("pi", ()))
        if len(prevalence) == len(names):
            columns.append(number_column("Prevalence", prevalence, _precise))
        columns.append(number_column("Mean activity", phi.mean(0), _precise))
        leads = np.bincount(phi.argmax(1), minlength=len(names))
        columns.append(number_column("Cells it leads", leads, count))
    if n_markers is not None:
        numbers = n_markers.reindex(names, fill_value=0)
        columns.append(number_column("Marker junctions", numbers, count))
    note = "A program leads a cell if its activity is the highest."
    if identified is not None:
        note += (
            " Effective cells: number of equally active cells that would say as much about its "
            "PSI. Reliability: expected squared correlation of its activities with the true ones."
        )
    return Table("Programs, by prevalence", columns, note)


def _precise(value: float) -> str:
    return f"{value:.3f}"


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _heatmap(inputs: Inputs, markers: Markers | None) -> list[Block]:
    """Draw the junctions in which programs differ."""
    given = None if markers is None or markers.listed.empty else markers.table
    label = "gene_name" if "gene_name" in inputs.adata.var else None
    source = inputs.adata
    with drawing():
        figure = pl.program_heatmap(
            source, _DRAWN, delta=inputs.delta, markers=given, label=label, return_fig=True
        )
        image = figure.axes[0].images[0].get_array()
        largest = float(np.abs(np.asarray(image)).max())
        alt = (
            f"Heat map of {image.shape[0]} junctions in {image.shape[1]} programs; deviations of "
            f"PSI from the mean go up to {largest:.2f}."
        )
        chosen = "distinctive junctions" if given is None else "markers"
        caption = (
            f"PSI of up to {_DRAWN} {chosen} of each program minus the mean over programs, which "
            "is written on the right. Each finding is drawn once: of both sides of a cassette "
            "exon, the one that the program uses more."
        )
        return [encoded(figure, alt, caption)]


def _marker_table(inputs: Inputs, markers: Markers) -> list[Block]:
    """List the markers of each program."""
    rows = markers.listed
    called = markers.table[f"is_ds_fdr_{inputs.fdr_target}"]
    text = (
        f"Marker junctions differ in PSI from the mean of the other programs by more than "
        f"{inputs.delta:g}, with an expected share of false ones of at most "
        f"{inputs.fdr_target:.0%} (model.program_markers)."
    )
    if rows.empty:
        return [Text(text), Missing("Table of markers", "No junction is a marker.")]
    columns = [text_column("Program", rows["program"]), *identity_columns(rows)]
    columns += [
        number_column("Effect", rows["effect_size"], signed),
        number_column("PSI in program", rows["psi_program"], share),
        number_column("PSI in others", rows["psi_others"], share),
        number_column("Probability", rows["proba_ds"], _precise),
    ]
    note = (
        f"Up to {_LISTED} of each program, {len(rows):,} of {int(called.sum()):,} markers; of "
        "junctions of an ATSE that say the same, one. All: model.program_markers(), "
        "lfa.tl.write_table."
    )
    return [Text(text), Table("Markers of programs", columns, note, filter_by="Program")]


def _dots(inputs: Inputs, markers: Markers) -> list[Block]:
    """Draw markers in groups of cells."""
    with drawing():
        figure = pl.markers(
            markers.table,
            inputs.groupby,
            adata=inputs.adata,
            n_junctions=_DOTS,
            return_fig=True,
        )
        n = len(figure.axes[0].get_xticks())
        alt = (
            f"Dot plot of {n} marker junctions in {len(inputs.groups)} groups of "
            f"{inputs.groupby}: color is PSI minus that of the other groups, area the share of "
            "cells with reads."
        )
        caption = (
            f"Observed PSI of up to {_DOTS} markers of each program in groups of cells, minus "
            "that of the other groups."
        )
        return [encoded(figure, alt, caption)]


def _enrichment(inputs: Inputs, markers: Markers | None) -> list[Block]:
    """Test gene sets among markers."""
    what = "Enrichment"
    if inputs.gene_sets is None:
        why = "Pass gene sets (columns source and target) as gene_sets (--gene-sets FILE)."
        return [Missing(what, why)]
    if markers is None:
        return [Missing(what, "It needs the markers of programs, see above.")]
    net, table = inputs.gene_sets, markers.table
    return attempted(what, lambda: [_enriched(net, table, inputs.max_rows)])


def _enriched(net: pd.DataFrame, markers: pd.DataFrame, max_rows: int) -> Table:
    """Table of enriched gene sets."""
    found = tl.marker_enrichment(markers, net)
    rows = found.groupby("program", sort=False).head(max_rows)
    columns = [
        text_column("Program", rows["program"]),
        text_column("Gene set", rows["source"]),
        number_column("Score", rows["score"], signed),
        number_column("P", rows["pvalue"], small),
        number_column("FDR", rows["padj"], small),
        number_column("Genes tested", rows["n_targets"], count),
        number_column("Marker genes", rows["n_markers"], count),
    ]
    note = (
        "Univariate linear model of decoupler on the sizes of effects (lfa.tl.marker_enrichment); "
        f"{len(rows):,} of {len(found):,} rows."
    )
    return Table("Gene sets by program", columns, note, filter_by="Program")
