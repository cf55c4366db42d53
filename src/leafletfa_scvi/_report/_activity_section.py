"""Section on activities: by group, on an embedding, and between samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leafletfa_scvi import pl, tl
from leafletfa_scvi._report._blocks import (
    Block,
    Heading,
    Missing,
    Section,
    Table,
    Text,
    count,
    interval_column,
    number_column,
    share,
    signed,
    small,
    text_column,
)
from leafletfa_scvi._report._figures import drawing, encoded
from leafletfa_scvi._report._inputs import attempted
from leafletfa_scvi._report._replicates import groups_with_samples
from leafletfa_scvi.tl._group_activities import group_activities

if TYPE_CHECKING:
    from leafletfa_scvi._report._inputs import Inputs

NO_GROUPS = "No groups were named: pass groupby (--groupby COLUMN), a column of obs."
_MAX_FORESTS = 15


def activity_section(inputs: Inputs) -> Section:
    """Show activities of cells and of groups."""
    blocks: list[Block] = [*attempted("Activities of cells", lambda: _structure(inputs))]
    if inputs.groupby is None:
        blocks.append(Missing("Activities by group", NO_GROUPS))
    else:
        blocks += attempted("Activities by group", lambda: _by_group(inputs))
    blocks.append(Heading("Embedding"))
    if "X_umap" in inputs.adata.obsm:
        blocks += attempted("Activities on the UMAP", lambda: _embedding(inputs))
    else:
        why = (
            "There is no obsm['X_umap']: sc.pp.neighbors(adata, use_rep='X_PHI') and "
            "sc.tl.umap(adata) compute one."
        )
        blocks.append(Missing("Activities on the UMAP", why))
    blocks.append(Heading("Differences of activities between groups"))
    what = "Differential activity"
    if inputs.groupby is None:
        blocks.append(Missing(what, NO_GROUPS))
    elif inputs.sample_key is None:
        why = (
            "It compares samples, such as donors or animals: pass sample_key (--sample COLUMN). "
            "Cells of one sample are not replicates of a population."
        )
        blocks.append(Missing(what, why))
    else:
        blocks += attempted(what, lambda: _differences(inputs))
    return Section("activities", "Activities", blocks)


def _structure(inputs: Inputs) -> list[Block]:
    """Draw the activities of every cell."""
    mean = inputs.cells.mean.mean(0)
    named = ", ".join(f"{name} {x:.2f}" for name, x in zip(inputs.programs, mean, strict=True))
    by = "" if inputs.groupby is None else f" in {len(inputs.groups)} groups"
    with drawing():
        figure = pl.structure(inputs.adata, inputs.groupby, return_fig=True)
        alt = f"Stacked bars of activities of cells{by}. Means over all cells: {named}."
        caption = "Activities of programs: one bar for each cell" + (
            "." if inputs.groupby is None else f", by {inputs.groupby}."
        )
        return [encoded(figure, alt, caption)]


def _by_group(inputs: Inputs) -> list[Block]:
    """Tabulate and draw mean activities of groups."""
    assert inputs.groupby is not None
    names = inputs.programs
    found = group_activities(inputs.cells, inputs.groups, names, inputs.sample_key)
    groups = list(found.rows)
    columns = [
        text_column(inputs.groupby, groups),
        number_column("Cells", [len(rows) for rows in found.rows.values()], count),
    ]
    if found.samples is not None:
        columns.append(number_column("Samples", map(len, found.samples.values()), count))
    columns += [number_column(name, found.mean[:, k], share) for k, name in enumerate(names)]
    over = "cells" if found.samples is None else "samples, each counting once"
    table = Table(f"Mean activity by {inputs.groupby}", columns, f"Means over {over}.")
    main = found.mean.argmax(1)
    highest = ", ".join(
        f"{group}: {names[k]} {found.mean[i, k]:.2f}"
        for i, (group, k) in enumerate(zip(groups, main, strict=True))
    )
    with drawing():
        figure = pl.activity(
            inputs.adata,
            inputs.groupby,
            sample_key=inputs.sample_key,
            kind="dotplot",
            dendrogram=len(groups) > 2,
            return_fig=True,
        )
        alt = f"Dot plot of mean activities. The highest of each group: {highest}."
        caption = (
            f"Mean activity by {inputs.groupby} (color), and share of cells whose main program it "
            "is (area)."
        )
        return [table, encoded(figure, alt, caption)]


def _embedding(inputs: Inputs) -> list[Block]:
    """Draw activities on the UMAP."""
    highest = inputs.cells.mean.max(0)
    named = ", ".join(f"{name} {x:.2f}" for name, x in zip(inputs.programs, highest, strict=True))
    with drawing():
        figure = pl.activity_embedding(inputs.adata, return_fig=True)
        n_cells = inputs.adata.n_obs
        alt = f"UMAP of {n_cells:,} cells by activity of each program. Highest values: {named}."
        return [encoded(figure, alt, "Activity of each program on the UMAP in obsm['X_umap'].")]


def _differences(inputs: Inputs) -> list[Block]:
    """Test differences of activities between groups of samples."""
    assert inputs.groupby is not None
    chosen, blocks = groups_with_samples(inputs)
    if not chosen:
        return blocks
    table = tl.differential_activity(
        inputs.adata,
        inputs.groupby,
        chosen,
        sample_key=inputs.sample_key,
        fdr_target=inputs.fdr_target,
    )
    called = table[f"is_da_fdr_{inputs.fdr_target}"]
    text = (
        f"Each group is compared with all others, by Student's t test of mean activities of "
        f"samples ({inputs.sample_key}) on the centered log-ratio scale "
        f"(lfa.tl.differential_activity): {int(called.sum()):,} of "
        f"{int(table['pvalue'].notna().sum()):,} tested differences are within an FDR of "
        f"{inputs.fdr_target:.0%}."
    )
    columns = [
        text_column("Comparison", table["comparison"]),
        text_column("Program", table["program"]),
        number_column("Effect (log ratio)", table["effect"], signed),
        interval_column("90 % interval", table["effect_lower"], table["effect_upper"]),
        number_column("Activity in group", table["mean_activity1"], share),
        number_column("Activity in others", table["mean_activity2"], share),
        number_column("P", table["pvalue"], small),
        number_column("FDR", table["padj"], small),
    ]
    shown = list(dict.fromkeys(table["comparison"].astype(str)))[:_MAX_FORESTS]
    left_out = table["comparison"].nunique() - len(shown)
    with drawing():
        figure = pl.differential_activity(table, shown, return_fig=True)
        alt = f"Forest plot of {len(shown)} comparisons and {len(inputs.programs)} programs."
        if table["effect"].notna().any():
            largest = table.loc[table["effect"].abs().idxmax()]
            alt += (
                f" The largest effect is {largest['effect']:+.2f}, of {largest['program']} in "
                f"{largest['comparison']}."
            )
        caption = "Differences of activities with 90 % intervals." + (
            f" {left_out} further comparisons are in the table." if left_out else ""
        )
        image = encoded(figure, alt, caption)
    drawn = Table("Differential activity", columns, filter_by="Comparison")
    return [*blocks, Text(text), image, drawn]
