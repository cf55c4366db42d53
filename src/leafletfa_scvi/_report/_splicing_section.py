"""Section on differential splicing between groups, and splice graphs of the leading ATSEs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from leafletfa_scvi import pl
from leafletfa_scvi._report._activity_section import NO_GROUPS
from leafletfa_scvi._report._blocks import (
    Block,
    Figure,
    Gallery,
    Missing,
    Notice,
    Section,
    Table,
    Text,
    count,
    interval_column,
    number_column,
    share,
    signed,
    text_column,
)
from leafletfa_scvi._report._columns import identity_columns
from leafletfa_scvi._report._figures import drawing, encoded
from leafletfa_scvi._report._inputs import attempted
from leafletfa_scvi._report._replicates import groups_with_samples
from leafletfa_scvi.tl._comparison_counts import called, comparison_counts

if TYPE_CHECKING:
    import pandas as pd

    from leafletfa_scvi._report._blocks import Column
    from leafletfa_scvi._report._inputs import Inputs

_MAX_VOLCANOS = 6
_MAX_ROWS = 6000
"""Rows of all comparisons together, whatever their number."""
_MIN_ROWS = 20
_LABELS = 6
CELLS_ONLY = (
    "Cells are the replicates: differences between groups hold for these cells only, not for the "
    "populations that donors or animals come from. Name their column with sample_key (--sample)."
)


class Comparisons(NamedTuple):
    """Result of the comparison of groups.

    Attributes
    ----------
    table
        Result of ``differential_splicing``; None if there is none.
    counts
        Calls by comparison.
    level
        ``"atse"`` or ``"junction"``.
    """

    table: pd.DataFrame
    counts: pd.DataFrame
    level: str


def splicing_section(inputs: Inputs) -> tuple[Section, Comparisons | None]:
    """Compare the splicing of groups, each with all others."""
    found: list[Comparisons] = []
    what = "Differential splicing"
    if inputs.groupby is None:
        blocks: list[Block] = [Missing(what, NO_GROUPS)]
    elif inputs.model is None:
        why = (
            "The test needs the model: pass model (--model DIR, the folder that leafletfa fit "
            "--save-model wrote). A model of the programs in this file, "
            "LeafletFAModel.from_programs(adata), serves as well, but fits the activities of all "
            "cells again, which takes longer."
        )
        blocks = [Missing(what, why)]
    else:
        blocks = attempted(what, lambda: _compare(inputs, found))
    section = Section("splicing", "Differential splicing", blocks)
    return section, found[0] if found else None


def _compare(inputs: Inputs, found: list[Comparisons]) -> list[Block]:
    """Run the test, and show its result."""
    model = inputs.model
    assert model is not None
    chosen, blocks = groups_with_samples(inputs)
    if not chosen:
        return blocks
    level = "junction" if model.atse_codes_ is None else "atse"
    table = model.differential_splicing(
        inputs.adata,
        groupby=inputs.groupby,
        group1=chosen,
        sample_key=inputs.sample_key,
        delta=inputs.delta,
        fdr_target=inputs.fdr_target,
        level="junction" if level == "junction" else "atse",
        silent=True,
    )
    counts = comparison_counts(table, inputs.fdr_target)
    found.append(Comparisons(table, counts, level))
    blocks += [_described(inputs, level), *_replicates(inputs), _counts(counts)]
    blocks += attempted("Volcano plots", lambda: _volcanos(found[0]))
    blocks.append(_table(inputs, found[0]))
    return blocks


def _described(inputs: Inputs, level: str) -> Text:
    """Say which test was made."""
    unit = "ATSE, by its junction that differs most" if level == "atse" else "junction"
    return Text(
        f"Each group of {inputs.groupby} is compared with the cells of all other groups "
        f"(model.differential_splicing). The probability is that of a difference in PSI larger "
        f"than {inputs.delta:g}, for each {unit}; calls are chosen so that at most "
        f"{inputs.fdr_target:.0%} of them, over all comparisons together, are expected to be "
        "false. Effects are PSI of the group minus that of the others: positive means more in the "
        "group."
    )


def _replicates(inputs: Inputs) -> list[Block]:
    """Say what the replicates are."""
    if inputs.sample_key is None:
        return [Notice(CELLS_ONLY)]
    n = inputs.adata.obs[inputs.sample_key].nunique()
    return [
        Text(
            f"Replicates are {n:,} samples, by {inputs.sample_key}: the result holds for the "
            "populations that they come from."
        )
    ]


def _counts(counts: pd.DataFrame) -> Table:
    """Table of the numbers of calls."""
    columns = [
        text_column("Comparison", counts["comparison"]),
        number_column("Calls", counts["n_calls"], count),
        number_column("More in the group", counts["n_more_in_first"], count),
        number_column("Less", counts["n_calls"] - counts["n_more_in_first"], count),
        number_column("Tested", counts["n_tested"], count),
    ]
    return Table("Calls by comparison", columns)


def _volcanos(comparisons: Comparisons) -> list[Block]:
    """Draw effects against their probability."""
    counts = comparisons.counts
    order = counts.sort_values("n_calls", ascending=False, kind="stable")["comparison"]
    shown = set(order[:_MAX_VOLCANOS].astype(str))
    figures = [
        _one_volcano(comparisons.table, row)
        for row in counts.itertuples()
        if str(row.comparison) in shown
    ]
    blocks: list[Block] = [Gallery(figures)]
    left_out = len(counts) - len(figures)
    if left_out:
        blocks.append(
            Text(
                f"These are the {len(figures)} comparisons with most calls; {left_out} others are "
                "in the tables."
            )
        )
    return blocks


def _one_volcano(table: pd.DataFrame, row: Any) -> Figure:
    """Draw one comparison; ``row`` has its counts."""
    name = str(row.comparison)
    with drawing():
        figure = pl.differential_splicing(table, name, labels=_LABELS, return_fig=True)
        alt = (
            f"Volcano plot of {name}: {row.n_calls:,} of {row.n_tested:,} are called, "
            f"{row.n_more_in_first:,} of them with more in the group."
        )
        caption = f"{name}: difference in PSI against its probability; calls are colored."
        return encoded(figure, alt, caption)


def _table(inputs: Inputs, comparisons: Comparisons) -> Table:
    """Table of the leading rows of each comparison."""
    table, n = comparisons.table, len(comparisons.counts)
    limit = min(inputs.max_rows, max(_MIN_ROWS, _MAX_ROWS // n))
    tested = table[table["is_tested"]]
    rows = tested.groupby("comparison", sort=False).head(limit)
    is_called = called(rows, inputs.fdr_target)
    what = "ATSEs" if comparisons.level == "atse" else "junctions"
    columns: list[Column] = [text_column("Comparison", rows["comparison"])]
    columns += identity_columns(rows)
    columns += [
        number_column("Effect", rows["effect_size"], signed),
        interval_column("90 % interval", rows["effect_lower"], rows["effect_upper"]),
        number_column("Probability", rows["proba_ds"], _probability),
        text_column("Called", is_called.map({True: "yes", False: "no"})),
        number_column("PSI in group", rows["est_psi1"], share),
        number_column("PSI in others", rows["est_psi2"], share),
        number_column("Cells in group", rows["n_obs_group1"], count),
        number_column("Cells in others", rows["n_obs_group2"], count),
    ]
    note = (
        f"Up to {limit:,} of each comparison, the most probable: {len(rows):,} of "
        f"{len(tested):,} tested {what}"
    )
    not_tested = len(table) - len(tested)
    if not_tested:
        note += f"; {not_tested:,} are not tested, as a group has no reads"
    if len(rows) < len(tested):
        note += (
            ". All are written by leafletfa differential, or model.differential_splicing and "
            "lfa.tl.write_table"
        )
    note += ". Cells are those with reads of the ATSE."
    return Table(f"Differential splicing by {what}", columns, note, filter_by="Comparison")


def _probability(value: float) -> str:
    return f"{value:.4f}"
